"""What a render costs: CPU per frame of each stage and of the bare primitives it is made of, speed, and memory.

    python scripts/bench.py [CLIP] [--format mp4] [--frames 60] [--repeat 5] [--json FILE]
    python scripts/bench.py [CLIP] --memory

Costs are CPU milliseconds per frame at the margin: what a longer clip adds to a short one, so that opening, probing and
preparing the plate do not count. Three things are measured in turn, repeat by repeat, so that a machine that is slow
for a moment is slow for all of them; the ratios are those of one repeat, and their median is judged.

- stages: the real `render`, its own threads taken out, decoder and encoder on one thread, so that the process's CPU
  time belongs to the stage that is running.
- whole: the real `render`, threads and all, in a fresh process.
- bare: the quickest way known for each step, on one thread, straight from PyAV, OpenCV and numpy.

In all three the network is taken out: it runs once, and its mattes are played back. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from unittest import mock

import av
import cv2
import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vmatte.clip import ClipInfo
from vmatte.encodings import ENCODINGS, Encoding
from vmatte.job import ColorPlate, FilePlate, NoPlate, RenderJob, Runtime, make_job
from vmatte.models.catalogue import MODELS, load_model
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.pipeline import layers
from vmatte.render import render
from vmatte.stopwatch import Stopwatch
from vmatte.video import read, write
from vmatte.video.planes import plane_views
from vmatte.video.probe import probe

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
OVERHEAD_BAR = 1.25
"""Everything but the network may cost this many times its bare primitives."""
GROWTH_BAR = 1.05
"""Peak memory for a 60 s clip may be this many times that for a 10 s one."""
SHORT = 8
"""Frames of the short run, whose cost is taken off the long one's."""
STEPS = ("decode", "upload", "convert", "network", "upsample", "compose", "pack", "encode", "waiting", "rest")

Planes = list[NDArray[np.generic]]
Mattes = list[NDArray[np.float32]]
Costs = dict[str, float]
"""CPU by step."""


class Playback:
    """Takes what a network takes, and returns mattes that are known already, round and round."""

    def __init__(self, spec: ModelSpec, mattes: Mattes) -> None:
        self.spec, self.mattes, self.played = spec, mattes, 0

    def predict(self, rgb: Tensor) -> Tensor:
        alpha = torch.from_numpy(self.mattes[self.played % len(self.mattes)])
        assert alpha.shape[-2:] == rgb.shape[-2:]
        self.played += 1
        return alpha


class Recorder:
    """A network whose mattes are kept."""

    def __init__(self, model: MattingModel) -> None:
        self.model, self.spec = model, model.spec
        self.mattes: Mattes = []

    def predict(self, rgb: Tensor) -> Tensor:
        alpha = self.model.predict(rgb)
        self.mattes.append(alpha.numpy().copy())
        return alpha


def drawn_matte(height: int, width: int) -> NDArray[np.float32]:
    """A head and shoulders with a soft edge, (1, 1, height, width): what `--model none` plays back."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    x -= width / height / 2
    inside = np.maximum(0.25 - np.hypot(x, (y - 0.4) * 0.8), 0.45 - np.hypot(x, (y - 1.05) * 0.9))
    return np.clip(inside * 30 + 0.5, 0, 1)[None, None].astype(np.float32)


# The pipeline
@contextmanager
def on_one_thread(encoding: Encoding, stopwatch: Stopwatch) -> Iterator[None]:
    """`render` without threads of its own; making the encoder's frames is booked as `pack`, apart from `encode`."""
    make_frames = write._frames

    def decoder_of(stream: av.VideoStream) -> av.VideoCodecContext:
        stream.codec_context.thread_count = 1
        return stream.codec_context

    row = dataclasses.replace(encoding, thread_type="SLICE", thread_count=1)
    with ExitStack() as patched:
        for module in ("vmatte.pipeline", "vmatte.plates"):
            patched.enter_context(mock.patch(f"{module}.prefetch", lambda items, depth: items))  # noqa: ARG005
        patched.enter_context(mock.patch.object(read, "decoder_of", decoder_of))
        patched.enter_context(mock.patch.dict(ENCODINGS, {row.name: row}))
        patched.enter_context(mock.patch.object(write, "_frames", lambda *a: stopwatch.around("pack", make_frames(*a))))
        yield


def render_with(job: RenderJob, model: MattingModel, stopwatch: Stopwatch) -> float:
    """Render with `model`, its stages booked on `stopwatch`; returns the seconds of CPU that all of it took."""
    started = time.process_time()
    with (
        mock.patch("vmatte.render.load_model", lambda *_: model),
        mock.patch("vmatte.render.Stopwatch", lambda: stopwatch),
    ):
        render(job, Runtime(overwrite=True))
    return time.process_time() - started


