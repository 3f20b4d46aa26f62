"""Layers become frames of the encoder's own format, tagged with their colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import BT709, RGB_MATRIX, Coding
from vmatte.encodings import Encoding, half_height
from vmatte.frames import LayerBatch
from vmatte.video.planes import plane_views
from vmatte.video.rgb import rgb_frame
from vmatte.video.stacked import stack

RANGE = {False: ColorRange.MPEG, True: ColorRange.JPEG}
"""FFmpeg's word for codes of limited and of full range."""


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


def says_colour(encoding: Encoding, coding: Coding) -> bool:
    """A picture of BT.709 says nothing of its colour: everything shows it as it shows the video, and a picture that
    names BT.709's transfer is shown another way by some."""
    plain = coding.color.primaries == BT709.primaries and coding.color.transfer == BT709.transfer
    return not (encoding.is_sequence and plain)


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
        src_color_range=RANGE[coding.color.full_range],
        dst_color_range=ColorRange.JPEG if pix_fmt == "gbrp" else RANGE[coding.color.full_range],
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )
    if pix_fmt != "gbrp":
        _tag(converted, coding)
    return converted


def _tagged(frame: VideoFrame, encoding: Encoding, coding: Coding) -> VideoFrame:
    if says_colour(encoding, coding):
        _tag(frame, coding)
    return frame


def _tag(frame: VideoFrame, coding: Coding) -> None:
    color = coding.color
    frame.colorspace, frame.color_range = color.matrix, RANGE[color.full_range]
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
