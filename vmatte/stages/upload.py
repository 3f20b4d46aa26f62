"""Decoded frames become tensors in the clip's delivery coding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from vmatte.clip import Coding
from vmatte.frames import DecodedFrames, FrameBatch
from vmatte.imaging.color import recode


def upload(decoded: Iterable[DecodedFrames], coding: Coding) -> Iterator[FrameBatch]:
    """The same frames as tensors, recoded where their coding is not `coding`."""
    for frames in decoded:
        luma, chroma = torch.from_numpy(frames.luma), torch.from_numpy(frames.chroma)
        source = frames.coding.color
        if (source.matrix, source.full_range) != (coding.color.matrix, coding.color.full_range):
            luma, chroma = recode(luma, chroma, frames.coding, coding)
        yield FrameBatch(frames.index, luma, chroma, coding)
