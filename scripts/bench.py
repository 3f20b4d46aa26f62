"""What a render costs beside its network, and beside the bare primitives it is made of.

    python scripts/bench.py [CLIP] [--format mp4] [--frames 60] [--repeat 5] [--json FILE]
    python scripts/bench.py [CLIP] --memory

All costs are CPU milliseconds a frame. Three things are measured in turns, so that a slow moment of the machine is slow
for all of them:

- stages: the chain on one thread, so that the process's CPU time belongs to the stage that is running;
- pipeline: the chain as it runs in a render, threads and all;
- bare: the quickest way known for each step, one thread, straight from PyAV and OpenCV.

The network runs once; its mattes are then played back, for the bar is on everything else. It is `modnet` unless
`--model` says otherwise, whatever `auto` would take, so that figures of different days compare.

Four stages do what no bare chain does: smoothing over time, the guided upsampling, the subject's own colour, and mixing
as light. The pipeline and its bar are without them; each has a bar of its own, shown beside what OpenCV and numpy alone
take for the like (scripts/bench_bare.py; for smoothing, OpenCV's flow there and back between two frames). Memory is
measured with all of them. Without a clip the sample is scaled up to 1080p. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from bench_bare import blur_fusion, guided, mixed_as_light
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vmatte.canvas import plan_canvas
from vmatte.clip import ClipInfo, Coding
from vmatte.encodings import ENCODINGS, Encoding
from vmatte.frames import LayerBatch
from vmatte.job import RenderJob, make_job
from vmatte.models.catalogue import load_model
from vmatte.models.contract import MattingModel, Prediction, State
from vmatte.options import MotionSmoothing, NoPlate, NoSmoothing
from vmatte.pipeline import layers, settled_mattes
from vmatte.plates import open_plate
from vmatte.segments import Segment
from vmatte.stages.compose import Look, compose, cut_out
from vmatte.stages.foreground import foreground
from vmatte.stages.matte import matte
from vmatte.stages.recode import recode
from vmatte.stages.settle import settle
from vmatte.stages.smooth import WORKING_LINES, smooth
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.encoder_frames import encoder_frames
from vmatte.video.layer_coding import coding_for
from vmatte.video.planes import plane_views
from vmatte.video.probe import probe
from vmatte.video.read import decode
from vmatte.video.write import encode

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
OVERHEAD_BAR = 1.25
"""Everything but the network may cost this many times its bare primitives."""
GROWTH_BAR = 1.05
"""Peak memory for a 60 s clip may be this many times that for a 10 s one."""
STAGE_BARS_MS = {"smooth": 100.0, "upsample": 25.0, "foreground": 60.0, "compose": 20.0}
"""CPU for a frame of 1080p, with the default options."""
STAGE_BARS_SIZE = (1080, 1920)
STAGES = ("decode", "upload", "convert", "network", "upsample", "smooth", "settle", "foreground", "compose", "encode")


class PlayedBack:
    """A network whose mattes are known: what is left is the cost of everything else."""

    def __init__(self, model: MattingModel, mattes: list[Tensor]) -> None:
        self.spec, self.device, self.mattes, self.calls = model.spec, model.device, mattes, 0

    def predict(self, _: Tensor, state: State = ()) -> Prediction:
        self.calls += 1
        return Prediction(self.mattes[(self.calls - 1) % len(self.mattes)], state=state)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured: a job, its clip, and the mattes of its first frames at the network's size."""

    job: RenderJob
    clip: ClipInfo
    frames: int
    model: MattingModel
    mattes: list[Tensor]

    @property
    def coding(self) -> Coding:
        """Of the layer that is encoded."""
        output = self.job.outputs[0]
        return coding_for(output.row, output.layer, self.clip.delivery, output.alpha)

    def played_back(self) -> PlayedBack:
        return PlayedBack(self.model, self.mattes)


def cpu_ms(work: Callable[[], object], frames: int) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000 / frames


