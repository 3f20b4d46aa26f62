"""The screen that a clip was shot before, and what keys it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vmatte.analysis import Hue, Rgb, ScreenColor, Screens, ShotScreen
from vmatte.clip import ClipInfo
from vmatte.errors import JobError, SourceError
from vmatte.frames import DecodedFrames
from vmatte.imaging.blur import box_mean
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.keying import CELL, HUES, MOST_SPREAD, difference, find_screen
from vmatte.imaging.resize import resize, same_shape
from vmatte.models.catalogue import MODELS
from vmatte.options import Screen
from vmatte.stages.key import ScreenKey
from vmatte.stages.upload import upload
from vmatte.video.read import decode, read_still, still_size

logger = logging.getLogger(__name__)

Decoder = Callable[[ClipInfo, range, int], Iterator[DecodedFrames]]
"""Gives these frames of a clip, so many at once."""

SAMPLED = (0, 6, 12, 24, 47)
"""The frames of a shot that are looked at, from its first: two seconds, for it may be faded in."""
SAMPLE_LINES = 180
"""Short side of a picture of picked pixels."""
BAR = 4
"""8-bit codes that the darkest rows and columns may be above black, if they are bars beside the picture."""
BESIDE_BAR = 2
"""Rows and columns beside a bar that have some of its black, in chroma at half size."""
DARKEST_SHADE = 0.25
"""Of a clean plate's median difference; where it has less it shows no screen, and what is there is kept."""
FAINT_SHADE = 1e-3


def screen_key(clip: ClipInfo, options: Screen, screens: Screens, device: torch.device) -> ScreenKey:
    """What keys the clip's frames, of which the screens were found."""
    plate = _clean_plate(clip, options)
    shade = None if plate is None else shade_of(plate, screens.hue).to(device)
    return ScreenKey(MODELS["chroma-key"], device, screens, shade)


def find_screens(clip: ClipInfo, options: Screen, shots: Sequence[int], decoder: Decoder = decode) -> Screens:
    """The screen of every shot, of which `shots` are the first frames.

    A shot in which none is seen, such as one that the subject fills, has that of the shot before. JobError where none
    is seen in any.
    """
    plate = _clean_plate(clip, options)
    paint: Rgb | None = None
    hues: Sequence[Hue] = HUES
    if options.color == "green" or options.color == "blue":
        hues = (options.color,)
    elif options.color != "auto":
        red, green, blue = options.color
        paint = (red / 255, green / 255, blue / 255)
        hues = ("green",) if green > blue else ("blue",)
    ends = (*shots[1:], clip.frames)
    samples = [_sample(clip, first, behind, decoder) for first, behind in zip(shots, ends, strict=True)]
    rows, columns = _picture(samples, clip)
    height, width = _picked_size(clip)
    inside = (..., _picked_part(rows, clip.height, height), _picked_part(columns, clip.width, width))
    found = {}
    for hue in hues:
        shade = None if plate is None else _pick(shade_of(plate, hue), clip)[inside]
        found[hue] = [find_screen(each.pictures[inside], each.cells[inside], hue, paint, shade) for each in samples]
    hue = max(hues, key=lambda hue: sum(screen.share for screen in found[hue] if screen is not None))
    screens = _for_every_shot(found[hue])
    if not screens:
        words = " or ".join(hues) if paint is None else "#{:02x}{:02x}{:02x}".format(*options.color)
        raise JobError(
            f"{clip.path}: no {words} screen is seen in it; name the screen's colour, or leave out the screen"
        )
    if max(screen.calm for screen in screens) >= MOST_SPREAD:
        hint = "what shows of it goes with a clean plate, or with a network's matte beside the key"
        logger.warning("%s: its screen is lit too unevenly for one colour; %s", clip.path, hint)
    return Screens(hue, tuple(map(ShotScreen, shots, screens)), rows, columns)


def _for_every_shot(found: Sequence[ScreenColor | None]) -> list[ScreenColor]:
    """One for each shot: where none was seen that of the shot before, or of the first in which one was. Else []."""
    last = next((screen for screen in found if screen is not None), None)
    screens = []
    for screen in found:
        last = screen or last
        if last is not None:
            screens.append(last)
    return screens


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """What is looked at of a shot."""

    pictures: Tensor
    """(T, 3, h, w) R'G'B' in [0, 1], pixels picked out: means would hide the noise."""
    cells: Tensor
    """The means of the cells round them."""
    brightest_rows: Tensor
    """(H,) the greatest luma code of every row."""
    brightest_columns: Tensor
    """(W,)"""


