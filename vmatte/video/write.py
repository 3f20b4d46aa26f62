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
import numpy as np
from av.packet import PacketSideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import BT709, LINEAR, RGB_MATRIX, Coding, ColorTags
from vmatte.encodings import Encoding, half_height
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.outputs import AlphaForm, LayerName
from vmatte.video.planes import plane_views
from vmatte.video.rgb import relabelled_tiff, rgb_frame, with_chromaticities
from vmatte.video.stacked import stack

_RANGE = {False: ColorRange.MPEG, True: ColorRange.JPEG}


def coding_for(encoding: Encoding, layer: LayerName, delivery: Coding, alpha: AlphaForm = "straight") -> Coding:
    """The coding that an encoding takes a layer in, of a clip that is delivered in `delivery`.

    Y'CbCr stays as it is, for the encoder's own format is made from it; where it is premultiplied, or its chroma may
    have to be enlarged, it has as many bits as the encoding, which the numbers between need. RGB and gray have the
    encoding's bits and full range, 32 for float numbers in [0, 1]. A matte is no light: it stays in proportion to
    alpha.
    """
    color = delivery.color
    if encoding.colour == "ycbcr":
        if layer == "alpha" and encoding.pix_fmt_gray is not None:
            return Coding(replace(color, full_range=True), encoding.bits)
        if layer == "alpha":
            return Coding(color, encoding.bits)
        deep = layer == "cutout" and alpha == "premultiplied"
        enlarged = encoding.chroma_steps(layer) == (1, 1)
        return Coding(color, max(delivery.bits, encoding.bits)) if deep or enlarged else delivery
    transfer = LINEAR if encoding.colour == "linear" and layer != "alpha" else color.transfer
    return Coding(ColorTags(RGB_MATRIX, color.primaries, transfer, full_range=True), encoding.bits)


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
    gray: bool = False,
    premultiplied: bool = False,
) -> list[int]:
    """Write all layers to `path` and return the numbers of the frames that are in it, in order.

    `coding` is that of the layers' planes (`coding_for`), and what the file is tagged with. In a file frame i has pts i
    at `rate` (true times come with `join`); a picture is named after its frame's number. `gray` layers are mattes: they
    are written with more care, and as luma alone where the encoding has a format for that. `premultiplied` says what
    alpha did to the colours. Raises EncodeError.
    """
    if gray:
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
    if _says_colour(encoding, coding):
        context.color_primaries, context.color_trc = coding.color.primaries, coding.color.transfer
        context.colorspace, context.color_range = coding.color.matrix, _RANGE[coding.color.full_range]


def _says_colour(encoding: Encoding, coding: Coding) -> bool:
    """A picture of BT.709 says nothing of its colour: everything shows it as it shows the video, and a picture that
    names BT.709's transfer is shown another way by some."""
    plain = coding.color.primaries == BT709.primaries and coding.color.transfer == BT709.transfer
    return not (encoding.is_sequence and plain)


def encoder_frames(
    layers: Iterable[LayerBatch], encoding: Encoding, coding: Coding
) -> Iterator[tuple[int, VideoFrame, VideoFrame | None]]:
    """(number, frame in the encoder's own format, alpha where it lies beside the frame) of every frame."""
    reformatter = VideoReformatter()
    for layer in layers:
        layer.wait()
        luma, chroma = _numbers(layer.luma, encoding), _numbers(layer.chroma, encoding)
        alpha = None if layer.alpha is None else _numbers(layer.alpha, encoding)
        for t, number in enumerate(layer.index):
            planes = [luma[t, 0], *chroma[t]]
            if encoding.pix_fmt == encoding.pix_fmt_gray and encoding.pix_fmt is not None:
                yield number, _tagged(rgb_frame([luma[t, 0]], encoding.pix_fmt), encoding, coding), None
            elif coding.color.matrix == RGB_MATRIX:
                pix_fmt = encoding.pix_fmt if alpha is None else encoding.pix_fmt_alpha
                assert pix_fmt is not None
                frame = rgb_frame(planes if alpha is None else [*planes, alpha[t, 0]], pix_fmt)
                yield number, _tagged(frame, encoding, coding), None
            elif alpha is None:
                yield number, _encoder_colour(planes, encoding, coding, reformatter, encoding.pix_fmt), None
            elif encoding.stacked:
                yield number, _stacked(planes, alpha[t, 0], encoding, coding, reformatter), None
            elif encoding.alpha_options is None:
                yield number, _with_alpha(planes, alpha[t, 0], encoding, coding, reformatter), None
            else:
                colour = _encoder_colour(planes, encoding, coding, reformatter, encoding.pix_fmt)
                yield number, colour, _as_picture(alpha[t, 0], colour)


def _numbers(planes: Tensor, encoding: Encoding) -> NDArray[np.generic]:
    """Planes as arrays. Float numbers are rounded here to half of their bits: FFmpeg would cut these off."""
    if planes.is_floating_point() and encoding.half:
        planes = planes.half().float()
    numbers: NDArray[np.generic] = planes.numpy()
    return numbers


