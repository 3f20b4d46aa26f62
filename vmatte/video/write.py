"""Encoding layers: one file (or folder of pictures) for a segment, no audio, times counted from zero."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from av.packet import PacketSideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vmatte.clip import Coding
from vmatte.encodings import Encoding
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.video.encoder_frames import RANGE, encoder_frames, says_colour
from vmatte.video.rgb import relabelled_tiff, with_chromaticities


def check_encoder(encoding: Encoding) -> None:
    """EncodeError where this machine cannot encode so: what a graphics card does needs the card and its driver."""
    if encoding.codec not in av.codecs_available:
        raise EncodeError(_MISSING.get(encoding.codec, f"{encoding.name} needs {encoding.codec}, which is not here"))
    if not encoding.codec.endswith("_nvenc"):
        return
    context = _new_encoder(encoding, Fraction(25), encoding.codec_options)
    # Smaller pictures are refused.
    context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
    try:
        context.open()
    except (OSError, av.error.FFmpegError) as error:
        raise _no_hardware(encoding) from error


_MISSING = {
    "hevc_videotoolbox": "hevc-alpha is made by macOS alone; for Safari render it on a Mac, or take stacked, which any "
    "browser shows with docs/player"
}
"""What to do where an encoder is not there."""


def _no_hardware(encoding: Encoding) -> EncodeError:
    return EncodeError(
        f"{encoding.name} needs an NVIDIA graphics card that encodes {encoding.codec.removesuffix('_nvenc').upper()}, "
        "and its driver; this machine has none that works. Name an encoding that needs no card"
    )


def encode(
    layers: Iterable[LayerBatch],
    path: Path,
    encoding: Encoding,
    coding: Coding,
    rate: Fraction,
    *,
    is_matte: bool = False,
    premultiplied: bool = False,
) -> list[int]:
    """Write all layers to `path` and return the numbers of the frames that are in it, in order.

    `coding` is that of the layers' planes (`coding_for`), and what the file is tagged with. In a file frame i has pts i
    at `rate` (true times come with `join`); a picture is named after its frame's number. With `is_matte` the layers are
    written with more care, and as luma alone where the encoding has a format for that. `premultiplied` says what alpha
    did to the colours. Raises EncodeError.
    """
    if is_matte:
        encoding = _for_mattes(encoding)
    check_encoder(encoding)
    try:
        with writing(path):
            if encoding.is_sequence:
                return _write_pictures(layers, path, encoding, coding, rate, premultiplied=premultiplied)
            return _write_file(layers, path, encoding, coding, rate)
    finally:
        if isinstance(layers, Generator):
            layers.close()


def _for_mattes(encoding: Encoding) -> Encoding:
    options = encoding.codec_options | (encoding.matte_options or {})
    return replace(encoding, pix_fmt=encoding.pix_fmt_gray or encoding.pix_fmt, codec_options=options)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong on the way to the disk into an EncodeError that says so."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        if error.errno == errno.ENOSPC:
            # Not the hidden folder that a render works in.
            where = next((folder.parent for folder in path.parents if folder.suffix == ".vmatte"), path.parent)
            raise EncodeError(f"the disk is full: {where} has no room left; free some and run again") from error
        raise EncodeError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_file(
    layers: Iterable[LayerBatch], path: Path, encoding: Encoding, coding: Coding, rate: Fraction
) -> list[int]:
    written: list[int] = []
    with av.open(str(path), "w", format=encoding.container) as container:
        encoder: _StreamEncoder | None = None
        for number, colour, alpha in encoder_frames(layers, encoding, coding):
            if encoder is None:
                encoder = _StreamEncoder(container, encoding, coding, rate, colour, beside=alpha is not None)
            container.mux(encoder.encode(colour, alpha))
            written.append(number)
        if encoder is not None:
            container.mux(encoder.flush())
    return written


class _StreamEncoder:
    """The video stream of a file; with `beside`, a second encoder whose packets travel as the first one's side data."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        encoding: Encoding,
        coding: Coding,
        rate: Fraction,
        first: VideoFrame,
        *,
        beside: bool,
    ) -> None:
        stream = container.add_stream(encoding.codec, rate=rate, options=encoding.codec_options)
        assert isinstance(stream, VideoStream)
        self.stream = stream
        _configure(stream.codec_context, first, encoding, coding)
        self._alpha: VideoCodecContext | None = None
        if beside:
            stream.metadata["alpha_mode"] = "1"
            self._alpha = _new_encoder(encoding, rate, encoding.alpha_options or {})
            _configure(self._alpha, first, encoding, coding)
        self._frames, self._delivered, self._tick = 0, 0, 1 / rate
        self._waiting: tuple[deque[av.Packet[VideoStream]], deque[bytes]] = deque(), deque()

    def encode(self, colour: VideoFrame, alpha: VideoFrame | None) -> list[av.Packet[VideoStream]]:
        for frame in (colour, alpha):
            if frame is not None:
                frame.pts, frame.time_base = self._frames, self._tick
        self._frames += 1
        return self._paired(self.stream.encode(colour), [] if self._alpha is None else self._alpha.encode(alpha))

    def flush(self) -> list[av.Packet[VideoStream]]:
        return self._paired(self.stream.encode(None), [] if self._alpha is None else self._alpha.encode(None))

    def _paired(
        self, pictures: list[av.Packet[VideoStream]], alphas: list[av.Packet[VideoStream]]
    ) -> list[av.Packet[VideoStream]]:
        """The pictures whose alpha is there too, with it; the two encoders need not deliver at the same time."""
        if self.stream.codec_context.name == "libx265":
            # In a segment of a few frames x265 gives as dts whatever lies in memory; `join` makes new ones anyway.
            for packet in pictures:
                packet.dts = self._delivered - _MOST_REORDERED
                self._delivered += 1
        if self._alpha is None:
            return pictures
        waiting_pictures, waiting_alphas = self._waiting
        waiting_pictures.extend(pictures)
        waiting_alphas.extend(bytes(packet) for packet in alphas)
        ready = []
        while waiting_pictures and waiting_alphas:
            packet, alpha = waiting_pictures.popleft(), _BLOCK_ADD_ID + waiting_alphas.popleft()
            beside = PacketSideData(_MATROSKA_BLOCK_ADDITIONAL, len(alpha))  # type: ignore[call-arg]
            beside.update(alpha)
            packet.set_sidedata(beside)
            ready.append(packet)
        return ready


