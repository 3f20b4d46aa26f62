"""One part of scripts/bench_gpu.sh: `bench_gpu.py PART FOLDER [--cpu-rehearsal]` leaves PART.json and PART.md there.

Networks come with random weights. All parts but `end-to-end` work beside nothing but torch and NumPy; what more they
can use, and do not find, is said in their tables. Files are written anew after each case: a part may be cut short.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vmatte.benchmark.measure import (
    Case,
    Failure,
    Meter,
    NetworkCase,
    PlainLoopCase,
    Precision,
    Subject,
    pictures,
    repeated,
    timed,
)
from vmatte.benchmark.report import Line, Report, device_name
from vmatte.models.birefnet import deformable
from vmatte.models.contract import Architecture, InputSize, Licence, ModelSpec

SHOWN_KERNELS = 15
PROFILED_RUNS = 5


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
    clip: tuple[int, int, int]
    """Width, height and frames of what is rendered end to end."""

    def subject(self, architecture: Architecture, side: int) -> Subject:
        spec = ModelSpec(
            name={"birefnet": "Swin-L (rmbg-2.0, birefnet)", "birefnet-lite": "Swin-T (birefnet-lite)"}[architecture],
            purpose="",
            architecture=architecture,
            input_size=InputSize("square", side),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            licence=Licence("random weights", commercial_use=True),
            weights=None,
            patch_order="wghgc",
        )
        return Subject(spec, self.device, seconds=self.seconds, product_side=self.product_side)


def on_gpu() -> Setting:
    device = torch.device("cuda", 0)
    return Setting(device, "birefnet", 1024, 2048, (1, 2, 4, 8), 1.5, 4096, 256, (1920, 1080, 120))


def on_cpu() -> Setting:
    return Setting(torch.device("cpu"), "birefnet-lite", 64, 96, (1, 2), 0, 256, 16, (320, 180, 6))


@dataclass(frozen=True)
class Notes:
    """Where a part leaves what it found."""

    folder: Path
    part: str

    def keep(self, numbers: object, markdown: str) -> None:
        (self.folder / f"{self.part}.json").write_text(json.dumps(numbers, indent=1))
        (self.folder / f"{self.part}.md").write_text(markdown)


def run_cases(setting: Setting, subject: Subject, cases: Sequence[Case], notes: Notes) -> None:
    """A case that fails is a line of the table, and the next one is measured."""
    meter, lines = Meter(subject), []
    for case in cases:
        try:
            outcome = meter.measure(case)
        except Exception as error:
            outcome = Failure(short(error))
            print(f"{case}: {error!r}", flush=True)
        lines.append(Line(case, outcome))
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
    side, half = setting.side, setting.batches[len(setting.batches) // 2]
    cases = [NetworkCase((side, side), batch, "fp16", compile=True) for batch in (1, half)]
    run_cases(setting, setting.subject(setting.large, side), cases, notes)


def deformable_convolutions(setting: Setting, notes: Notes) -> None:
    """Torchvision's deformable convolution beside vmatte's own, on maps as large as decoder_block1's."""
    rows: list[dict[str, object]] = []
    for kernel in (1, 3, 7):
        inputs = deformable_inputs(setting, kernel)
        truth = deformable.sampled_deform_conv2d(*inputs)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            cast = tuple(part.to(dtype) for part in inputs)
            for way, convolve in (("torchvision", by_torchvision), ("sampled", deformable.sampled_deform_conv2d)):
                row = {"kernel": kernel, "dtype": str(dtype).removeprefix("torch."), "way": way}
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
        return {"ms": None, "error": None, "obstacle": short(obstacle)}
    return {"ms": seconds * 1000, "error": float(error), "obstacle": ""}


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
    """A clip from file to file, beside the bare network's rate."""
    try:
        from bench import enlarged_sample

        from vmatte.job import make_job
        from vmatte.render import Task, render_segment
        from vmatte.segments import Segment
        from vmatte.stopwatch import Stopwatch
        from vmatte.video.probe import probe
    except ImportError as error:
        notes.keep([], f"**End to end**: left out, {error}\n")
        return
    torch.set_num_threads(1)  # as a render has it: decoder and encoder share the cores
    rows: list[dict[str, object]] = []
    architectures: tuple[Architecture, ...] = (setting.large, "birefnet-lite")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = probe(enlarged_sample(folder / "clip.mp4", *setting.clip))
        job = make_job(clip.path, background="#00b140", encoding="mp4", output=folder / "out.mp4")
        for architecture, batch in ((architectures[0], 1), (architectures[0], 4), (architectures[1], 4)):
            meter = Meter(setting.subject(architecture, setting.side))
            case = NetworkCase((setting.side, setting.side), batch, "fp16")
            bare = meter.measure(case)
            if isinstance(bare, Failure):
                continue
            model, stopwatch = meter.loaded(case), Stopwatch()
            started = 0.0
            # The first few frames start the encoder, the plate and the device; the whole clip is then timed.
            for number, frames in enumerate((range(min(batch, clip.frames)), range(clip.frames))):
                stopwatch, started = Stopwatch(), time.perf_counter()
                segment = Segment(number, frames=frames, read=frames)
                render_segment(Task(job, batch, clip, segment, folder), model, stopwatch)
            fps = clip.frames / (time.perf_counter() - started)
            steps = {f"{step} ms": 1000 * spent / clip.frames for step, spent in sorted(stopwatch.seconds.items())}
            facts = {"network": meter.subject.spec.name, "batch": batch, "frames/s": fps, "bare frames/s": bare.fps}
            rows.append({**facts, "share": fps / bare.fps, **steps})
            size = f"{clip.width}×{clip.height}"
            heading = f"**End to end**, {size}, H.264 onto a colour, fp16, {clip.frames} frames; steps: wall ms a frame"
            notes.keep(rows, f"{heading}\n\n{table(rows)}")


def summary(setting: Setting, notes: Notes) -> None:
    """All tables in one file, below what they were measured on."""
    folder = notes.folder
    facts = {"device": device_name(setting.device), "torch": torch.__version__, "cuda": torch.version.cuda}
    facts["torchvision"] = "there" if deformable.torchvision_deform_conv2d is not None else "not there"
    if setting.device.type == "cuda":
        facts["memory"] = f"{torch.cuda.get_device_properties(setting.device).total_memory / 2**30:.1f} GiB"
        query = ["nvidia-smi", "--query-gpu=name,driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        try:
            asked = subprocess.run(query, capture_output=True, text=True, timeout=20)
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
    """Rows of the same columns in Markdown."""
    columns = list(rows[0]) if rows else []
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(map(cell, row.values())) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def short(error: Exception) -> str:
    """The first line of an error, as a cell of a table."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:80].replace("|", "/")


PARTS: dict[str, Callable[[Setting, Notes], None]] = {
    "large": large,
    "lite": lite,
    "high-resolution": high_resolution,
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
    setting = on_cpu() if options.cpu_rehearsal else on_gpu()
    part = summary if options.part == "summary" else PARTS[options.part]
    part(setting, Notes(options.folder, options.part))


if __name__ == "__main__":
    main()