@contextmanager
def on_one_thread(
    subject: Subject, stopwatch: Stopwatch, smoothing: MotionSmoothing | NoSmoothing
) -> Iterator[Iterator[LayerBatch]]:
    """The chain of `vmatte.pipeline` without its threads; its plate is warm."""
    job, clip = subject.job, subject.clip
    with ExitStack() as stack:

        def matted(model: MattingModel, frames: range, watch: Stopwatch) -> Iterator:
            decoded = watch.around("decode", decode(clip, frames, batch=1, threads=1))
            mattes = matte(watch.around("upload", upload(decoded, clip.delivery, model.device)), model, 1, watch)
            if not isinstance(smoothing, NoSmoothing):
                mattes = watch.around("smooth", smooth(mattes, smoothing))
            return watch.around("foreground", foreground(watch.around("settle", settle(mattes)), job.foreground))

        row = job.outputs[0].row
        if isinstance(job.background, NoPlate):
            subjects = matted(subject.played_back(), range(subject.frames), stopwatch)
            if subject.coding == clip.delivery:
                yield cut_out(subjects, row.alpha_bits)
            else:
                yield recode(cut_out(subjects, alpha_bits=16), clip.delivery, subject.coding, row)
            return
        plate = stack.enter_context(open_plate(job.background, plan_canvas(job, clip, None), torch.device("cpu")))
        look = Look(job.blend)
        list(compose(matted(subject.played_back(), range(1), Stopwatch()), plate, look))
        yield compose(matted(subject.played_back(), range(subject.frames), stopwatch), plate, look)


def stage_costs(subject: Subject, folder: Path) -> dict[str, float]:
    stopwatch = Stopwatch(time.process_time)
    row = dataclasses.replace(subject.job.outputs[0].row, thread_count=1)
    with on_one_thread(subject, stopwatch, MotionSmoothing()) as chain, stopwatch.step("encode"):
        layers_made = stopwatch.around("compose", chain)
        encode(layers_made, folder / f"stages{row.suffix}", row, subject.coding, subject.clip.rate)
    return {stage: stopwatch.seconds[stage] * 1000 / subject.frames for stage in STAGES}


def pipeline_cost(subject: Subject, folder: Path) -> float:
    job, clip = plain(subject.job), subject.clip
    path = folder / f"pipeline{job.outputs[0].row.suffix}"

    def render() -> None:
        frames = range(subject.frames)
        segment = Segment(0, frames=frames, read=frames)
        model = subject.played_back()
        matted = settled_mattes(clip, [segment], model, NoSmoothing(), 1, Stopwatch(), upsampling=job.upsample)
        with layers(job, plan_canvas(job, clip, None), matted, model.device, Stopwatch()) as made:
            encode((batch.layers[0] for batch in made), path, job.outputs[0].row, subject.coding, clip.rate)

    return cpu_ms(render, subject.frames)


def plain(job: RenderJob) -> RenderJob:
    """The same without what no bare chain does."""
    return job.model_copy(update={"upsample": "bilinear", "foreground": "source", "blend": "display"})


def bare_costs(subject: Subject) -> dict[str, float]:
    """The best way known for each step, on the same frames."""
    clip, row, count = subject.clip, subject.job.outputs[0].row, subject.frames
    size = subject.model.spec.input_size.of(clip.height, clip.width)
    frames = list(bare_decode(clip, min(count, 8)))
    alphas = [cv2.resize(alpha[0, 0].numpy(), (clip.width, clip.height)) for alpha in subject.mattes[:8]]
    plate, small, full = frames[0], np.empty((3, *size), np.uint8), np.empty_like(alphas[0])
    reformatter = VideoReformatter()
    steps: dict[str, Callable[[int], object]] = {
        "resize": lambda t: [
            cv2.resize(plane, size[::-1], dst=into) for plane, into in zip(plane_views(frames[t]), small, strict=True)
        ],
        "normalise": lambda _: normalised(small),
        "upsample": lambda t: cv2.resize(subject.mattes[t][0, 0].numpy(), full.shape[::-1], dst=full),
    }
    if isinstance(subject.job.background, NoPlate):
        steps["pack"] = lambda t: packed(frames[t], alphas[t], row, reformatter)
    else:
        steps["composite"] = lambda t: blended(frames[t], plate, alphas[t])
    costs = {"decode": cpu_ms(lambda: deque(bare_decode(clip, count), maxlen=0), count)}
    for name, step in steps.items():
        step(0)
        costs[name] = cpu_ms(lambda step=step: repeat_step(step, len(frames), count), count)
    costs["encode"] = bare_encode(subject)
    return costs


def repeat_step(step: Callable[[int], object], frames: int, count: int) -> None:
    """`count` frames' worth of a step; nothing is kept, for fresh memory is not free."""
    for number in range(count):
        step(number % frames)


def bare_decode(clip: ClipInfo, count: int) -> Iterator[av.VideoFrame]:
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number == count:
                return
            yield frame


