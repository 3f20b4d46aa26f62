"""Clips with known codes, and what Debian's ffmpeg and ffprobe, another build than PyAV's, see in a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Array = NDArray[Any]
Planes = list[Array]
"""The planes of one frame, each (h, w), as integer codes."""

LOSSLESS = {"qp": "0", "preset": "ultrafast"}
BT709_TAGS = (1, 1, 1, 1)
"""Matrix, primaries, transfer (H.273), and FFmpeg's range: 1 limited, 2 full."""


def need(program: str) -> str:
    """The program's path. Without it the test is skipped; where CI must have it, it fails."""
    found = shutil.which(program)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{program} is missing, and CI must have it")
    if found is None:
        pytest.skip(f"{program} is missing")
    return found


def ffmpeg(*arguments: str | Path) -> bytes:
    """Run ffmpeg; its standard output."""
    command = [need("ffmpeg"), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


def ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    """What ffprobe says of a file, as JSON."""
    command = [need("ffprobe"), "-loglevel", "error", "-of", "json", *arguments, str(path)]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def shown_times(path: Path) -> list[Fraction]:
    """Seconds at which ffprobe shows each picture, sorted."""
    seen = ffprobe(path, "-select_streams", "v:0", "-show_entries", "packet=pts:stream=time_base")
    tick = Fraction(seen["streams"][0]["time_base"])
    return sorted(packet["pts"] * tick for packet in seen["packets"])


def plane_shapes(pix_fmt: str, width: int, height: int) -> list[tuple[int, int]]:
    """Shapes of a planar format's planes, as FFmpeg rounds them for odd sizes."""
    half_width, half_height = -(-width // 2), -(-height // 2)
    small = {"420": (half_height, half_width), "422": (height, half_width), "444": (height, width)}
    layout = next((name for name in small if name in pix_fmt), None)
    if layout is None:
        return [(height, width)] if pix_fmt.startswith("gray") else [(height, width)] * 3
    return [(height, width), small[layout], small[layout]] + [(height, width)] * pix_fmt.startswith("yuva")


def frames_by_ffmpeg(
    path: Path, pix_fmt: str, width: int, height: int, *, decoder: str | None = None, filters: str | None = None
) -> list[Planes]:
    """All frames as ffmpeg decodes them, in a planar format; no frame dropped or doubled."""
    before = ["-c:v", decoder] if decoder else []
    after = ["-vf", filters] if filters else []
    after += ["-map", "0:v:0", "-vsync", "0", "-f", "rawvideo", "-pix_fmt", pix_fmt]
    raw = ffmpeg(*before, "-i", path, *after, "-")
    codes = np.frombuffer(raw, "<u2" if pix_fmt.endswith("le") else "u1")
    shapes = plane_shapes(pix_fmt, width, height)
    sizes = [rows * columns for rows, columns in shapes]
    assert codes.size % sum(sizes) == 0
    frames = []
    for frame in codes.reshape(-1, sum(sizes)):
        parts = np.split(frame, np.cumsum(sizes)[:-1])
        frames.append([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])
    return frames


def video_frame(planes: Planes, pix_fmt: str, tags: tuple[int, int, int, int] | None = None) -> VideoFrame:
    """A PyAV frame that holds the planes' codes."""
    frame = VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    for target, source in zip(frame.planes, planes, strict=True):
        itemsize = source.dtype.itemsize
        rows = np.frombuffer(memoryview(target), source.dtype).reshape(target.height, target.line_size // itemsize)
        np.copyto(rows[:, : target.width], source, casting="no")
    if tags:
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = tags
    return frame


def write_clip(
    path: Path,
    frames: Sequence[Planes],
    pix_fmt: str,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: Fraction = Fraction(25),
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    last_duration: int | None = None,
    tags: tuple[int, int, int, int] | None = None,
    prepare: Callable[[Any], None] | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    sound: Sequence[Sound] = (),
) -> Path:
    """Encode planes; frame i is shown at pts[i] ticks of `time_base` (by default at i / rate seconds)."""
    time_base = time_base or 1 / rate
    times = list(range(len(frames))) if pts is None else list(pts)
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(codec, rate=rate, options=LOSSLESS if options is None else options)
        stream.width, stream.height = frames[0][0].shape[1], frames[0][0].shape[0]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        if tags:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        if prepare:
            prepare(stream)
        tracks = [track.start(container) for track in sound]
        if tracks:
            container.start_encoding()
        last_duration = last_duration or max(1, round(1 / (rate * time_base)))
        lengths = dict(zip(times, [*np.diff(times), last_duration], strict=True))

        def mux(packets: list[Any]) -> None:
            for packet in packets:
                packet.duration = int(lengths[packet.pts])
                container.mux(packet)

        for planes, time in zip(frames, times, strict=True):
            frame = video_frame(planes, pix_fmt, tags)
            frame.pts, frame.time_base = time, time_base
            mux(stream.encode(frame))
        mux(stream.encode(None))
        for track, output in zip(sound, tracks, strict=True):
            track.write(container, output)
    return path


class Sound:
    """A mono audio track: samples in [-1, 1] at 48 kHz that begin at `start` samples."""

    def __init__(self, samples: Array, codec: str = "aac", language: str | None = None, start: int = 0) -> None:
        self.samples, self.codec, self.language, self.begins = samples, codec, language, start

    def start(self, container: av.container.OutputContainer) -> Any:
        """Adds the stream."""
        stream: Any = container.add_stream(self.codec, rate=48_000)
        stream.codec_context.layout = "mono"
        if self.codec == "aac":
            stream.codec_context.bit_rate = 192_000
        if self.language:
            stream.metadata["language"] = self.language
        return stream

    def write(self, container: av.container.OutputContainer, stream: Any) -> None:
        """Encodes all samples."""
        form = stream.codec_context.format.name
        resampler = av.AudioResampler(format=form, layout="mono", rate=48_000)
        for at in range(0, len(self.samples), 1024):
            frame = av.AudioFrame.from_ndarray(self.samples[None, at : at + 1024].astype("<f4"), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, self.begins + at, Fraction(1, 48_000)
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def noise(pix_fmt: str, width: int, height: int, frames: int, seed: int = 0) -> list[Planes]:
    """Frames of blocky noise that moves: every code differs from its neighbours', in every plane and every frame."""
    rng = np.random.default_rng(seed)
    bits = next((depth for depth in (10, 12) if str(depth) in pix_fmt.removeprefix("yuv")[3:]), 8)
    dtype = np.dtype("u1" if bits == 8 else "<u2")
    low, high = 16 << (bits - 8), 235 << (bits - 8)
    return [
        [rng.integers(low, high, shape, endpoint=True).astype(dtype) for shape in plane_shapes(pix_fmt, width, height)]
        for _ in range(frames)
    ]


def gray(lumas: Sequence[Array], pix_fmt: str = "yuv420p") -> list[Planes]:
    """Colourless frames with these lumas; luma-key makes of them a matte that is known to the code."""
    frames = []
    for luma in lumas:
        middle = 128 if luma.dtype == np.uint8 else 512
        shapes = plane_shapes(pix_fmt, luma.shape[1], luma.shape[0])
        frames.append([luma, *(np.full(shape, middle, luma.dtype) for shape in shapes[1:])])
    return frames
