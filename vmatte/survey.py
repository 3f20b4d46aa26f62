"""A quick look at the whole clip: the network over frames here and there, in small."""

from __future__ import annotations

import io
import logging
import zipfile
import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import ClipInfo
from vmatte.frames import FrameBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.resize import resize
from vmatte.imaging.shots import agree, thumbnail
from vmatte.models.contract import MattingModel
from vmatte.shots import find_cuts
from vmatte.stages.key import ScreenKey
from vmatte.stages.matte import network_input
from vmatte.stages.own_alpha import alpha_of
from vmatte.stages.upload import upload
from vmatte.video.read import decode_samples

logger = logging.getLogger(__name__)

LINES = 96
"""Short side of the pictures that are kept."""
_LOOKS = 2
"""How often a recurrent network sees a sampled frame. It never saw the one before it, and has no use for what it
remembers of the last sample. After two looks at a still, RVM's matte in small is within 0.003 of the one that it makes
with the whole clip behind it; a third takes 0.0001 off that."""
_LONG_SIDE = 512
"""What networks that take frames at full size get at most: for a matte of `LINES` lines more is wasted."""
_EACH_S = 1
"""Seconds of the clip for which there is a sample, where few are enough."""
_FEW = 8
_MOST = 900
_ONE_IN = 10
"""At most one frame in so many is sampled, for each costs about what a frame of the render does."""
_LEAST = 3
"""Of a clip that is shorter still, samples all the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """A clip in some of its frames, which may be none.

    `pictures` (N, 3, h, w) uint8 R'G'B', the shorter side `LINES`; `alphas` (N, 1, h, w) uint8, 255 is opaque: the
    network's, of the whole frame. `shots` has the number of the first frame of each shot.
    """

    numbers: tuple[int, ...]
    pictures: NDArray[np.uint8]
    alphas: NDArray[np.uint8]
    shots: tuple[int, ...]

    def __post_init__(self) -> None:
        shapes = self.pictures.shape, self.alphas.shape
        frames = len(self.numbers)
        if shapes[0][:2] != (frames, 3) or shapes[1] != (frames, 1, *shapes[0][2:]):
            raise ValueError(f"{frames} frames need pictures (N, 3, h, w) and alphas (N, 1, h, w); got {shapes}")

    @property
    def shot_of(self) -> NDArray[np.int64]:
        """(N,) the place in `shots` of each sample's own."""
        return np.searchsorted(self.shots, self.numbers, side="right") - 1

    def to_bytes(self) -> bytes:
        packed = io.BytesIO()
        np.savez_compressed(
            packed,
            numbers=np.array(self.numbers, np.int64),
            pictures=self.pictures,
            alphas=self.alphas,
            shots=np.array(self.shots, np.int64),
        )
        return packed.getvalue()

    @staticmethod
    def from_bytes(packed: bytes) -> Survey:
        """ValueError for what is damaged."""
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as found:
                numbers, shots = (tuple(found[name].tolist()) for name in ("numbers", "shots"))
                return Survey(numbers, found["pictures"], found["alphas"], shots)
        except (zipfile.BadZipFile, zlib.error, LookupError, EOFError, OSError) as error:
            raise ValueError(f"no survey: {error}") from error


def sample_numbers(clip: ClipInfo, *, closely: bool) -> list[int]:
    """The frames that are looked at: one of each of many equal parts of the clip, its key frame where it has one.

    One a second, for a short clip more; `closely` as many as cost a tenth of a render, about three a second.
    """
    most = min(max(clip.frames // _ONE_IN, _LEAST), clip.frames, _MOST)
    parts = most if closely else min(max(_FEW, round(clip.duration / _EACH_S)), most)
    keys = np.flatnonzero(np.isin(clip.pts, clip.key_pts))
    edges = [clip.frames * part // parts for part in range(parts + 1)]
    return [_reached(keys, first, stop) for first, stop in pairwise(edges)]


def _reached(keys: NDArray[np.int64], first: int, stop: int) -> int:
    """The key frame in the middle of these frames, or as near as there is one; without any the middle itself."""
    middle = (first + stop) // 2
    inside = keys[(keys >= first) & (keys < stop)]
    return int(min(inside, key=lambda key: abs(key - middle))) if len(inside) else middle


def survey(clip: ClipInfo, model: MattingModel | ScreenKey, *, closely: bool) -> Survey:
    """Look at the clip. Frames that cannot be decoded are left out.

    What comes of it is a function of the clip and the model alone, wherever a render begins or goes on.
    """
    numbers, pictures, alphas, thumbnails = [], [], [], []
    wanted = sample_numbers(clip, closely=closely)
    small = small_size(clip)
    for frames in upload(decode_samples(clip, wanted), clip.delivery, model.device):
        numbers.append(frames.index.start)
        pictures.append(_codes(_picture(frames, small)))
        alphas.append(_codes(resize(_alpha(frames, model), small)))
        thumbnails.append(thumbnail(frames.luma, frames.chroma, frames.coding.bits).cpu())
    shots = [0]
    for (before, behind), (one, other) in zip(pairwise(numbers), pairwise(thumbnails), strict=True):
        if not agree(one, other):
            shots += find_cuts(clip, range(before + 1, behind + 1))
    empty = np.zeros((0, 1, *small), np.uint8)
    if not numbers:
        return Survey((), np.repeat(empty, 3, axis=1), empty, (0,))
    return Survey(tuple(numbers), np.concatenate(pictures), np.concatenate(alphas), tuple(shots))


def small_size(clip: ClipInfo) -> tuple[int, int]:
    """(height, width) of a clip's pictures in a survey."""
    scale = min(1.0, LINES / min(clip.height, clip.width))
    return max(1, round(clip.height * scale)), max(1, round(clip.width * scale))


def _codes(planes: Tensor) -> NDArray[np.uint8]:
    codes: NDArray[np.uint8] = (planes.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return codes


def _picture(frames: FrameBatch, size: tuple[int, int]) -> Tensor:
    return ycbcr_to_rgb(resize(frames.luma, size), resize(frames.chroma, size), frames.coding)


def _alpha(frames: FrameBatch, model: MattingModel | ScreenKey) -> Tensor:
    if isinstance(model, ScreenKey):
        return model.alpha(frames)
    if model.spec.is_own_alpha:
        return alpha_of(frames)
    rgb = network_input(_shrunk(frames) if model.spec.input_size.rule == "full" else frames, model)
    if model.spec.recurrent:
        rgb = rgb.expand(_LOOKS, -1, -1, -1)
    return model.predict(rgb).alpha[-1:]


def _shrunk(frames: FrameBatch) -> FrameBatch:
    scale = min(1.0, _LONG_SIDE / max(frames.size))
    luma, chroma = (
        resize(planes, (max(1, round(planes.shape[-2] * scale)), max(1, round(planes.shape[-1] * scale))))
        for planes in (frames.luma, frames.chroma)
    )
    return FrameBatch(frames.index, luma, chroma, frames.coding)
