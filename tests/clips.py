"""Small clips whose codes and times are known, for tests of the whole program."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Codes = NDArray[Any]
Frame = tuple[Codes, Codes, Codes]
"""Planes Y, Cb, Cr: uint8, or uint16 for more than eight bits."""

BT709_LIMITED = (1, 1)
BT601_FULL = (6, 2)
"""(matrix as H.273 numbers it, range as FFmpeg does: 1 limited, 2 full)."""

# Kr, Kb of ITU-R BT.709 and BT.601.
_KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}


def codes_of(rgb: Sequence[int], *, coding: tuple[int, int] = BT709_LIMITED, bits: int = 8) -> tuple[int, int, int]:
    """Y, Cb, Cr codes of an 8-bit R'G'B' colour, written out from the standards."""
    red, green, blue = (value / 255 for value in rgb)
    kr, kb = _KR_KB[coding[0]]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    unit = 2 ** (bits - 8)
    if coding[1] == 1:
        exact = (16 + 219 * luma) * unit, (128 + 224 * cb) * unit, (128 + 224 * cr) * unit
    else:
        exact = luma * (2**bits - 1), 128 * unit + cb * (2**bits - 1), 128 * unit + cr * (2**bits - 1)
    return tuple(round(value) for value in exact)


def flat(codes: Sequence[int], width: int, height: int, *, half_chroma: bool = False, dtype: str = "u1") -> Frame:
    """A frame of one colour."""
    small = ((height + 1) // 2, (width + 1) // 2) if half_chroma else (height, width)
    y, cb, cr = codes
    return np.full((height, width), y, dtype), np.full(small, cb, dtype), np.full(small, cr, dtype)


def gray(luma: Codes, *, half_chroma: bool = False) -> Frame:
    """A colourless frame with this luma."""
    height, width = luma.shape
    _, cb, cr = flat((0, 128, 128), width, height, half_chroma=half_chroma)
    return luma.astype("u1"), cb, cr


def write_clip(
    path: Path,
    frames: Sequence[Frame],
    *,
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv444p",
    options: dict[str, str] | None = None,
    coding: tuple[int, int] = BT709_LIMITED,
) -> Path:
    """Write frames without loss; frame i is shown at pts[i] ticks of `time_base`, by default at i / rate seconds."""
    if options is None:
        options = {"qp": "0", "preset": "ultrafast", "bf": "0"} if codec == "libx264" else {}
    time_base = time_base or 1 / Fraction(rate)
    times = list(pts) if pts is not None else list(range(len(frames)))
    lengths = [*np.diff(times), round(1 / (rate * time_base))]
    with av.open(str(path.absolute()), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options=options)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = frames[0][0].shape[1], frames[0][0].shape[0], pix_fmt
        context.colorspace, context.color_range = coding
        if coding[0] == 1:
            context.color_primaries, context.color_trc = 1, 1
        context.time_base = time_base
        # Without a length of its own the last packet's would be guessed, and a plate's loop with it.
        length_at = dict(zip(times, lengths, strict=True))

        def mux(packets: list[Any]) -> None:
            for packet in packets:
                packet.duration = int(length_at[packet.pts])
                container.mux(packet)

        for planes, time in zip(frames, times, strict=True):
            frame = _frame(planes, pix_fmt)
            frame.colorspace, frame.color_range = coding
            frame.pts, frame.time_base = time, time_base
            mux(stream.encode(frame))
        mux(stream.encode(None))
    return path


def _frame(planes: Frame, pix_fmt: str) -> VideoFrame:
    frame = VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    for target, source in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), source.dtype)
        rows = rows.reshape(target.height, target.line_size // source.dtype.itemsize)
        np.copyto(rows[:, : target.width], source, casting="no")
    return frame


def black_clip(path: Path, frames: int = 1, *, width: int = 64, height: int = 48, **how: Any) -> Path:
    """Luma-key gives it alpha 0 everywhere: a render of it shows the plate alone."""
    return write_clip(path, [flat((16, 128, 128), width, height)] * frames, **how)