def normalised(small: np.ndarray) -> list[np.ndarray]:
    """R'G'B' in [-1, 1], channels first, of 8-bit Y'CbCr."""
    rgb = cv2.cvtColor(cv2.merge(list(small)), cv2.COLOR_YCrCb2RGB)
    table = (np.arange(256, dtype=np.float32) - 127.5) / 127.5
    return [cv2.LUT(channel, table) for channel in cv2.split(rgb)]


def blended(frame: av.VideoFrame, plate: av.VideoFrame, alpha: np.ndarray) -> list[np.ndarray]:
    """A composite on 8-bit planes."""
    planes, behind = plane_views(frame), plane_views(plate)
    small = cv2.resize(alpha, planes[1].shape[::-1], interpolation=cv2.INTER_AREA)
    weights = [(alpha, 1 - alpha)] + 2 * [(small, 1 - small)]
    return [cv2.blendLinear(a, b, *weight) for a, b, weight in zip(planes, behind, weights, strict=True)]


def packed(frame: av.VideoFrame, alpha: np.ndarray, row: Encoding, reformatter: VideoReformatter) -> object:
    """A frame in the encoder's format and alpha in its depth."""
    if row.alpha_bits > 8:
        same = {"src_colorspace": "ITU709", "dst_colorspace": "ITU709", "src_color_range": 1, "dst_color_range": 1}
        return reformatter.reformat(frame, format=row.pix_fmt_alpha, **same), (alpha * 1023 + 0.5).astype(np.uint16)
    codes = cv2.convertScaleAbs(alpha, alpha=255)
    if row.pix_fmt_alpha == "rgba":
        return np.dstack([frame.to_ndarray(format="rgb24"), codes])
    return [plane.copy() for plane in plane_views(frame)], codes


def bare_encode(subject: Subject) -> float:
    """The encoders alone, fed with the frames that the pipeline feeds them."""
    row, clip = subject.job.outputs[0].row, subject.clip
    with on_one_thread(subject, Stopwatch(), NoSmoothing()) as chain:
        pairs = [(colour, alpha) for _, colour, alpha in encoder_frames(chain, row, subject.coding)]
    streams = [([colour for colour, _ in pairs], row.codec_options)]
    if pairs[0][1] is not None:
        streams.append(([alpha for _, alpha in pairs], row.alpha_options))
    return sum(cpu_ms(lambda s=s: encode_alone(*s, row, clip.rate), len(pairs)) for s in streams)


def bare_stage_costs(subject: Subject) -> dict[str, float]:
    """What OpenCV and numpy alone take for the like of the stages that have bars of their own."""
    clip, count = subject.clip, subject.frames
    pictures = [frame.to_ndarray(format="rgb24") for frame in bare_decode(clip, min(count, 8))]
    small = [alpha[0, 0].numpy() for alpha in subject.mattes[:8]]
    alphas = [cv2.resize(alpha, (clip.width, clip.height)) for alpha in small]
    steps: dict[str, Callable[[int], object]] = {
        "upsample": lambda t: guided(small[t], pictures[t]),
        "foreground": lambda t: blur_fusion(pictures[t], alphas[t]),
    }
    if not isinstance(subject.job.background, NoPlate):
        steps["compose"] = lambda t: mixed_as_light(pictures[t], pictures[0], alphas[t])
    costs = {"smooth": flow_pair_cost(subject)}
    for name, step in steps.items():
        step(0)
        costs[name] = cpu_ms(lambda step=step: repeat_step(step, len(pictures), len(pictures)), len(pictures))
    return costs


def flow_pair_cost(subject: Subject) -> float:
    """OpenCV's flow there and back between neighbouring frames, at the lines at which smoothing looks for motion."""
    clip, count = subject.clip, subject.frames
    scale = min(1.0, WORKING_LINES / min(clip.height, clip.width))
    size = (round(clip.width * scale), round(clip.height * scale))
    lumas = [cv2.resize(plane_views(frame)[0], size) for frame in bare_decode(clip, min(count, 8))]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def there_and_back(t: int) -> None:
        one, other = lumas[t], lumas[(t + 1) % len(lumas)]
        search.calc(one, other, None)
        search.calc(other, one, None)

    # The last of them has no next one.
    return cpu_ms(lambda: repeat_step(there_and_back, max(1, len(lumas) - 1), count), count)


