"""Decoding mattes: the alpha of a clip or a picture, or the brightness of a gray one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vmatte.clip import ClipInfo, luma_ends
from vmatte.errors import SourceError
from vmatte.video.planes import float_planes, has_alpha, is_float, plane_views
from vmatte.video.probe import ALPHA_DECODERS, open_source

_GRAY_LEVELS = 8
"""How far, in levels of 255, a codec may take a gray picture from gray."""


def alpha_decoder(stream: VideoStream) -> VideoCodecContext:
    """A decoder for the stream that shows its alpha, if it has any."""
    name = ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None:
        return stream.codec_context
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    return decoder


def decode_alpha(clip: ClipInfo) -> Iterator[NDArray[np.float32]]:
    """Each frame's alpha (H, W) in [0, 1]; of a clip without alpha its luma, which must be gray.

    Raises SourceError for a clip in colour, and where a frame cannot be decoded: what follows it would be compared with
    the wrong frames.
    """
    number = 0
    with open_source(clip.path) as container:
        stream = container.streams[clip.stream]
        assert isinstance(stream, VideoStream)
        decoder = alpha_decoder(stream)
        decoder.thread_count = 0
        try:
            for packet in container.demux(stream):
                for frame in decoder.decode(packet if packet.size else None):
                    if not clip.orientation.upright or (frame.width, frame.height) != (clip.width, clip.height):
                        raise SourceError(
                            f"{clip.path}: frame {number} is stored turned, with pixels that are not square, or at "
                            "another size; a matte must be stored as it is shown"
                        )
                    yield alpha_of(frame, f"{clip.path}: frame {number}")
                    number += 1
        except av.error.FFmpegError as error:
            raise SourceError(f"{clip.path}: frame {number} cannot be decoded") from error
    if number < clip.frames:
        raise SourceError(f"{clip.path}: only {number} of its {clip.frames} frames can be decoded")


def read_alpha(picture: Path) -> NDArray[np.float32]:
    """A picture's alpha (H, W) in [0, 1]; of a picture without alpha its brightness, which must be gray."""
    try:
        with picture.open("rb") as file, av.open(file, "r") as container:
            for frame in container.decode(video=0):
                return alpha_of(frame, str(picture))
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise SourceError(f"{picture} cannot be read as a picture: {error}") from error
    raise SourceError(f"{picture} holds no picture")


def own_alpha(frame: VideoFrame) -> tuple[NDArray[np.generic], int, int] | None:
    """Alpha codes (h, w) of a frame, and those of transparent and opaque; None of one that has no alpha, or only that
    of a palette."""
    form = frame.format
    if not has_alpha(frame) or form.has_palette:
        return None
    if len(frame.planes) < 4 or form.name.endswith("be"):  # swscale copies alpha as it is
        frame = frame.reformat(format="gbrap" if form.components[-1].bits <= 8 else "gbrap16le")
    return plane_views(frame)[3], 0, _highest(frame)


def alpha_of(frame: VideoFrame, where: str) -> NDArray[np.float32]:
    """A frame's alpha (H, W) in [0, 1]; of a frame without alpha its luma, which must be gray, else SourceError."""
    form = frame.format
    if is_float(frame):
        return float_planes(frame)[-1]
    own = own_alpha(frame)
    if own is not None:
        return _scaled(*own)
    if len(form.components) == 1 and not form.has_palette:
        if form.components[0].bits < 8 or form.name.endswith("be"):
            frame = frame.reformat(format="gray" if form.components[0].bits <= 8 else form.name.replace("be", "le"))
        limited = frame.color_range == ColorRange.MPEG  # gray that says nothing is full range
        return _scaled(plane_views(frame)[0], *luma_ends(frame.format.components[0].bits, full_range=not limited))
    return _brightness(frame, where)


def _brightness(frame: VideoFrame, where: str) -> NDArray[np.float32]:
    """Luma of a frame in Y'CbCr or RGB, whose colours must all be gray."""
    form = frame.format
    bits = form.components[0].bits
    rgb = form.is_rgb or form.has_palette
    limited = not rgb and frame.color_range != ColorRange.JPEG and not form.name.startswith("yuvj")
    # One range on both sides: planes may be reordered, their codes stay.
    kept = ColorRange.MPEG if limited else ColorRange.JPEG
    depth = "" if bits <= 8 else "10le" if bits <= 10 else "12le" if bits <= 12 else "16le"
    planar = f"{'gbrp' if rgb else 'yuv444p'}{depth}"
    frame = frame.reformat(format=planar, src_color_range=kept, dst_color_range=kept)
    luma, *others = plane_views(frame)
    neutral = luma.astype(np.int32) if rgb else (_highest(frame) + 1) // 2
    if max(int(abs(other.astype(np.int32) - neutral).max()) for other in others) * 255 > _GRAY_LEVELS * _highest(frame):
        raise SourceError(
            f"{where} has no alpha and is in colour; give a clip with alpha, or a gray one whose brightness is alpha"
        )
    return _scaled(luma, *luma_ends(frame.format.components[0].bits, full_range=not limited))


def _highest(frame: VideoFrame) -> int:
    return int(2 ** frame.format.components[0].bits) - 1


def _scaled(codes: NDArray[np.generic], black: int, white: int) -> NDArray[np.float32]:
    alpha = (codes.astype(np.float32) - np.float32(black)) / np.float32(white - black)
    return alpha.clip(0, 1)
