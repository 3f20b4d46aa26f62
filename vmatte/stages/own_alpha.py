"""Frames get as their matte the alpha that they have already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from torch import Tensor

from vmatte.frames import FrameBatch, MatteBatch
from vmatte.imaging.compositing import alpha_of_codes


def alpha_of(frames: FrameBatch) -> Tensor:
    """(T, 1, H, W) in [0, 1] of frames that have alpha of their own."""
    assert frames.alpha is not None
    return alpha_of_codes(frames.alpha)


def matte_by_own_alpha(batches: Iterable[FrameBatch]) -> Iterator[MatteBatch]:
    """The frames with their own alpha as the matte, and none beside it."""
    for frames in batches:
        yield MatteBatch(replace(frames, alpha=None), alpha_of(frames))