def stages(job: RenderJob, model: MattingModel) -> Costs:
    """Seconds of each stage of a render on one thread; `rest` is probe, plate, join, verify, checksum."""
    stopwatch = Stopwatch(time.process_time)
    with on_one_thread(job.row, stopwatch):
        total = render_with(job, model, stopwatch)
    return {**stopwatch.seconds, "rest": total - sum(stopwatch.seconds.values())}


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """What renders took in a process of their own: seconds for each job, and the most memory held."""

    cpu: list[float]
    wall: list[float]
    peak_bytes: int


def whole(jobs: list[RenderJob], mattes: Mattes | None) -> Spent:
    """Renders in a fresh process: with the jobs' network or, where `mattes` are given, without it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_whole, jobs, mattes).result()


def _whole(jobs: list[RenderJob], mattes: Mattes | None) -> Spent:
    network = load_model(jobs[0].model) if mattes is None else None
    cpu, wall = [], []
    for job in jobs:
        started = time.perf_counter()
        cpu.append(render_with(job, network or Playback(MODELS[job.model], mattes or []), Stopwatch()))
        wall.append(time.perf_counter() - started)
    # Not ru_maxrss: Linux starts that at what the parent held.
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return Spent(cpu, wall, int(peak) * 1024)


# The bare primitives
def bare(job: RenderJob, mattes: Mattes) -> Costs:
    """Seconds of each step in the quickest way known, on one thread."""
    stopwatch = Stopwatch(time.process_time)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    for _ in bare_frames(job, mattes, stopwatch):
        pass
    cv2.setNumThreads(threads)
    clip, spec = probe(job.clip), MODELS[job.model]
    # The encoder gets the very frames that the pipeline would give it; making them is booked as `pack`, which goes.
    with on_one_thread(job.row, stopwatch), tempfile.TemporaryDirectory(dir=job.output.parent) as folder:
        made = layers(job, clip, range(clip.frames), Playback(spec, mattes), Runtime(), Stopwatch())
        with made as batches, stopwatch.step("encode"):
            write.encode(batches, Path(folder) / f"bare{job.row.suffix}", job.row, clip.delivery, clip.rate)
    return {step: spent for step, spent in stopwatch.seconds.items() if step != "pack"}


def bare_frames(job: RenderJob, mattes: Mattes, stopwatch: Stopwatch) -> Iterator[Planes]:
    """What an encoder would get, frame by frame, of an 8-bit 4:2:0 clip.

    Decoding by PyAV; planes to the network's size by cv2.resize, R'G'B' by one matrix product; alpha to full size by
    cv2.resize; over a plate by 8-bit products on the planes; for a cutout into the encoder's format by swscale or plane
    copies. Nothing is turned, recoded, blanked or checked on the way.
    """
    clip = probe(job.clip)
    size, half = (clip.width, clip.height), (-(-clip.width // 2), -(-clip.height // 2))
    model_size = MODELS[job.model].input_size.of(clip.height, clip.width)[::-1]
    # Conversion and normalisation as one matrix and offset. Near enough: only the work matters.
    matrix = np.array([[1.16, 0, 1.79], [1.16, -0.21, -0.53], [1.16, 2.11, 0]], np.float32) / 128
    codes, rgb = (np.empty((3, model_size[0] * model_size[1]), np.float32) for _ in range(2))
    alpha = np.empty(size[::-1], np.float32)
    plate = None if job.layer == "cutout" else bare_plate(job, clip, size, half)
    with av.open(str(job.clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(stopwatch.around("decode", container.decode(stream))):
            planes = plane_views(frame)
            with stopwatch.step("convert"):
                for row, plane in zip(codes, planes, strict=True):
                    row[:] = cv2.resize(plane, model_size).reshape(-1)
                np.matmul(matrix, codes, out=rgb)
                np.subtract(rgb, 1, out=rgb)
            with stopwatch.step("upsample"):
                cv2.resize(mattes[number % len(mattes)][0, 0], size, dst=alpha)
            with stopwatch.step("compose"):
                done = bare_composite(planes, plate, alpha, half) if plate else bare_cutout(frame, alpha, job.row)
            yield done


def bare_plate(job: RenderJob, clip: ClipInfo, size: tuple[int, int], half: tuple[int, int]) -> Planes:
    """The plate's planes, once for the clip."""
    if isinstance(job.background, FilePlate):
        rgb = read.read_still(job.background.path, size[::-1])
    else:
        assert isinstance(job.background, ColorPlate)
        rgb = np.broadcast_to(np.uint8(job.background.rgb)[:, None, None], (3, *size[::-1]))
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)), format="rgb24")
    coded = picture.reformat(format="yuv444p", dst_colorspace="ITU709")
    luma, *chroma = plane_views(coded)
    assert not clip.delivery.color.full_range
    return [luma.copy(), *(cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in chroma)]