def encode_alone(frames: list[av.VideoFrame], options: dict[str, str], row: Encoding, rate: Fraction) -> None:
    encoder = av.CodecContext.create(row.codec, "w")
    encoder.options = options
    encoder.width, encoder.height, encoder.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.thread_type, encoder.thread_count = row.thread_type, row.thread_count
    if row.codec == "libvpx-vp9":
        encoder.bit_rate = 0
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, 1 / rate
        encoder.encode(frame)
    encoder.encode(None)


def measure(subject: Subject, repeat: int, folder: Path) -> dict[str, object]:
    stages, pipelines, bares, bare_stages = [], [], [], []
    for _ in range(repeat):
        bares.append(bare_costs(subject))
        pipelines.append(pipeline_cost(subject, folder))
        bare_stages.append(bare_stage_costs(subject))
        stages.append(stage_costs(subject, folder))
    return {
        "stages": {stage: median(costs[stage] for costs in stages) for stage in STAGES if stage != "network"},
        "pipeline": median(pipelines),
        "bare": {step: median(costs[step] for costs in bares) for step in bares[0]},
        "bare_stages": {stage: median(costs[stage] for costs in bare_stages) for stage in bare_stages[0]},
        "ratios": [cost / sum(bare.values()) for cost, bare in zip(pipelines, bares, strict=True)],
    }


def report(name: str, numbers: dict, network_ms: float, size: tuple[int, int], console: Console) -> bool:
    """Print the table of a format; whether its bars are kept. `size` is the clip's (height, width)."""
    ratio = median(numbers["ratios"])
    everything = sum(numbers["stages"].values()) + network_ms
    table = Table(title=f"{name}: CPU ms a frame", title_justify="left")
    for column in ("stage", "cost", "share", "bare primitive", "cost "):
        table.add_column(column, justify="right" if column.startswith("cost") or column == "share" else "left")
    left = [*numbers["stages"].items(), ("network", network_ms)]
    right = list(numbers["bare"].items())
    for place in range(max(len(left), len(right))):
        stage, cost = left[place] if place < len(left) else ("", 0.0)
        step, bare = right[place] if place < len(right) else ("", 0.0)
        shown = (f"{cost:.1f}", f"{cost / everything:.0%}") if stage else ("", "")
        table.add_row(stage, *shown, step, f"{bare:.1f}" if step else "")
    console.print(table)
    passed = ratio <= OVERHEAD_BAR
    console.print(
        f"pipeline without network and the four stages below {numbers['pipeline']:.1f}, "
        f"bare primitives {sum(numbers['bare'].values()):.1f}: "
        f"{ratio:.2f}× ({min(numbers['ratios']):.2f} to {max(numbers['ratios']):.2f}), "
        f"bar {OVERHEAD_BAR}: {'PASS' if passed else 'FAIL'}"
    )
    kept = [
        report_stage(stage, numbers["stages"][stage], bare, size, console)
        for stage, bare in numbers["bare_stages"].items()
    ]
    console.print()
    return all(kept) and passed


def report_stage(stage: str, cost: float, bare: float, size: tuple[int, int], console: Console) -> bool:
    said = f"{stage} {cost:.1f}, bare {bare:.1f}: {cost / bare:.2f}×"
    if size[0] * size[1] > STAGE_BARS_SIZE[0] * STAGE_BARS_SIZE[1]:
        console.print(f"{said}; the bar is for 1080p")
        return True
    passed = cost <= STAGE_BARS_MS[stage]
    console.print(f"{said}; bar {STAGE_BARS_MS[stage]:.0f} ms: {'PASS' if passed else 'FAIL'}")
    return passed


def network_costs(clip: ClipInfo, name: str, frames: int) -> tuple[MattingModel, list[Tensor], float]:
    """The model, its mattes of the first frames at its own size, and CPU ms a frame."""
    model, mattes = load_model(name), []
    stopwatch = Stopwatch(time.process_time)

    class Recorder:
        spec, device = model.spec, model.device

        def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
            prediction = model.predict(rgb, state)
            mattes.append(prediction.alpha)
            return prediction

    for _ in matte(
        upload(decode(clip, range(frames), batch=1, threads=1), clip.delivery, model.device), Recorder(), 1, stopwatch
    ):
        pass
    return model, mattes, stopwatch.seconds["network"] * 1000 / frames


