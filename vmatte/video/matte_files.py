"""Mattes on disk, without loss: a segment's alpha as FFV1 in 16-bit gray, and its foreground, if known, beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vmatte.errors import KeptMatteError
from vmatte.frames import KeptMatte, MatteCodes
from vmatte.video.planes import plane_views

_OPTIONS = {"level": "3", "slices": "4", "slicecrc": "1"}
_RATE = Fraction(25)
"""Players want one; the frames' numbers are kept elsewhere."""


class MatteWriter:
    """Writes mattes into `alpha`, and their foregrounds, of `bits` bits, into `foreground`, which is not made where
    there are none. `finish` makes them whole; `close` comes last in any case. Raises OSError and what PyAV raises."""

    def __init__(self, alpha: Path, foreground: Path, bits: int) -> None:
        self._places, self._bits = (alpha, foreground), bits
        self._open: dict[Path, tuple[OutputContainer, VideoStream]] = {}

    def finish(self) -> None:
        """Write what the encoders still hold."""
        for container, stream in self._open.values():
            container.mux(stream.encode(None))
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            _, (container, _) = self._open.popitem()
            container.close()

    def write(self, codes: MatteCodes) -> None:
        """Add some frames; their planes are on the host."""
        alpha, foreground = self._places
        for t in range(len(codes.alpha)):
            self._add(alpha, "gray16le", [codes.alpha[t, 0].numpy()])
            if codes.foreground is not None:
                red, green, blue = codes.foreground[t].numpy()
                # FFV1 has no planes of R'G'B' with eight bits.
                self._add(foreground, f"gbrp{max(self._bits, 9)}le", [green, blue, red])

    def _add(self, path: Path, pix_fmt: str, planes: list[NDArray[np.generic]]) -> None:
        height, width = planes[0].shape
        if path not in self._open:
            container = av.open(str(path), "w", format="matroska")
            stream = container.add_stream("ffv1", rate=_RATE, options=_OPTIONS)
            assert isinstance(stream, VideoStream)
            stream.codec_context.width, stream.codec_context.height = width, height
            stream.codec_context.pix_fmt = pix_fmt
            self._open[path] = container, stream
        container, stream = self._open[path]
        frame = VideoFrame(width, height, pix_fmt)
        for view, plane in zip(plane_views(frame), planes, strict=True):
            view[:] = plane
        container.mux(stream.encode(frame))


def read_mattes(alpha: Path, foreground: Path | None, numbers: Sequence[int]) -> Iterator[KeptMatte]:
    """The mattes of the frames `numbers`, all that the files hold. Raises KeptMatteError where one cannot be read."""
    alphas = _frames_of(alpha)
    foregrounds = None if foreground is None else _frames_of(foreground)
    try:
        for number in numbers:
            colors = None
            if foregrounds is not None:
                green, blue, red = plane_views(next(foregrounds))
                colors = np.stack([red, green, blue])
            yield KeptMatte(number, np.ascontiguousarray(plane_views(next(alphas))[0]), colors)
    except (av.error.FFmpegError, StopIteration, LookupError, AttributeError) as error:  # what PyAV makes of no stream
        raise KeptMatteError(f"{alpha} cannot be read") from error


def _frames_of(path: Path) -> Iterator[VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert isinstance(stream.codec_context, VideoCodecContext)
        stream.codec_context.thread_count = 0
        yield from container.decode(stream)
