"""One part of scripts/bench_gpu.sh: `bench_gpu.py PART FOLDER [--cpu-rehearsal]` leaves PART.json and PART.md there.

Networks come with random weights. All parts but `end-to-end` work beside nothing but torch and NumPy; what more they
can use, and do not find, is said in their tables. Files are written anew after each case: a part may be cut short.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import torch

from vmatte.benchmark.measure import (
    Case,
    Failure,
    Meter,
    NetworkCase,
    PlainLoopCase,
    Precision,
    Subject,
    difference,
    pictures,
    repeated,
    tensor_cores,
    timed,
)
from vmatte.benchmark.report import Line, Report, device_name, short
from vmatte.models.birefnet import deformable
from vmatte.models.birefnet.load import BACKBONES
from vmatte.models.birefnet.network import BiRefNet
from vmatte.models.contract import IMAGENET_MEAN, IMAGENET_STD, Architecture, InputSize, Licence, ModelSpec

if TYPE_CHECKING:
    from vmatte.clip import ClipInfo
    from vmatte.job import RenderJob
    from vmatte.models.contract import MattingModel
    from vmatte.segments import Segment
    from vmatte.stopwatch import Stopwatch

SHOWN_KERNELS = 15
PROFILED_RUNS = 5
DeformConv = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Setting:
    """What is measured where: on the GPU in earnest, or tiny on the CPU."""

    device: torch.device
    large: Architecture
    side: int
    high_side: int
    batches: tuple[int, ...]
    seconds: float
    product_side: int
    map_side: int
    """Of the maps that deformable convolutions see: a quarter of the input."""
    clip: tuple[int, int, int | None]
    """Width and height of what is rendered end to end, and how many of the sample's frames it repeats, None for all."""
    clip_seconds: int

    def subject(self, architecture: Architecture, side: int) -> Subject:
        spec = ModelSpec(
            name={"birefnet": "Swin-L (rmbg-2.0, birefnet)", "birefnet-lite": "Swin-T (birefnet-lite)"}[architecture],
            purpose="",
            architecture=architecture,
            input_size=InputSize("square", side),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            licence=Licence("random weights", commercial_use=True),
            weights=None,
            patch_order="wghgc",
        )
        return Subject(spec, self.device, seconds=self.seconds, product_side=self.product_side)


def on_gpu() -> Setting:
    device = torch.device("cuda", 0)
    return Setting(device, "birefnet", 1024, 2048, (1, 2, 4, 8), 1.5, 4096, 256, (1920, 1080, None), 24)


def on_cpu() -> Setting:
    return Setting(torch.device("cpu"), "birefnet-lite", 64, 96, (1, 2), 0, 256, 16, (320, 180, 6), 1)


@dataclass(frozen=True)
class Notes:
    """Where a part leaves what it found."""

    folder: Path
    part: str

    def keep(self, numbers: object, markdown: str) -> None:
        (self.folder / f"{self.part}.json").write_text(json.dumps(numbers, indent=1))
        (self.folder / f"{self.part}.md").write_text(markdown)


def run_cases(setting: Setting, subject: Subject, cases: Sequence[Case], notes: Notes) -> None:
    meter, lines = Meter(subject), []
    for case in cases:
        lines.append(Line(case, meter.measure(case)))
        print(lines[-1], flush=True)
        name = device_name(setting.device)
        report = Report(subject.spec.name, "random weights", name, torch.__version__, None, tuple(lines))
        notes.keep(json.loads(report.as_json()), report.as_markdown())


def network_cases(side: int, batches: Sequence[int], precisions: Sequence[Precision]) -> list[Case]:
    return [NetworkCase((side, side), batch, precision) for precision in precisions for batch in batches]


def large(setting: Setting, notes: Notes) -> None:
    side = setting.side
    # What a render takes comes first, in case that time runs out.
    cases = [
        NetworkCase((side, side), 1, "fp32"),
        PlainLoopCase((side, side)),
        *network_cases(side, setting.batches, ("fp16", "bf16", "tf32")),
        *network_cases(side, setting.batches[1:], ("fp32",)),
    ]
    run_cases(setting, setting.subject(setting.large, side), cases, notes)