def bare_composite(planes: Planes, plate: Planes, alpha: NDArray[np.float32], half: tuple[int, int]) -> Planes:
    """Planes over the plate's, alpha rounded to eight bits."""
    weight = cv2.convertScaleAbs(alpha, alpha=255)
    half_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    mixed = []
    for plane, behind, share in zip(planes, plate, (weight, half_weight, half_weight), strict=True):
        front, back = cv2.multiply(plane, share, scale=1 / 255), cv2.bitwise_not(share)
        cv2.multiply(behind, back, dst=back, scale=1 / 255)
        mixed.append(cv2.add(front, back, dst=front))
    return mixed


def bare_cutout(frame: VideoFrame, alpha: NDArray[np.float32], encoding: Encoding) -> Planes:
    """A frame in the encoder's own format, with alpha."""
    white = 2**encoding.alpha_bits - 1
    if encoding.pix_fmt_alpha == "rgba":
        packed = VideoReformatter().reformat(frame, format="rgba", interpolation=Interpolation.BICUBIC)
        pixels = packed.to_ndarray()
        cv2.mixChannels([cv2.convertScaleAbs(alpha, alpha=white)], [pixels], [0, 3])
        return [pixels]
    if encoding.pix_fmt_alpha == "yuva420p":
        packed = VideoFrame(frame.width, frame.height, "yuva420p")
        for target, plane in zip(plane_views(packed), plane_views(frame), strict=False):
            np.copyto(target, plane)
    else:
        packed = VideoReformatter().reformat(
            frame, format=encoding.pix_fmt_alpha, interpolation=Interpolation.BICUBIC
        )
    planes = plane_views(packed)
    cv2.multiply(alpha, float(white), dst=planes[3], dtype=cv2.CV_8U if white == 255 else cv2.CV_16U)
    return planes


# Clips
def upscaled_sample(path: Path) -> Path:
    """The sample at 1080p, H.264 at 11 Mb/s."""
    with av.open(str(SAMPLES / "avatar.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=source.streams.video[0].average_rate, options={"preset": "fast"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1920, 1080, "yuv420p", 11_000_000
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(1920, 1080, interpolation=Interpolation.BICUBIC)))
        target.mux(stream.encode(None))
    return path


def scaled(clip: Path, width: int, height: int, path: Path) -> Path:
    """The clip at another size."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=source.streams.video[0].average_rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(width, height, format="yuv420p")))
        target.mux(stream.encode(None))
    return path


def first_packets(clip: Path, count: int, path: Path) -> Path:
    """The picture of the clip's first `count` packets; of the clip again and again, where it has fewer."""
    with av.open(str(path), "w") as target:
        stream = None
        left, shift = count, 0
        while left:
            with av.open(str(clip)) as source:
                picture = source.streams.video[0]
                stream = stream or target.add_stream_from_template(picture)
                end = 0
                for packet in source.demux(picture):
                    if not packet.size or not left:
                        break
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    target.mux(packet)
                    left -= 1
                shift += end
    return path


# Measuring
def margin(short: Costs, long: Costs, frames: int) -> Costs:
    """CPU milliseconds per frame by step."""
    return {step: 1000 * (long[step] - short.get(step, 0.0)) / frames for step in STEPS if step in long}


def measure(jobs: tuple[RenderJob, RenderJob], mattes: Mattes, frames: int, repeats: int) -> dict[str, object]:
    """Stages, whole and bare of one encoding; `jobs` are a short clip's and one with `frames` more."""
    spec, shares, bares, wholes = MODELS[jobs[0].model], [], [], []
    for _ in range(repeats):
        shares.append(margin(*(stages(job, Playback(spec, mattes)) for job in jobs), frames))
        bares.append(margin(*(bare(job, mattes) for job in jobs), frames))
        spent = whole(list(jobs), mattes)
        wholes.append(1000 * (spent.cpu[1] - spent.cpu[0]) / frames)
    sums = [sum(costs.values()) for costs in bares]
    own = [sum(costs.values()) - costs["network"] for costs in shares]
    return {
        "stages_ms": {step: median(costs[step] for costs in shares) for step in STEPS if step != "network"},
        "bare_ms": {step: median(costs[step] for costs in bares) for step in STEPS if step in bares[0]},
        "whole_ms": median(wholes),
        "stages_ratios": [cost / floor for cost, floor in zip(own, sums, strict=True)],
        "whole_ratios": [cost / floor for cost, floor in zip(wholes, sums, strict=True)],
    }