def _encoder_colour(
    planes: list[NDArray[np.generic]],
    encoding: Encoding,
    coding: Coding,
    reformatter: VideoReformatter,
    pix_fmt: str | None,
) -> VideoFrame:
    """A frame in `pix_fmt`, or with None in the planes' own: swscale changes chroma's size."""
    if encoding.even_size:
        planes = _padded_to_even(planes)
    bits = coding.bits
    if encoding.bits < bits:
        planes, bits = [_shortened(plane, bits, encoding.bits) for plane in planes], encoding.bits
    frame = _frame_of(planes, _planar_name(planes, bits))
    _tag(frame, coding)
    if pix_fmt is None or frame.format.name == pix_fmt:
        return frame
    converted = reformatter.reformat(
        frame,
        format=pix_fmt,
        src_color_range=_RANGE[coding.color.full_range],
        dst_color_range=ColorRange.JPEG if pix_fmt == "gbrp" else _RANGE[coding.color.full_range],
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )
    if pix_fmt != "gbrp":
        _tag(converted, coding)
    return converted


def _tagged(frame: VideoFrame, encoding: Encoding, coding: Coding) -> VideoFrame:
    if _says_colour(encoding, coding):
        _tag(frame, coding)
    return frame


def _tag(frame: VideoFrame, coding: Coding) -> None:
    color = coding.color
    frame.colorspace, frame.color_range = color.matrix, _RANGE[color.full_range]
    frame.color_primaries, frame.color_trc = color.primaries, color.transfer


def _shortened(codes: NDArray[np.generic], bits: int, fewer: int) -> NDArray[np.generic]:
    """Codes of `bits` bits rounded to `fewer`. Not by swscale, whose dither makes noise of flat colour."""
    shift = bits - fewer
    highest = (1 << bits) - (1 << shift)
    rounded: NDArray[np.uint16] = (np.minimum(codes, highest).astype(np.uint16) + (1 << shift - 1)) >> shift
    return rounded.astype(np.uint8) if fewer == 8 else rounded


def _with_bits(codes: NDArray[np.generic], bits: int, wanted: int) -> NDArray[np.generic]:
    """Codes of limited range, of `bits` bits, with as many as are wanted."""
    if wanted < bits:
        return _shortened(codes, bits, wanted)
    return codes if wanted == bits else codes.astype(np.uint16) << (wanted - bits)


def _with_alpha(
    planes: list[NDArray[np.generic]],
    alpha: NDArray[np.generic],
    encoding: Encoding,
    coding: Coding,
    reformatter: VideoReformatter,
) -> VideoFrame:
    """A frame that carries its alpha; put in afterwards, for from swscale it would come back a code off."""
    assert encoding.pix_fmt_alpha is not None
    if encoding.pix_fmt is None:
        deep = [_with_bits(plane, coding.bits, encoding.alpha_bits) for plane in planes]
        whole = _frame_of([*deep, alpha], _planar_name(planes, encoding.alpha_bits).replace("yuv", "yuva"))
        _tag(whole, coding)
        return whole
    if encoding.pix_fmt_alpha == "bgra":
        colour = _encoder_colour(planes, encoding, coding, reformatter, "gbrp")
        green, blue, red = plane_views(colour)
        return rgb_frame([green, blue, red, alpha], "bgra")
    frame = _encoder_colour(planes, encoding, coding, reformatter, encoding.pix_fmt_alpha)
    np.copyto(plane_views(frame)[3], alpha, casting="no")
    return frame


def _stacked(
    planes: list[NDArray[np.generic]],
    alpha: NDArray[np.generic],
    encoding: Encoding,
    coding: Coding,
    reformatter: VideoReformatter,
) -> VideoFrame:
    colour = _encoder_colour(planes, encoding, coding, reformatter, encoding.pix_fmt)
    shown = Coding(coding.color, encoding.bits)
    frame = _frame_of(stack(plane_views(colour), alpha, shown, half_height(colour.height)), colour.format.name)
    _tag(frame, coding)
    return frame


def _as_picture(alpha: NDArray[np.generic], colour: VideoFrame) -> VideoFrame:
    """Alpha as the luma of a grey frame of the colour's own format."""
    grey = [np.full(plane.shape, 128, np.uint8) for plane in plane_views(colour)[1:]]
    return _frame_of([alpha, *grey], colour.format.name)


def _planar_name(planes: list[NDArray[np.generic]], bits: int) -> str:
    halved = tuple(full > part for full, part in zip(planes[0].shape, planes[1].shape, strict=True))
    layout = {(True, True): "420", (False, True): "422", (False, False): "444"}[halved]
    return f"yuv{layout}p{'' if bits == 8 else f'{bits}le'}"


def _frame_of(planes: list[NDArray[np.generic]], name: str) -> VideoFrame:
    height, width = planes[0].shape
    frame = VideoFrame(width, height, name)
    for target, source in zip(plane_views(frame), planes, strict=True):
        np.copyto(target, source, casting="no")
    return frame


def _padded_to_even(planes: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """4:2:0 in H.264 has whole pairs of rows and columns: the last ones of an odd picture are shown twice."""
    height, width = planes[0].shape
    if height % 2 == 0 and width % 2 == 0:
        return planes
    padded = []
    for plane in planes:
        rows = (height + height % 2 if plane.shape[0] == height else plane.shape[0]) - plane.shape[0]
        columns = (width + width % 2 if plane.shape[1] == width else plane.shape[1]) - plane.shape[1]
        padded.append(np.pad(plane, ((0, rows), (0, columns)), mode="edge"))
    return padded
