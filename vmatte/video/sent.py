"""What an encoder was given: codes of the frames that will be compared with the output, kept without loss."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from vmatte.clip import Coding
from vmatte.encodings import Encoding
from vmatte.frames import KeptMatte, LayerBatch
from vmatte.job import Verify
from vmatte.video.matte_files import MatteWriter, read_mattes

_FLOAT_WHITE = 65535


@dataclass(frozen=True, slots=True)
class Ends:
    """The codes of 0 and 1."""

    black: int
    white: int


def alpha_ends(encoding: Encoding) -> Ends:
    """Of what is kept of a cutout's alpha."""
    return Ends(0, _FLOAT_WHITE if encoding.alpha_bits > 16 else (1 << encoding.alpha_bits) - 1)


def luma_ends(coding: Coding) -> Ends:
    """Of what is kept of a layer's luma."""
    return Ends(0, _FLOAT_WHITE) if coding.bits > 16 else Ends(*coding.luma_ends)


@dataclass(frozen=True, slots=True)
class SentFiles:
    """Where a segment's codes lie: `matte` those of its alpha (of an `alpha` layer, the luma), `luma` of its colour."""

    matte: Path
    luma: Path


@dataclass(frozen=True, slots=True)
class SentSegment:
    """A segment's codes: `frames` are those that it has in the output, `written` the ones of them that are there."""

    files: SentFiles
    frames: range
    written: tuple[int, ...]
    compared: Verify
    """For what `matte` was kept."""

    def mattes(self) -> Iterator[KeptMatte]:
        """The kept alpha codes, by the frames' numbers; KeptMatteError where they cannot be read."""
        yield from self._read(self.files.matte, frames_compared(self.frames, self.compared))

    def lumas(self) -> Iterator[KeptMatte]:
        """The kept luma codes."""
        yield from self._read(self.files.luma, frames_compared(self.frames, "sampled"))

    def _read(self, file: Path, numbers: Sequence[int]) -> Iterator[KeptMatte]:
        if file.exists():  # a layer has not both
            there = set(self.written)
            yield from read_mattes(file, [number for number in numbers if number in there])


def frames_compared(frames: range, how: Verify) -> list[int]:
    """Which of a segment's frames are compared with what was sent: the same ones, whoever asks.

    A sample has the first, the one in the middle and the last.
    """
    if how == "full" or len(frames) <= 3:
        return list(frames)
    return [frames[0], frames[len(frames) // 2], frames[-1]]


def keep_sent(
    layers: Iterable[LayerBatch], files: SentFiles, frames: range, how: Verify, *, is_matte: bool
) -> Iterator[LayerBatch]:
    """The same layers, of the segment that has `frames`; on their way, codes of those to be compared are kept.

    `is_matte` says that the layer is an `alpha` one. Raises OSError and what PyAV raises.
    """
    compared, sampled = set(frames_compared(frames, how)), set(frames_compared(frames, "sampled"))
    matte, luma = MatteWriter(files.matte), MatteWriter(files.luma)
    try:
        for layer in layers:
            layer.wait()
            alpha = layer.luma if is_matte else layer.alpha
            if alpha is not None:
                _keep(matte, alpha, layer.index, compared)
            if not is_matte:
                _keep(luma, layer.luma, layer.index, sampled)
            yield layer
        matte.finish()
        luma.finish()
    finally:
        for writer in (matte, luma):
            with suppress(OSError, av.error.FFmpegError):  # of one that is finished nothing is left to go wrong
                writer.close()
        if isinstance(layers, Generator):
            layers.close()


def _keep(writer: MatteWriter, planes: Tensor, index: range, numbers: set[int]) -> None:
    wanted = [t for t, number in enumerate(index) if number in numbers]
    if wanted:
        codes = planes.numpy()[wanted]
        if planes.dtype.is_floating_point:
            codes = np.rint(codes.clip(0, 1) * _FLOAT_WHITE)
        writer.write(torch.from_numpy(codes.astype(np.uint16)))
