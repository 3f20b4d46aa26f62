"""Mattes on disk, without loss: a segment's alpha as FFV1 in 16-bit gray."""

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
from torch import Tensor

from vmatte.errors import KeptMatteError
from vmatte.frames import KeptMatte
from vmatte.video.planes import plane_views

_OPTIONS = {"level": "3", "slicecrc": "1"}
_SLICES = 4
_FORMAT = "gray16le"
_RATE = Fraction(25)
"""Players want one; the frames' numbers are kept elsewhere."""


class MatteWriter:
    """Writes mattes into a file, which is not made where there are none. `finish` makes it whole; `close` comes last in
    any case. Raises OSError and what PyAV raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: tuple[OutputContainer, VideoStream] | None = None

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._open is not None:
            container, stream = self._open
            container.mux(stream.encode(None))
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            container, _ = self._open
            self._open = None
            container.close()

    def write(self, codes: Tensor) -> None:
        """Add some frames' alphas (T, 1, H, W) uint16, which are on the host."""
        height, width = codes.shape[-2:]
        if self._open is None:
            container = av.open(str(self._path), "w", format="matroska")
            slices = _SLICES if min(height, width) > 1 else 1
            stream = container.add_stream("ffv1", rate=_RATE, options={**_OPTIONS, "slices": str(slices)})
            assert isinstance(stream, VideoStream)
            stream.codec_context.width, stream.codec_context.height = width, height
            stream.codec_context.pix_fmt = _FORMAT
            self._open = container, stream
        container, stream = self._open
        for plane in codes[:, 0].numpy():
            frame = VideoFrame(width, height, _FORMAT)
            plane_views(frame)[0][:] = plane
            container.mux(stream.encode(frame))


def read_mattes(path: Path, numbers: Sequence[int]) -> Iterator[KeptMatte]:
    """The mattes of the frames `numbers`, all that the file holds. Raises KeptMatteError where one cannot be read."""
    alphas = _frames_of(path)
    try:
        for number in numbers:
            yield KeptMatte(number, np.ascontiguousarray(plane_views(next(alphas))[0]))
    except (av.error.FFmpegError, StopIteration, LookupError, AttributeError) as error:  # what PyAV makes of no stream
        raise KeptMatteError(f"{path} cannot be read") from error


def _frames_of(path: Path) -> Iterator[VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert isinstance(stream.codec_context, VideoCodecContext)
        stream.codec_context.thread_count = 0
        yield from container.decode(stream)
