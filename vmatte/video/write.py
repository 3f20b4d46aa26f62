"""Encoding layers: one file (or folder of pictures) for a segment, no audio, times counted from zero."""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vmatte.clip import Coding
from vmatte.encodings import Encoding
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.video.planes import plane_views

_RANGE = {False: ColorRange.MPEG, True: ColorRange.JPEG}


def encode(layers: Iterable[LayerBatch], path: Path, encoding: Encoding, coding: Coding, rate: Fraction) -> list[int]:
    """Write all layers to `path` and return the numbers of the frames that are in it, in order.

    `coding` is that of the layers' planes, and what the file is tagged with. In a file frame i has pts i at `rate`
    (true times come with `join`); a picture is named after its frame's number. Raises EncodeError.
    """
    write = _write_pictures if encoding.container == "image2" else _write_file
    try:
        with writing(path):
            return write(layers, path, encoding, coding, rate)
    finally:
        if isinstance(layers, Generator):
            layers.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong on the way to the disk into an EncodeError that says so."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        if error.errno == errno.ENOSPC:
            where = path.parent.parent  # the work folder itself goes when the render ends
            raise EncodeError(f"the disk is full: {where} has no room left; free some and run again") from error
        raise EncodeError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_file(
    layers: Iterable[LayerBatch], path: Path, encoding: Encoding, coding: Coding, rate: Fraction
) -> list[int]:
    written: list[int] = []
    with av.open(str(path), "w", format=encoding.container) as container:
        stream: VideoStream | None = None
        for number, frame in _frames(layers, encoding, coding):
            if stream is None:
                added = container.add_stream(encoding.codec, rate=rate, options=encoding.codec_options)
                assert isinstance(added, VideoStream)
                stream = added
                _configure(stream.codec_context, frame, encoding, coding)
            frame.pts, frame.time_base = len(written), 1 / rate
            container.mux(stream.encode(frame))
            written.append(number)
        if stream is not None:
            container.mux(stream.encode(None))
    return written


def _write_pictures(
    layers: Iterable[LayerBatch], path: Path, encoding: Encoding, coding: Coding, rate: Fraction
) -> list[int]:
    path.mkdir(parents=True, exist_ok=True)
    written: list[int] = []
    encoder: VideoCodecContext | None = None

    def save(packets: list[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            (path / picture_name(written[packet.pts or 0], encoding)).write_bytes(bytes(packet))

    for number, frame in _frames(layers, encoding, coding):
        if encoder is None:
            created = av.CodecContext.create(encoding.codec, "w")
            assert isinstance(created, VideoCodecContext)
            encoder = created
            encoder.options = encoding.codec_options
            encoder.framerate, encoder.time_base = rate, 1 / rate
            _configure(encoder, frame, encoding, coding)
        frame.pts, frame.time_base = len(written), 1 / rate
        written.append(number)
        save(encoder.encode(frame))
    if encoder is not None:
        save(encoder.encode(None))
    return written


def picture_name(number: int, encoding: Encoding) -> str:
    """The file name of frame `number` in a sequence of pictures."""
    return f"{number:06d}.{encoding.name}"


def _configure(context: VideoCodecContext, frame: VideoFrame, encoding: Encoding, coding: Coding) -> None:
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = frame.format.name
    context.thread_type, context.thread_count = encoding.thread_type, encoding.thread_count
    if encoding.codec == "libvpx-vp9":
        context.bit_rate = 0  # quality is constant only without a bit rate
    if not frame.format.is_rgb:
        context.color_primaries, context.color_trc = coding.color.primaries, coding.color.transfer
        context.colorspace, context.color_range = coding.color.matrix, _RANGE[coding.color.full_range]


def _frames(layers: Iterable[LayerBatch], encoding: Encoding, coding: Coding) -> Iterator[tuple[int, VideoFrame]]:
    """(number, frame in the encoder's own format) of every frame."""
    reformatter = VideoReformatter()
    for layer in layers:
        luma, chroma = layer.luma.numpy(), layer.chroma.numpy()
        alpha = None if layer.alpha is None else layer.alpha.numpy()
        for t, number in enumerate(layer.index):
            planes = [luma[t, 0], *chroma[t]]
            colour = _encoder_colour(planes, encoding, coding, reformatter)
            yield number, colour if alpha is None else _with_alpha(colour, alpha[t, 0], encoding)


def _encoder_colour(
    planes: list[NDArray[np.generic]], encoding: Encoding, coding: Coding, reformatter: VideoReformatter
) -> VideoFrame:
    """A frame in the encoder's colour format: swscale changes chroma's size, the depth and, for pictures, to RGB.

    Alpha never goes through it: it would come back one code off (facts of swscale 9.5), so it is added as it is.
    """
    if encoding.even_size:
        planes = _padded_to_even(planes)
    frame = _frame_of(planes, _planar_name(planes, coding.bits))
    frame.colorspace, frame.color_range = coding.color.matrix, _RANGE[coding.color.full_range]
    frame.color_primaries, frame.color_trc = coding.color.primaries, coding.color.transfer
    if frame.format.name == encoding.pix_fmt:
        return frame
    to_rgb = encoding.pix_fmt == "rgb24"
    converted = reformatter.reformat(
        frame,
        format=encoding.pix_fmt,
        src_color_range=_RANGE[coding.color.full_range],
        dst_color_range=ColorRange.JPEG if to_rgb else _RANGE[coding.color.full_range],
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )
    if not to_rgb:
        converted.colorspace, converted.color_range = coding.color.matrix, _RANGE[coding.color.full_range]
        converted.color_primaries, converted.color_trc = coding.color.primaries, coding.color.transfer
    return converted


def _with_alpha(colour: VideoFrame, alpha: NDArray[np.generic], encoding: Encoding) -> VideoFrame:
    if colour.format.name == "rgb24":
        return VideoFrame.from_ndarray(np.dstack([colour.to_ndarray(), alpha]), format="rgba")
    assert encoding.pix_fmt_alpha is not None
    frame = VideoFrame(colour.width, colour.height, encoding.pix_fmt_alpha)
    for target, source in zip(plane_views(frame), [*plane_views(colour), alpha], strict=True):
        np.copyto(target, source, casting="no")
    frame.colorspace, frame.color_range = colour.colorspace, colour.color_range
    frame.color_primaries, frame.color_trc = colour.color_primaries, colour.color_trc
    return frame


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