_MOST_REORDERED = 16
"""Frames by which HEVC may decode a picture before it is shown."""

# WebM's alpha: block additional data of id 1, a VP9 stream of its own whose luma is alpha.
_BLOCK_ADD_ID = (1).to_bytes(8, "big")
_MATROSKA_BLOCK_ADDITIONAL = 15


def _write_pictures(
    layers: Iterable[LayerBatch],
    path: Path,
    encoding: Encoding,
    coding: Coding,
    rate: Fraction,
    *,
    premultiplied: bool,
) -> list[int]:
    path.mkdir(parents=True, exist_ok=True)
    written: list[int] = []
    encoder: VideoCodecContext | None = None

    def save(packets: list[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            picture = bytes(packet)
            if encoding.codec == "tiff":
                picture = relabelled_tiff(picture, premultiplied=premultiplied)
            elif encoding.codec == "exr":
                picture = with_chromaticities(picture, coding.color.primaries)
            (path / picture_name(written[packet.pts or 0], encoding)).write_bytes(picture)

    for number, frame, _ in encoder_frames(layers, encoding, coding):
        if encoder is None:
            encoder = _new_encoder(encoding, rate, encoding.codec_options)
            _configure(encoder, frame, encoding, coding)
        frame.pts, frame.time_base = len(written), 1 / rate
        written.append(number)
        save(encoder.encode(frame))
    if encoder is not None:
        save(encoder.encode(None))
    return written


def picture_name(number: int, encoding: Encoding) -> str:
    """The file name of frame `number` in a sequence of pictures."""
    return f"{number:06d}{encoding.picture_suffix}"


# Of encoders that tell all they do on standard error: level 1 is errors.
_QUIET = {"libsvtav1": ("SVT_LOG", "1")}


def _new_encoder(encoding: Encoding, rate: Fraction, options: dict[str, str]) -> VideoCodecContext:
    encoder = av.CodecContext.create(encoding.codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.options = options
    encoder.framerate, encoder.time_base = rate, 1 / rate
    return encoder


def _configure(context: VideoCodecContext, frame: VideoFrame, encoding: Encoding, coding: Coding) -> None:
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = frame.format.name
    context.thread_type, context.thread_count = encoding.thread_type, encoding.thread_count
    if encoding.codec == "libvpx-vp9":
        context.bit_rate = 0  # quality is constant only without a bit rate
    if encoding.codec_tag is not None:
        context.codec_tag = encoding.codec_tag
    if encoding.codec in _QUIET:
        os.environ.setdefault(*_QUIET[encoding.codec])
    if says_colour(encoding, coding):
        context.color_primaries, context.color_trc = coding.color.primaries, coding.color.transfer
        context.colorspace, context.color_range = coding.color.matrix, RANGE[coding.color.full_range]
