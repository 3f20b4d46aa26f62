"""A job becomes a file: probe, plan, render the segments, join, verify, publish."""

from __future__ import annotations

import gc
import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from vmatte.clip import HDR_TRANSFERS, ClipInfo
from vmatte.errors import ModelError, SourceError
from vmatte.frames import LayerBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.job import (
    DEFAULT_MODEL,
    BlurPlate,
    ColorPlate,
    FilePlate,
    NoPlate,
    RenderJob,
    Runtime,
    make_job,
    make_runtime,
    parse_smoothing,
)
from vmatte.models.catalogue import build_model
from vmatte.models.choice import Choice, choose
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.models.placement import frames_at_once, is_out_of_memory, is_torch_network
from vmatte.models.weights import Progress
from vmatte.pipeline import layers, mattes, smoothing_for
from vmatte.plates import check_plate
from vmatte.segments import Segment, plan_segments
from vmatte.stopwatch import Stopwatch
from vmatte.video.join import EncodedSegment, join
from vmatte.video.probe import probe
from vmatte.video.verify import verify
from vmatte.video.write import encode
from vmatte.workdir import check_output, publish, work_folder

logger = logging.getLogger(__name__)

OnFrames = Callable[[int, int, Stopwatch], None]
"""Told, from time to time, how many frames are done, of how many, and where the time goes."""


@dataclass(frozen=True, slots=True)
class RenderReport:
    """What a render came to. `seconds` is wall time; `lost` counts frames of the clip that could not be decoded."""

    output: Path
    frames: int
    lost: int
    seconds: float
    model: str
    """Its name in MODELS, whatever word the job had for it."""
    licence: str
    """Of the network's weights."""
    weights_sha256: str | None
    """Of the network's weights; None for a model without."""
    sha256: str
    """Of the output; of all pictures in order, for a sequence."""

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One segment's work: all that is needed to render it."""

    job: RenderJob
    batch: int
    """Frames that go through the network at once."""
    clip: ClipInfo
    segment: Segment
    folder: Path


def run(
    clip: str | Path,
    *,
    background: str | Path | FilePlate | ColorPlate | BlurPlate | NoPlate | None = None,
    output: str | Path | None = None,
    encoding: str | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    smooth: str | None = None,
    strength: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    batch: int | str | None = None,
    licence_guard: str | None = None,
    overwrite: bool | None = None,
    on_frames: OnFrames | None = None,
    on_weights: Progress | None = None,
) -> RenderReport:
    """Render one clip, with the words of `vmatte run`. Raises VmatteError for what the user can mend."""
    job = make_job(
        clip,
        background=background,
        output=output,
        encoding=encoding,
        model=model,
        weights=weights,
        smooth=smooth,
        strength=strength,
    )
    runtime = make_runtime(
        device=device,
        precision=precision,
        compile=compile,
        batch=batch,
        licence_guard=licence_guard,
        overwrite=overwrite,
    )
    return render_job(job, runtime, on_frames=on_frames, on_weights=on_weights)


def render_job(
    job: RenderJob,
    runtime: Runtime,
    *,
    on_frames: OnFrames | None = None,
    on_weights: Progress | None = None,
) -> RenderReport:
    """Render a job. The output appears under its name only when it is whole and verified."""
    started = time.perf_counter()
    clip = _check(job, runtime)
    choice = choose(job.model, job.weights, runtime)
    logger.info("%s", choice)
    job = job.model_copy(update={"model": choice.spec.name, "weights": choice.own})
    model, batch = _ready(choice, runtime, clip, on_weights)
    if clip.delivery.color.transfer in HDR_TRANSFERS:
        logger.warning("%s is HDR: its codes are kept, without tone mapping; an SDR plate looks too bright", job.clip)
    stopwatch = Stopwatch()
    with work_folder(job.output) as folder, _threads_for(model):
        segments: list[EncodedSegment] = []
        for segment in _plan(clip, model, job, runtime):
            # Where memory ended once, the segments that follow need not find that out again.
            encoded, batch = render_segment(Task(job, batch, clip, segment, folder), model, stopwatch, on_frames)
            segments.append(encoded)
        written = [number for segment in segments for number in segment.written]
        if not written:
            raise SourceError(f"{job.clip}: none of its {clip.promised_frames} frames can be decoded")
        whole = folder / f"whole{job.row.suffix}"
        join([segment for segment in segments if segment.written], clip, job.row, whole)
        verify(whole, clip, job.row, written, alpha=job.layer == "cutout")
        sha256 = _sha256(whole)
        publish(whole, job.output, overwrite=runtime.overwrite)
    return RenderReport(
        output=job.output,
        frames=len(written),
        lost=clip.promised_frames - len(written),
        seconds=time.perf_counter() - started,
        model=choice.spec.name,
        licence="unknown: weights of your own" if choice.licence is None else choice.licence.name,
        weights_sha256=choice.weights_sha256,
        sha256=sha256,
    )