def lite(setting: Setting, notes: Notes) -> None:
    side, batches = setting.side, (setting.batches[0], setting.batches[-1])
    cases = [PlainLoopCase((side, side)), *network_cases(side, batches, ("fp32", "fp16", "bf16"))]
    run_cases(setting, setting.subject("birefnet-lite", side), cases, notes)


def high_resolution(setting: Setting, notes: Notes) -> None:
    side = setting.high_side
    cases = [*network_cases(side, (1,), ("fp32", "fp16", "bf16")), PlainLoopCase((side, side))]
    run_cases(setting, setting.subject(setting.large, side), cases, notes)


def compiled(setting: Setting, notes: Notes) -> None:
    side = setting.side
    cases = [NetworkCase((side, side), 1, "fp16", compile=True)]
    run_cases(setting, setting.subject(setting.large, side), cases, notes)


def half_precision(setting: Setting, notes: Notes) -> None:
    """How far half precision moves alpha with the weights of the stored vectors, which are drawn, on their picture."""
    from check_birefnet import drawn_network, picture

    heading = f"**Alpha beside fp32's**, {setting.side}², drawn weights; most and 99.9 % in steps of 1/255\n\n"
    rows: list[dict[str, object]] = []
    image = picture(setting.side, setting.side).to(setting.device)
    for architecture in dict.fromkeys((setting.large, "birefnet-lite")):
        network = drawn_network(BACKBONES[architecture], "wghgc")
        network.prepare()
        truth = drawn_alpha(network, image, torch.float32, deformable.sampled_deform_conv2d)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for way, convolve in WAYS.items():
                row: dict[str, object] = {"network": architecture, "dtype": name_of(dtype), "way": way}
                try:
                    alpha = drawn_alpha(network, image, dtype, convolve)
                except (ImportError, RuntimeError) as obstacle:
                    rows.append(row | {"obstacle": short(Failure.of(obstacle).reason)})
                else:
                    apart = difference(alpha, truth)
                    share = float(((alpha - truth).abs() > 2 / 255).float().mean())
                    rows.append(
                        row | {"most": apart.most, "99.9 %": apart.quantile_999, "share of pixels above 2/255": share}
                    )
                notes.keep(rows, heading + table(rows))


def drawn_alpha(network: BiRefNet, image: torch.Tensor, dtype: torch.dtype, convolve: DeformConv) -> torch.Tensor:
    """Alpha (1, 1, H, W), on the CPU, of a copy of the network in a precision, its deformable convolution one way."""
    placed = copy.deepcopy(network).to(image.device, dtype)
    with (
        tensor_cores(image.device, allowed=False),
        mock.patch.object(deformable, "deform_conv2d", convolve),
        torch.inference_mode(),
    ):
        return torch.sigmoid(placed(image.to(dtype)).float()).cpu()


def deformable_convolutions(setting: Setting, notes: Notes) -> None:
    """Torchvision's deformable convolution beside vmatte's own, on maps as large as decoder_block1's."""
    rows: list[dict[str, object]] = []
    for kernel in (1, 3, 7):
        inputs = deformable_inputs(setting, kernel)
        truth = deformable.sampled_deform_conv2d(*inputs)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            cast = tuple(part.to(dtype) for part in inputs)
            for way, convolve in WAYS.items():
                row = {"kernel": kernel, "dtype": name_of(dtype), "way": way}
                rows.append(row | deformable_cost(setting, lambda c=convolve, x=cast: c(*x), truth))
                notes.keep(
                    rows, "**Deformable convolution**, 64 → 256 channels; error: of fp32's range\n\n" + table(rows)
                )


def deformable_inputs(setting: Setting, kernel: int) -> tuple[torch.Tensor, ...]:
    generator, side = torch.Generator().manual_seed(kernel), setting.map_side
    shapes = (1, 64, side, side), (1, 2 * kernel**2, side, side), (1, kernel**2, side, side), (256, 64, kernel, kernel)
    features, offsets, modulation, weight = (torch.randn(shape, generator=generator) for shape in shapes)
    inputs = features, 2 * offsets, 2 * torch.sigmoid(modulation), weight / (8 * kernel), torch.zeros(256)
    return tuple(part.to(setting.device) for part in inputs)