def whole_render(job: RenderJob, folder: Path) -> dict[str, float]:
    """`vmatte run`, in a process of its own: CPU s, wall s and peak MiB, start-up and all."""
    output = folder / f"whole{job.outputs[0].row.suffix}"
    command = [
        sys.executable,
        "-m",
        "vmatte",
        "run",
        str(job.clip),
        "-o",
        str(output),
        "-y",
        "-q",
        "--model",
        job.model,
        "--smooth",
        job.smoothing.method,
    ]
    if not isinstance(job.background, NoPlate):
        command += ["--bg", str(SAMPLES / "studio.png")]
    watch = f"import resource, subprocess, sys; subprocess.run({command!r}, check=True)"
    watch += "; u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    started = time.perf_counter()
    printed = subprocess.run([sys.executable, "-c", watch], check=True, capture_output=True, text=True).stdout
    cpu_s, peak_kib = (float(word) for word in printed.split())
    return {"cpu_s": cpu_s, "wall_s": time.perf_counter() - started, "peak_mib": peak_kib / 1024}


def memory(clip: Path, names: list[str], folder: Path, console: Console) -> tuple[dict[str, object], bool]:
    """Peak memory of renders of 10 s and 60 s of the clip, looped."""
    numbers: dict[str, object] = {}
    passed = True
    lengths = {seconds: looped(clip, seconds, folder / f"{seconds}s.mp4") for seconds in (10, 60)}
    for name in names:
        peaks = {}
        for seconds, path in lengths.items():
            peaks[seconds] = whole_render(job_for(path, name, "luma-key", "motion"), folder)["peak_mib"]
        growth = peaks[60] / peaks[10]
        passed = passed and growth <= GROWTH_BAR
        numbers[name] = {"peak_mib": peaks, "growth": growth}
        console.print(
            f"{name}: peak {peaks[10]:.0f} MiB for 10 s, {peaks[60]:.0f} MiB for 60 s: {growth:.3f}×, "
            f"bar {GROWTH_BAR}: {'PASS' if growth <= GROWTH_BAR else 'FAIL'}"
        )
    return numbers, passed


def looped(clip: Path, seconds: int, path: Path) -> Path:
    """The clip's picture, packet by packet, again and again until `seconds` are full."""
    found = probe(clip)
    length = int(found.duration / found.time_base)
    with av.open(str(path), "w") as output:
        stream = None
        for turn in range(-(-seconds // max(1, int(found.duration)))):
            with av.open(str(clip)) as source:
                stream = stream or output.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size == 0 or packet.pts * packet.time_base + turn * found.duration > seconds:
                        continue
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = stream
                    output.mux(packet)
    return path


def enlarged_sample(path: Path, width: int = 1920, height: int = 1080, frames: int | None = None) -> Path:
    """The sample at 1080p, with the bit rate of a camera's file; all of it, or its first frames."""
    with av.open(str(SAMPLES / "avatar.mp4")) as source, av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "fast"})
        stream.width, stream.height, stream.bit_rate = width, height, 11_000_000
        tags = stream.codec_context
        tags.colorspace = tags.color_primaries = tags.color_trc = tags.color_range = 1  # BT.709, limited
        for frame in islice(source.decode(video=0), frames):
            large = frame.reformat(width=width, height=height)
            output.mux(stream.encode(large))
        output.mux(stream.encode(None))
    return path


def job_for(clip: Path, encoding: str, model: str, smoothing: str = "off") -> RenderJob:
    plate = None if ENCODINGS[encoding].pix_fmt_alpha else SAMPLES / "studio.png"
    return make_job(clip, background=plate, encoding=encoding, model=model, smooth=smoothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--format", action="append", choices=list(ENCODINGS))
    parser.add_argument("--model", default="modnet")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="measure peak memory against length instead")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    names = options.format or ["mp4", "prores4444", "webm"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = options.clip or enlarged_sample(folder / "sample.mp4")
        if options.memory:
            numbers, passed = memory(clip, names, folder, console)
        else:
            numbers, passed = {}, True
            found = probe(clip)
            frames = min(options.frames, found.frames)
            model, mattes, network_ms = network_costs(found, options.model, min(frames, 8))
            console.print(f"{clip.name}: {found.width}×{found.height}, {frames} frames, network {network_ms:.0f} ms\n")
            for encoding in names:
                subject = Subject(job_for(clip, encoding, options.model), found, frames, model, mattes)
                numbers[encoding] = measure(subject, options.repeat, folder)
                size = found.height, found.width
                passed = report(encoding, numbers[encoding], network_ms, size, console) and passed
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            console.print(f"peak memory of this bench {peak_mib:.0f} MiB; of a render: --memory")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