def _ready(choice: Choice, runtime: Runtime, clip: ClipInfo, on_weights: Progress | None) -> tuple[MattingModel, int]:
    """The network, and how many of the clip's frames go through it at once."""
    with _clear_errors(clip, choice.spec, choice.placement.device):
        model = build_model(choice.spec, choice.own, choice.placement, on_weights)
        batch = frames_at_once(runtime, model, (clip.height, clip.width))
    if runtime.batch == "auto" and batch > 1:
        logger.info("%d frames at once: what the memory of %s holds", batch, model.device)
    return model, min(batch, max(clip.frames, 1))


def _plan(clip: ClipInfo, model: MattingModel, job: RenderJob, runtime: Runtime) -> list[Segment]:
    length, warm_up = runtime.segment_frames, model.spec.warm_up
    reach = smoothing_for(job.smoothing, model.spec).reach
    if length is not None and warm_up is None:
        logger.info("%s remembers all frames it has seen: the clip is rendered as one segment", model.spec.name)
    if warm_up is None:
        return plan_segments(clip.frames, None, lead=0, tail=0)
    return plan_segments(clip.frames, length, lead=warm_up + reach, tail=reach)


def render_segment(
    task: Task, model: MattingModel, stopwatch: Stopwatch, on_frames: OnFrames | None = None
) -> tuple[EncodedSegment, int]:
    """Render one segment into the task's folder; it comes with the batch that it was rendered with in the end.

    Where memory ends, it is begun again with half the batch. Raises ModelError where one frame is too much.
    """
    frames = task.segment.frames
    where = f" on frames {frames.start}–{frames.stop - 1}, even one at a time"
    with _clear_errors(task.clip, model.spec, model.device, where):
        while (encoded := _rendered_if_it_fits(task, model, stopwatch, on_frames)) is None:
            # Only out here, where the error no longer holds the batch's tensors, can their memory be given back.
            if "torch._dynamo" in sys.modules:  # something may be compiled, whose graphs keep memory
                torch.compiler.reset()
            gc.collect()
            torch.cuda.empty_cache()
            fewer = task.batch // 2
            logger.warning("%s ran out of memory with %d frames at once; now %d", model.device, task.batch, fewer)
            task = replace(task, batch=fewer)
    return encoded, task.batch


def _rendered_if_it_fits(
    task: Task, model: MattingModel, stopwatch: Stopwatch, on_frames: OnFrames | None
) -> EncodedSegment | None:
    """None where memory ends, and a smaller batch could be tried."""
    try:
        return _render_segment(task, model, stopwatch, on_frames)
    except RuntimeError as error:
        if task.batch == 1 or not is_out_of_memory(error):
            raise
    return None


def _render_segment(
    task: Task, model: MattingModel, stopwatch: Stopwatch, on_frames: OnFrames | None
) -> EncodedSegment:
    job, clip, segment = task.job, task.clip, task.segment
    path = task.folder / f"{segment.number:06d}{job.row.suffix}"
    with layers(job, clip, segment, model, task.batch, stopwatch) as batches:
        counted = _counted(batches, clip, stopwatch, on_frames)
        with stopwatch.step("encode"):
            written = encode(counted, path, job.row, clip.delivery, clip.rate)
    return EncodedSegment(path, tuple(written))


