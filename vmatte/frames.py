"""What travels between the stages.

A frame is two groups of planes: luma (one plane) and chroma (two planes, Cb and Cr, often at half size), as integer
codes. They stay codes until a stage needs numbers: mixing codes is the same formula on Y'CbCr as on R'G'B' (the matrix
is linear), and what light makes different is computed at soft edges alone. So a solid pixel of the subject reaches the
encoder without a conversion, and a frame on its way costs half the memory that RGB would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.analysis import Box
from vmatte.clip import Coding


def _check_planes(index: range, luma: Any, chroma: Any) -> None:
    frames = len(index)
    if luma.ndim != 4 or chroma.ndim != 4 or luma.shape[:2] != (frames, 1) or chroma.shape[:2] != (frames, 2):
        shapes = f"luma {tuple(luma.shape)} and chroma {tuple(chroma.shape)}"
        raise ValueError(f"{frames} frames need luma (T,1,H,W) and chroma (T,2,h,w); got {shapes}")


def _check_alpha(luma: Any, alpha: Any) -> None:
    if alpha is not None and alpha.shape != luma.shape:
        raise ValueError(f"alpha {tuple(alpha.shape)} does not fit luma {tuple(luma.shape)}")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrames:
    """Frames as they come out of the file: luma (T,1,H,W), chroma (T,2,h,w), uint8 or uint16 codes."""

    index: range
    luma: NDArray[np.generic]
    chroma: NDArray[np.generic]
    coding: Coding
    alpha: NDArray[np.uint16] | None = None
    """The clip's own (T,1,H,W), 65535 is opaque; None where it has none."""

    def __post_init__(self) -> None:
        _check_planes(self.index, self.luma, self.chroma)
        _check_alpha(self.luma, self.alpha)


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Frames in the clip's delivery coding: luma (T,1,H,W), chroma (T,2,h,w), uint8 or uint16 codes."""

    index: range
    luma: Tensor
    chroma: Tensor
    coding: Coding
    alpha: Tensor | None = None
    """The clip's own (T,1,H,W) uint16, 65535 is opaque; None where it has none. No network sees it."""

    def __post_init__(self) -> None:
        _check_planes(self.index, self.luma, self.chroma)
        _check_alpha(self.luma, self.alpha)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.luma.shape[2]), int(self.luma.shape[3])

    def part(self, frames: range) -> FrameBatch:
        """Those of its frames."""
        own = slice(frames.start - self.index.start, frames.stop - self.index.start)
        alpha = None if self.alpha is None else self.alpha[own]
        return FrameBatch(frames, self.luma[own], self.chroma[own], self.coding, alpha)

    def cropped(self, boxes: Sequence[Box]) -> FrameBatch:
        """The part of each frame that its box holds, without alpha of its own; all boxes are of one size, and begin at
        even rows and columns."""
        down, across = (-(-side // small) for side, small in zip(self.size, self.chroma.shape[2:], strict=True))
        chroma = _cropped(self.chroma, [box.subsampled(down, across) for box in boxes])
        return FrameBatch(self.index, _cropped(self.luma, boxes), chroma, self.coding)


def _cropped(planes: Tensor, boxes: Sequence[Box]) -> Tensor:
    if len(set(boxes)) == 1:
        box = boxes[0]
        return planes[..., box.top : box.bottom, box.left : box.right]
    cut = planes.new_empty((len(boxes), planes.shape[1], boxes[0].height, boxes[0].width))
    for t, box in enumerate(boxes):
        cut[t].copy_(planes[t, :, box.top : box.bottom, box.left : box.right])
    return cut


@dataclass(frozen=True, slots=True, eq=False)
class KeptMatte:
    """What is kept of one frame's matte, in the host's memory: alpha (H,W) uint16, 65535 is opaque."""

    number: int
    alpha: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class MatteBatch:
    """Frames with their matte: alpha (T,1,H,W) float32 in [0, 1]."""

    frames: FrameBatch
    alpha: Tensor
    codes: Tensor | None = None
    """The same as it is kept, once it is settled: (T,1,H,W) uint16, 65535 is opaque."""

    def __post_init__(self) -> None:
        if self.alpha.shape != self.frames.luma.shape:
            raise ValueError(f"alpha {tuple(self.alpha.shape)} does not fit luma {tuple(self.frames.luma.shape)}")

    def part(self, frames: range) -> MatteBatch:
        """Those of its frames; what is kept of mattes is kept of whole batches."""
        batch = self.frames
        own = slice(frames.start - batch.index.start, frames.stop - batch.index.start)
        return MatteBatch(batch.part(frames), self.alpha[own])


@dataclass(frozen=True, slots=True, eq=False)
class SubjectBatch:
    """The subject alone, in straight colour: luma (T,1,H,W) and chroma (T,2,h,w) codes, alpha (T,1,H,W) float32 in
    [0, 1].

    It may be moved and scaled on a picture of another size; `source` has the clip's own frames and their mattes.
    """

    luma: Tensor
    chroma: Tensor
    alpha: Tensor
    source: MatteBatch
    numbers: range | None = None
    """In the output, where that shows the clip at another rate."""
    recoded: Coding | None = None
    """What its codes are, where they are no longer of the clip's coding."""

    def __post_init__(self) -> None:
        _check_planes(self.index, self.luma, self.chroma)
        if self.alpha.shape != self.luma.shape:
            raise ValueError(f"alpha {tuple(self.alpha.shape)} does not fit luma {tuple(self.luma.shape)}")

    @property
    def index(self) -> range:
        """Of the output's frames; `source` has the clip's."""
        return self.source.frames.index if self.numbers is None else self.numbers

    @property
    def coding(self) -> Coding:
        return self.source.frames.coding if self.recoded is None else self.recoded

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.luma.shape[2]), int(self.luma.shape[3])

    @property
    def chroma_size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.chroma.shape[2]), int(self.chroma.shape[3])


@dataclass(frozen=True, slots=True, eq=False)
class LayerBatch:
    """What the encoder gets: luma (T,1,H,W), chroma (T,2,h,w) and, for a cutout, alpha (T,1,H,W), as integer codes."""

    index: range
    luma: Tensor
    chroma: Tensor
    alpha: Tensor | None
    ready: torch.cuda.Event | None = None
    """For planes that are on their way from a device: reached when they are there."""

    def __post_init__(self) -> None:
        _check_planes(self.index, self.luma, self.chroma)
        if self.alpha is not None and self.alpha.shape != self.luma.shape:
            raise ValueError(f"alpha {tuple(self.alpha.shape)} does not fit luma {tuple(self.luma.shape)}")

    def wait(self) -> None:
        """Return when the planes are there to be read."""
        if self.ready is not None:
            self.ready.synchronize()


@dataclass(frozen=True, slots=True, eq=False)
class RenderedBatch:
    """All that comes of some frames: a layer for each output, and the codes (T,1,H,W) uint16 of the matte that they
    were made with, where that is kept."""

    layers: tuple[LayerBatch, ...]
    matte: Tensor | None = None

    @property
    def index(self) -> range:
        return self.layers[0].index

    def wait(self) -> None:
        """Return when the planes are there to be read."""
        for layer in self.layers:
            layer.wait()
