"""Frames get the matte that was kept of an earlier render."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from vmatte.frames import FrameBatch, KeptMatte, MatteBatch
from vmatte.imaging.compositing import alpha_of_codes


def recall(batches: Iterable[FrameBatch], kept: Iterator[KeptMatte]) -> Iterator[MatteBatch]:
    """The frames with their kept mattes, which come in the same order and may be of more frames."""
    for frames in batches:
        device = frames.luma.device
        mattes = [_matte_of(number, kept) for number in frames.index]
        alpha = torch.cat([torch.from_numpy(matte.alpha)[None, None] for matte in mattes]).to(device)
        yield MatteBatch(frames, alpha_of_codes(alpha))


def _matte_of(number: int, kept: Iterator[KeptMatte]) -> KeptMatte:
    for matte in kept:
        if matte.number == number:
            return matte
        if matte.number > number:
            break
    raise ValueError(f"no matte is kept of frame {number}")