def _sample(clip: ClipInfo, first: int, behind: int, decoder: Decoder) -> _Sample:
    """Of the shot's first frames; of none, where none can be decoded."""
    none = torch.empty(0, 3, *_picked_size(clip))
    pictures, cells = [none], [none]
    rows, columns = torch.zeros(clip.height), torch.zeros(clip.width)
    decoded = decoder(clip, range(first, min(first + SAMPLED[-1] + 1, behind)), 1)
    for frame in upload(_those(decoded, first), clip.delivery, torch.device("cpu")):
        codes = frame.luma[0, 0].to(torch.float32)
        rows, columns = torch.maximum(rows, codes.amax(1)), torch.maximum(columns, codes.amax(0))
        planes = [plane.to(torch.float32) for plane in (frame.luma, frame.chroma)]
        grid = (-(-clip.height // CELL), -(-clip.width // CELL))
        means = [resize(plane, grid) for plane in planes]
        for kind, (luma, chroma) in ((pictures, planes), (cells, means)):
            kind.append(ycbcr_to_rgb(_pick(luma, clip), _pick(chroma, clip), frame.coding))
    return _Sample(torch.cat(pictures), torch.cat(cells), rows, columns)


def _those(decoded: Iterator[DecodedFrames], first: int) -> Iterator[DecodedFrames]:
    return (frames for frames in decoded if frames.index.start - first in SAMPLED)


def _pick(planes: Tensor, clip: ClipInfo) -> Tensor:
    height, width = _picked_size(clip)
    rows, columns = (
        torch.arange(count) * side // count for count, side in zip((height, width), planes.shape[-2:], strict=True)
    )
    return planes[..., rows, :][..., columns]


def _picked_size(clip: ClipInfo) -> tuple[int, int]:
    step = max(1, min(clip.height, clip.width) // SAMPLE_LINES)
    return clip.height // step, clip.width // step


def _picked_part(part: tuple[int, int], side: int, count: int) -> slice:
    """The picked rows, or columns, that lie within a part of the side."""
    return slice(-(-part[0] * count // side), max(part[1] * count // side, 1))


def _picture(samples: Sequence[_Sample], clip: ClipInfo) -> tuple[tuple[int, int], tuple[int, int]]:
    """The rows and the columns of the picture, without black bars beside it."""
    darkest = clip.delivery.luma_ends[0] + BAR * 2 ** (clip.delivery.bits - 8)
    rows = torch.stack([sample.brightest_rows for sample in samples]).amax(0)
    columns = torch.stack([sample.brightest_columns for sample in samples]).amax(0)
    return _between_bars(rows > darkest), _between_bars(columns > darkest)


def _between_bars(lit: Tensor) -> tuple[int, int]:
    """The first and the last place but one of those that are lit, and a little less beside a bar."""
    places, side = torch.nonzero(lit).flatten().tolist(), len(lit)
    if not places:
        return 0, side
    first, behind = places[0], places[-1] + 1
    return (first and first + BESIDE_BAR, behind if behind == side else behind - BESIDE_BAR)


def check_clean_plate(screen: Screen | None, clip: Path, size: tuple[int, int]) -> None:
    """JobError where a clip of (height, width) `size` cannot be keyed with the screen's clean plate."""
    if screen is not None and screen.clean_plate is not None:
        read_clean_plate(screen.clean_plate, clip, size)


def _clean_plate(clip: ClipInfo, options: Screen) -> Tensor | None:
    if options.clean_plate is None:
        return None
    return read_clean_plate(options.clean_plate, clip.path, (clip.height, clip.width))


def read_clean_plate(path: Path, clip: Path, size: tuple[int, int]) -> Tensor:
    """A picture of the screen alone, R'G'B' (1, 3, H, W) of the clip's (height, width) `size`.

    JobError where it is none, or has another shape.
    """
    try:
        shape = still_size(path)
        rgb = torch.from_numpy(read_still(path, size))[None].to(torch.float32) / 255
    except SourceError as error:
        raise JobError(f"clean plate cannot be used: {error}; give a picture of the screen alone") from error
    if not same_shape(shape, size):
        shapes = f"{shape[1]}×{shape[0]}, {clip.name} {size[1]}×{size[0]}"
        raise JobError(f"clean plate {path} has another shape than the clip ({shapes}); give one by the same camera")
    if all(find_screen(rgb, rgb, hue) is None for hue in HUES):
        raise JobError(f"clean plate {path} shows no green or blue screen; give a picture of the screen alone")
    # A still has noise as well, which every frame would get.
    return box_mean(rgb, 2 * (min(size) // 250) + 1)


def shade_of(plate: Tensor, hue: Hue) -> Tensor:
    """The difference (1, 1, H, W) of a clean plate, nowhere so small that noise would be keyed by it."""
    shade = difference(plate, hue)
    return shade.clamp(min=max(DARKEST_SHADE * float(shade.median()), FAINT_SHADE))
