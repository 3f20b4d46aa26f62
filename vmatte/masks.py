"""Garbage and hold-out mattes: a picture, a clip, or polygons, at the size of the clip's frames."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import ClipInfo
from vmatte.errors import JobError, SourceError
from vmatte.imaging.blur import gaussian_blur
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.resize import resize, same_shape
from vmatte.job import RenderJob
from vmatte.options import FileMask, Polygon, PolygonMask
from vmatte.playback import Playback
from vmatte.stages.shape import MaskPlanes, Masks
from vmatte.video.alpha import read_alpha
from vmatte.video.probe import probe
from vmatte.video.read import decode, is_still

_GRAY_LEVELS = 24
"""How far, in levels of 255, a codec may take a gray clip from gray."""
_LINES = 4
"""Lines along which a row of pixels is measured."""


def check_mask(mask: FileMask | PolygonMask | None, name: str, clip: Path, size: tuple[int, int]) -> None:
    """JobError where a mask's file is neither a gray picture nor a clip, or has another shape than the clip, whose
    (height, width) is `size`."""
    if not isinstance(mask, FileMask):
        return
    try:
        if is_still(mask.path):
            height, width = read_alpha(mask.path).shape
        else:
            video = probe(mask.path)
            height, width = video.height, video.width
            if not _is_gray(video):
                raise JobError(f"{name} {mask.path} is in colour; give a gray clip, whose brightness is the matte")
    except SourceError as error:
        raise JobError(f"{name} {mask.path} cannot be used: {error}") from error
    if not same_shape((height, width), size):
        raise JobError(
            f"{name} {mask.path} is {width}×{height}, which is not the shape of {clip}, "
            f"{size[1]}×{size[0]}; give one of the same shape"
        )


def _is_gray(video: ClipInfo) -> bool:
    """By its first frame; of a cutout with alpha this would be its colours."""
    first = next(decode(video, range(1), batch=1), None)
    if first is None:
        raise SourceError(f"{video.path}: its first frame cannot be decoded")
    rgb = ycbcr_to_rgb(torch.from_numpy(first.luma), torch.from_numpy(first.chroma), first.coding)
    return bool((rgb.amax(dim=1) - rgb.amin(dim=1)).max() <= _GRAY_LEVELS / 255)


@contextmanager
def open_masks(job: RenderJob, clip: ClipInfo, device: torch.device) -> Iterator[Masks]:
    """The job's masks, on the device; clips are being decoded until the context ends."""
    with _opened(job.garbage, clip, device) as garbage, _opened(job.hold_out, clip, device) as hold_out:
        yield Masks(garbage, hold_out)


@contextmanager
def _opened(mask: FileMask | PolygonMask | None, clip: ClipInfo, device: torch.device) -> Iterator[MaskPlanes | None]:
    size = (clip.height, clip.width)
    match mask:
        case None:
            yield None
        case PolygonMask(polygons=polygons):
            drawn = torch.from_numpy(draw(polygons, size))
            yield _still(_fitted(drawn, size, mask.feather).to(device))
        case FileMask(path=path) if is_still(path):
            yield _still(_fitted(torch.from_numpy(read_alpha(path)), size, mask.feather).to(device))
        case FileMask(path=path):
            with _playing(path, clip, device, mask.feather) as planes:
                yield planes


def _still(plane: Tensor) -> MaskPlanes:
    return lambda _: plane


def _fitted(plane: Tensor, size: tuple[int, int], feather: float) -> Tensor:
    """A plane (h, w) as (1, 1, H, W) of the clip's size, blurred by `feather` of its height."""
    fitted = resize(plane[None, None], size)
    return gaussian_blur(fitted, feather * size[0]) if feather else fitted


def draw(polygons: Sequence[Polygon], size: tuple[int, int]) -> NDArray[np.float32]:
    """Polygons, whose corners (x, y) are parts of width and height, as float32 (H, W): the part of each pixel that lies
    inside, by the even-odd rule. Where they overlap they add up to no more than one."""
    drawn = np.zeros(size, np.float32)
    for polygon in polygons:
        drawn += _drawn(np.array(polygon) * size[::-1], size)
    return drawn.clip(0, 1)


def _drawn(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    left = np.arange(width)
    drawn = np.zeros(size, np.float32)
    for line in range(height * _LINES):
        y = (line + 0.5) / _LINES
        crossed = (y0 <= y) != (y1 <= y)
        crossings = np.sort((x0 + (y - y0) / np.where(crossed, y1 - y0, 1) * (x1 - x0))[crossed])
        for begin, end in zip(crossings[::2], crossings[1::2], strict=True):
            inside = np.minimum(left + 1, end) - np.maximum(left, begin)
            drawn[line // _LINES] += (inside.clip(0, 1) / _LINES).astype(np.float32)
    return drawn


@contextmanager
def _playing(path: Path, clip: ClipInfo, device: torch.device, feather: float) -> Iterator[MaskPlanes]:
    """A clip's brightness: at each moment what it would show alone; its last frame stays."""
    video = probe(path)
    with closing(Playback(video, video.coding, device)) as playback:
        black, white = video.coding.luma_ends

        def plane(number: int) -> Tensor:
            time = int(clip.pts[number] - clip.start_of_file) * clip.time_base
            shown = bisect_right(video.pts, int(video.pts[0]) + time // video.time_base) - 1
            luma = playback.frame(shown).luma.to(torch.float32)
            return _fitted(((luma - black) / (white - black)).clamp_(0, 1)[0, 0], (clip.height, clip.width), feather)

        yield lambda index: torch.cat([plane(number) for number in index])
