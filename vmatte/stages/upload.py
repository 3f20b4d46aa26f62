"""Decoded frames become tensors on the device, in the clip's delivery coding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import Coding
from vmatte.frames import DecodedFrames, FrameBatch
from vmatte.imaging.color import recode


def upload(decoded: Iterable[DecodedFrames], coding: Coding, device: torch.device) -> Iterator[FrameBatch]:
    """The same frames on the device, recoded where their coding is not `coding`.

    To CUDA they travel as codes, on a stream of their own beside the computing.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    for frames in decoded:
        luma, chroma = (_moved(planes, device, stream) for planes in (frames.luma, frames.chroma))
        source = frames.coding.color
        if (source.matrix, source.full_range) != (coding.color.matrix, coding.color.full_range):
            luma, chroma = recode(luma, chroma, frames.coding, coding)
        alpha = None if frames.alpha is None else _moved(frames.alpha, device, stream)
        yield FrameBatch(frames.index, luma, chroma, coding, alpha)


def _moved(planes: NDArray[Any], device: torch.device, stream: torch.cuda.Stream | None) -> Tensor:
    codes = torch.from_numpy(planes)
    if stream is None:
        return codes.to(device)
    with torch.cuda.stream(stream):
        # A copy beside the computing needs page-locked memory; torch keeps such blocks and hands them out again.
        moved = codes.pin_memory().to(device, non_blocking=True)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(stream)
    moved.record_stream(computing)
    return moved