def _counted(
    batches: Iterable[LayerBatch], clip: ClipInfo, stopwatch: Stopwatch, on_frames: OnFrames | None
) -> Iterator[LayerBatch]:
    for batch in batches:
        yield batch
        if on_frames is not None:
            on_frames(batch.index.stop, clip.frames, stopwatch)


def _check(job: RenderJob, runtime: Runtime) -> ClipInfo:
    """Everything that can be wrong with a job and seen before a frame is rendered."""
    clip = probe(job.clip)
    if isinstance(job.background, FilePlate):
        check_plate(job.background.path)
    inputs = [job.clip] + ([job.background.path] if isinstance(job.background, FilePlate) else [])
    check_output(job.output, inputs, overwrite=runtime.overwrite, folder=job.row.is_sequence)
    return clip


@contextmanager
def _clear_errors(clip: ClipInfo, spec: ModelSpec, device: torch.device, where: str = "") -> Iterator[None]:
    """What the device lacks, memory or an operator, becomes a ModelError that says so."""
    try:
        yield
    except (NotImplementedError, TypeError) as error:
        if device.type != "mps":
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{clip.path}: {spec.name} cannot run on mps: {reason}; use --device cpu") from error
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        instead = "a smaller model" if device.type == "cpu" else "a smaller model, fp16 or the CPU"
        raise ModelError(
            f"{clip.path}: {device} has too little free memory for {spec.name}{where}; close what else uses it, or "
            f"choose {instead}"
        ) from error


@contextmanager
def _threads_for(model: MattingModel) -> Iterator[None]:
    """One thread for torch, unless it computes the network on the CPU.

    Decoder, network and encoder share the cores already; splitting single frames' maths costs more than it gives.
    """
    before = torch.get_num_threads()
    if not (is_torch_network(model.spec) and model.device.type == "cpu"):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Matte:
    """One frame with its matte.

    `rgb` (3, H, W) float32 in [0, 1] is the frame, display-encoded; `alpha` (1, H, W) float32 in [0, 1]; the frame's
    time is `pts * time_base` seconds.
    """

    rgb: Tensor
    alpha: Tensor
    pts: int
    time_base: Fraction


def matte(
    clip: str | Path,
    *,
    model: str | None = None,
    weights: str | Path | None = None,
    smooth: str | None = None,
    strength: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    batch: int | str | None = None,
    licence_guard: str | None = None,
    on_weights: Progress | None = None,
) -> Iterator[Matte]:
    """The mattes of a clip, frame by frame, in bounded memory.

    Raises VmatteError, at once, for what the user can mend. Closing the iterator ends the decoding thread.
    """
    source = probe(Path(clip).expanduser())
    runtime = make_runtime(
        device=device, precision=precision, compile=compile, batch=batch, licence_guard=licence_guard
    )
    wanted = parse_smoothing(smooth, strength)
    choice = choose(model or DEFAULT_MODEL, None if weights is None else Path(weights).expanduser(), runtime)
    logger.info("%s", choice)
    network, at_once = _ready(choice, runtime, source, on_weights)
    every = range(source.frames)
    whole = Segment(0, frames=every, read=every)
    smoothing = smoothing_for(wanted, network.spec)
    where = f" with a batch of {at_once}, a smaller one takes less" if at_once > 1 else ""

    def stream() -> Iterator[Matte]:
        with (
            _clear_errors(source, network.spec, network.device, where),
            closing(mattes(source, whole, network, smoothing, at_once, Stopwatch())) as batches,
        ):
            for matted in batches:
                rgb = ycbcr_to_rgb(matted.frames.luma, matted.frames.chroma, matted.frames.coding)
                for t, number in enumerate(matted.frames.index):
                    yield Matte(rgb[t], matted.alpha[t], int(source.pts[number]), source.time_base)

    return stream()