def by_torchvision(
    features: torch.Tensor, offsets: torch.Tensor, modulation: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    if deformable.torchvision_deform_conv2d is None:
        raise ImportError("torchvision is not there")
    padding = weight.shape[-1] // 2
    return deformable.torchvision_deform_conv2d(features, offsets, weight, bias, padding=padding, mask=modulation)


def deformable_cost(setting: Setting, run: Callable[[], torch.Tensor], truth: torch.Tensor) -> dict[str, object]:
    try:
        error = (run().float() - truth).abs().max() / truth.abs().max()
        seconds, _ = repeated(run, setting.device, setting.seconds / 4)
    except (ImportError, RuntimeError) as obstacle:  # the kernel may not know the precision
        return {"obstacle": short(Failure.of(obstacle).reason)}
    return {"ms": seconds * 1000, "error": float(error)}


WAYS: dict[str, DeformConv] = {"torchvision": by_torchvision, "sampled": deformable.sampled_deform_conv2d}


def profile(setting: Setting, notes: Notes) -> None:
    """The kernels that take most of the time of a frame in half precision."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    cuda = setting.device.type == "cuda"
    meter = Meter(setting.subject(setting.large, setting.side))
    case = NetworkCase((setting.side, setting.side), 1, "fp16")
    model, frames = meter.loaded(case), pictures(meter.subject.spec, case.size, 1).to(setting.device)
    timed(lambda: model.predict(frames), 3, setting.device)
    with watch(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        timed(lambda: model.predict(frames), PROFILED_RUNS, setting.device)
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    spent = [
        (event.key, (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1000, event.count)
        for event in profiler.key_averages()
        if event.device_type == kind
    ]
    spent.sort(key=lambda row: -row[1])
    total = sum(ms for _, ms, _ in spent)
    rows: list[dict[str, object]] = [
        {
            "kernel": name[:90].replace("|", "/"),
            "ms/frame": ms / PROFILED_RUNS,
            "share": ms / max(total, 1e-9),
            "calls/frame": count / PROFILED_RUNS,
        }
        for name, ms, count in spent[:SHOWN_KERNELS]
    ]
    heading = f"**Kernels** of {meter.subject.spec.name}, fp16, one frame: {total / PROFILED_RUNS:.2f} ms in all"
    notes.keep(rows, f"{heading}\n\n{table(rows)}")


def end_to_end(setting: Setting, notes: Notes) -> None:
    """A clip from file to file, whole and in two segments, beside the bare network's rate."""
    try:
        from bench import enlarged_sample, looped

        from vmatte.job import make_job
        from vmatte.video.probe import probe
    except ImportError as error:
        notes.keep([], f"**End to end**: left out, {error}\n")
        return
    torch.set_num_threads(1)  # as a render has it: decoder and encoder share the cores
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = enlarged_sample(folder / "sample.mp4", *setting.clip)
        clip = probe(looped(sample, setting.clip_seconds, folder / "clip.mp4"))
        heading = (
            f"**End to end**, {clip.width}×{clip.height}, H.264 onto a colour, fp16, {clip.frames} frames; steps: "
        )
        job = make_job(clip.path, background="#00b140", encoding="mp4", output=folder / "out.mp4")
        for architecture, batch, segments in (
            (setting.large, 1, 1),
            (setting.large, 4, 1),
            (setting.large, 4, 2),
            ("birefnet-lite", 4, 1),
        ):
            render = Render(job, clip, batch, segments, folder)
            rows.append(render_cost(render, setting.subject(architecture, setting.side)))
            notes.keep(rows, f"{heading}wall ms a frame\n\n{table(rows)}")


@dataclass(frozen=True)
class Render:
    """A clip, and how it is rendered."""

    job: RenderJob
    clip: ClipInfo
    batch: int
    segments: int
    folder: Path


def render_cost(render: Render, subject: Subject) -> dict[str, object]:
    """Frames a second of a render and of its network alone, and where the render's time goes."""
    from vmatte.segments import Segment, plan_segments
    from vmatte.stopwatch import Stopwatch

    facts: dict[str, object] = {"network": subject.spec.name, "batch": render.batch, "segments": render.segments}
    meter, side = Meter(subject), subject.spec.input_size.pixels
    case = NetworkCase((side, side), render.batch, "fp16")
    bare = meter.measure(case)
    if isinstance(bare, Failure):
        return facts | {"obstacle": short(bare.reason)}
    model, frames = meter.loaded(case), render.clip.frames
    # The first few frames start the encoder, the plate and the device; the whole clip is then timed.
    first = range(min(render.batch, frames))
    write(render, model, [Segment(0, first, first)], Stopwatch())
    stopwatch, started = Stopwatch(), time.perf_counter()
    write(render, model, plan_segments(frames, -(-frames // render.segments), lead=0, tail=0), stopwatch)
    fps = frames / (time.perf_counter() - started)
    steps = {f"{step} ms": 1000 * spent / frames for step, spent in sorted(stopwatch.seconds.items())}
    return facts | {"frames/s": fps, "bare frames/s": bare.fps, "share": fps / bare.fps, **steps}


def write(render: Render, model: MattingModel, segments: Sequence[Segment], stopwatch: Stopwatch) -> None:
    """Render segments and join them, as `vmatte run` does."""
    from vmatte.canvas import plan_canvas
    from vmatte.pipeline import layers, settled_mattes, smoothing_for
    from vmatte.video.join import EncodedSegment, join
    from vmatte.video.layer_coding import coding_for
    from vmatte.video.write import encode

    job, clip, row, encoded = render.job, render.clip, render.job.outputs[0].row, []
    coding = coding_for(row, job.outputs[0].layer, clip.delivery)
    for segment in segments:
        path = render.folder / f"{segment.number}{row.suffix}"
        smoothing = smoothing_for(job.smoothing, model.spec)
        matted = settled_mattes(clip, [segment], model, smoothing, render.batch, stopwatch)
        with (
            layers(job, plan_canvas(job, clip, None), matted, model.device, stopwatch) as batches,
            stopwatch.step("encode"),
        ):
            made = (batch.layers[0] for batch in batches)
            encoded.append(EncodedSegment(path, tuple(encode(made, path, row, coding, clip.rate))))
    join(encoded, clip, row, render.folder / "joined.mp4")


def summary(setting: Setting, notes: Notes) -> None:
    """All tables in one file, below what they were measured on."""
    folder = notes.folder
    facts = {"device": device_name(setting.device), "torch": torch.__version__, "cuda": torch.version.cuda}
    facts["torchvision"] = "there" if deformable.torchvision_deform_conv2d is not None else "not there"
    if setting.device.type == "cuda":
        facts["memory"] = f"{torch.cuda.get_device_properties(setting.device).total_memory / 2**30:.1f} GiB"
        query = ["nvidia-smi", "--query-gpu=name,driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        try:
            asked = subprocess.run(query, capture_output=True, text=True, timeout=10)
            facts["nvidia-smi"] = asked.stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            facts["nvidia-smi"] = "does not answer"
    outcomes = (folder / "parts.txt").read_text() if (folder / "parts.txt").is_file() else ""
    sections = [f"# {facts['device']}", "\n".join(f"- {name}: {fact}" for name, fact in facts.items())]
    sections.append("\n".join(f"- {line}" for line in outcomes.splitlines()))
    for part in PARTS:
        table_file = folder / f"{part}.md"
        sections.append(f"## {part}\n\n{table_file.read_text() if table_file.is_file() else 'nothing was measured'}")
    (folder / "bench_gpu.md").write_text("\n\n".join(sections).replace("\n\n\n", "\n\n"))
    numbers = {part: json.loads((folder / f"{part}.json").read_text()) for part in PARTS if has(folder, part)}
    (folder / "bench_gpu.json").write_text(json.dumps({**facts, "parts": numbers}, indent=1))


def has(folder: Path, part: str) -> bool:
    return (folder / f"{part}.json").is_file()


def table(rows: Sequence[dict[str, object]]) -> str:
    """Rows in Markdown; a row need not have all columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


PARTS: dict[str, Callable[[Setting, Notes], None]] = {
    "large": large,
    "lite": lite,
    "high-resolution": high_resolution,
    "half-precision": half_precision,
    "deformable": deformable_convolutions,
    "profile": profile,
    "end-to-end": end_to_end,
    "compiled": compiled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "summary"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpu-rehearsal", action="store_true")
    options = parser.parse_args()
    logging.basicConfig()
    logging.getLogger("vmatte").setLevel(logging.DEBUG)  # the errors behind the tables' lines, with their tracebacks
    setting = on_cpu() if options.cpu_rehearsal else on_gpu()
    part = summary if options.part == "summary" else PARTS[options.part]
    part(setting, Notes(options.folder, options.part))


if __name__ == "__main__":
    main()
