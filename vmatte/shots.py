"""Where the shots of a clip begin."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vmatte.clip import ClipInfo
from vmatte.imaging.shots import cuts, thumbnail
from vmatte.video.read import decode


def find_shots(clip: ClipInfo) -> tuple[int, ...]:
    """The first frame of every shot, of which the first is 0. Decodes the whole clip."""
    return (0, *find_cuts(clip, range(1, clip.frames)))


def find_cuts(clip: ClipInfo, among: range) -> Iterator[int]:
    """Those among the frames with which another shot begins. Decodes them, two before and one behind."""
    seen = range(max(among.start - 2, 0), min(among.stop + 1, clip.frames))
    return (number for number in cuts(_thumbnails(clip, seen)) if number in among)


def _thumbnails(clip: ClipInfo, numbers: range) -> Iterator[tuple[int, Tensor]]:
    for frames in decode(clip, numbers, batch=1):
        luma, chroma = torch.from_numpy(frames.luma), torch.from_numpy(frames.chroma)
        yield frames.index.start, thumbnail(luma, chroma, frames.coding.bits)
