"""A job becomes files: plan, render the segments, deliver."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from vmatte.analyse import analyse, looks_closely, needs_analysis
from vmatte.analysis import Analysis, Screens
from vmatte.clip import ClipInfo
from vmatte.delivery import RenderReport, finish, published
from vmatte.errors import KeptMatteError, ModelError
from vmatte.frames import RenderedBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.job import (
    DEFAULT_MODEL,
    RenderJob,
    Runtime,
    Words,
    at_home,
    job_words,
    make_job,
    make_runtime,
    parse_smoothing,
    runtime_words,
)
from vmatte.kept_mattes import KeptMattes
from vmatte.models.catalogue import build_model
from vmatte.models.choice import Choice, choose
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.models.own_alpha import check_own_alpha
from vmatte.models.placement import frames_at_once, frames_device, is_out_of_memory, is_torch_network
from vmatte.models.weights import Progress
from vmatte.options import DEFAULT_UPSAMPLING, Screen, Upsampling
from vmatte.pipeline import DEPTH, coding_of, kept_mattes, layers, mattes, settled_mattes, smoothing_for
from vmatte.planning import Plan, announce, check_unchanged, kept_mattes_of, plan_job
from vmatte.prefetch import share
from vmatte.screens import find_screens, screen_key
from vmatte.segment_folder import SegmentFolder, write_whole
from vmatte.segments import Segment, runs_of
from vmatte.shots import find_shots
from vmatte.stages.key import ScreenKey
from vmatte.stopwatch import Stopwatch
from vmatte.survey import Survey, survey
from vmatte.video.probe import probe
from vmatte.video.sent import SentFiles, keep_sent
from vmatte.video.write import encode, writing
from vmatte.workdir import WorkFolder, open_work_folder

logger = logging.getLogger(__name__)

OnFrames = Callable[[int, int, Stopwatch], None]
"""Told, from time to time, how many frames are done, of how many, and where the time goes."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A part of the work: all that is needed to render segments that follow each other, wherever that is done."""

    plan: Plan
    segments: tuple[Segment, ...]
    folder: Path
    """The job's work folder."""
    recalled: bool
    """Whether the mattes of all of them are kept already."""

    @property
    def work(self) -> WorkFolder:
        return WorkFolder(self.folder)

    @property
    def needs_analysis(self) -> bool:
        return needs_analysis(self.plan.job, self.plan.clip, self.plan.choice.spec, recalled=self.recalled)


def run(
    clip: str | Path,
    *,
    on_frames: OnFrames | None = None,
    on_weights: Progress | None = None,
    **words: Unpack[Words],
) -> RenderReport:
    """Render one clip, with the words of `vmatte run`. Raises VmatteError for what the user can mend."""
    if unknown := sorted(set(words) - set(Words.__annotations__)):
        raise TypeError(f"run() got an unexpected keyword argument {unknown[0]!r}")
    job, runtime = make_job(clip, **job_words(words)), make_runtime(**runtime_words(words))
    return render_job(job, runtime, on_frames=on_frames, on_weights=on_weights)


def render_job(
    job: RenderJob,
    runtime: Runtime,
    *,
    on_frames: OnFrames | None = None,
    on_weights: Progress | None = None,
) -> RenderReport:
    """Render a job. The output appears under its name only when it is whole and verified.

    What an earlier run of the same job finished before it was cut off is not done again.
    """
    started = time.perf_counter()
    plan = plan_job(job, runtime)
    announce(plan)
    with open_work_folder(plan.output_paths, plan.fingerprint) as work:
        report = published(plan, work)
        if report is None:
            network, stopwatch = Network(plan, on_weights), Stopwatch()
            with kept_mattes_of(plan) as kept:
                for task in todo(plan, work, kept):
                    render_segments(task, network, kept, stopwatch, on_frames)
            report = finish(plan, work, started)
    return report


def todo(plan: Plan, work: WorkFolder, kept: KeptMattes | None) -> list[Task]:
    """What is not finished yet, in parts that can be rendered in any order."""
    return _tasks(plan, plan.segments, work, kept)


def _tasks(plan: Plan, segments: Sequence[Segment], work: WorkFolder, kept: KeptMattes | None) -> list[Task]:
    """What is not finished of some segments."""
    unfinished = [segment for segment in segments if work.segments.written(segment.number) is None]
    tasks = []
    for recalled in (True, False):
        those = [segment for segment in unfinished if recalled == (kept is not None and kept.has(segment))]
        tasks += [Task(plan, run, work.path, recalled) for run in runs_of(those)]
    return tasks


class Network:
    """The network of a plan, loaded when a frame first needs it; and what keys the clip, once its screens are known."""

    def __init__(self, plan: Plan, on_weights: Progress | None = None) -> None:
        self._plan, self._on_weights = plan, on_weights
        self._loaded: MattingModel | None = None
        self._key: ScreenKey | None = None
        self.batch = _given_batch(plan.runtime) if plan.choice.spec.keys_a_screen else 1
        """Frames that go through it at once."""

    @property
    def device(self) -> torch.device:
        return frames_device(self._plan.choice.spec, self._plan.choice.placement)

    def load(self) -> None:
        """Now, where there is something to load."""
        plan = self._plan
        if self._loaded is None and not plan.choice.spec.keys_a_screen:
            self._loaded, self.batch = _ready(plan.choice, plan.runtime, plan.clip, self._on_weights)

    def model(self, screens: Screens | None) -> MattingModel | ScreenKey:
        """What makes the mattes: the network, or what keys the clip's screens."""
        self.load()
        model = self._loaded or self.key(screens)
        assert model is not None
        return model

    def key(self, screens: Screens | None) -> ScreenKey | None:
        """What keys the clip's screens; None where it has none."""
        plan = self._plan
        if self._key is None and screens is not None and plan.job.screen is not None:
            self._key = screen_key(plan.clip, plan.job.screen, screens, self.device)
        return self._key


def _ready(choice: Choice, runtime: Runtime, clip: ClipInfo, on_weights: Progress | None) -> tuple[MattingModel, int]:
    """The network, and how many of the clip's frames go through it at once."""
    with _clear_errors(clip, choice.spec, choice.placement.device):
        model = build_model(choice.spec, choice.own, choice.placement, on_weights)
        batch = frames_at_once(runtime, model, (clip.height, clip.width))
    if runtime.batch == "auto" and batch > 1:
        logger.info("%d frames at once: what the memory of %s holds", batch, model.device)
    return model, min(batch, max(clip.frames, 1))


def _given_batch(runtime: Runtime) -> int:
    """Frames at once for a key, which gains nothing by more."""
    return 1 if runtime.batch == "auto" else runtime.batch


def render_segments(
    task: Task,
    network: Network,
    kept: KeptMattes | None,
    stopwatch: Stopwatch,
    on_frames: OnFrames | None = None,
) -> None:
    """Render a task's segments into its folder, and keep their mattes.

    Where memory ends, what is left is begun again with half the batch, and later tasks start with that. Raises
    ModelError where one frame is too much.
    """
    waiting = [task]
    while waiting:
        each = waiting.pop()
        if not _rendered_if_it_can_be(each, network, kept, stopwatch, on_frames):
            waiting += _tasks(task.plan, each.segments, task.work, kept)


def _rendered_if_it_can_be(
    task: Task, network: Network, kept: KeptMattes | None, stopwatch: Stopwatch, on_frames: OnFrames | None
) -> bool:
    """False where what is left may be tried again: with a smaller batch, or without a kept matte that is damaged."""
    plan = task.plan
    frames = range(task.segments[0].frames.start, task.segments[-1].frames.stop)
    where = f" on frames {frames.start}–{frames.stop - 1}, even one at a time"
    if not task.recalled:
        network.load()
    with _clear_errors(plan.clip, plan.choice.spec, network.device, where):
        try:
            _render(task, network, kept, stopwatch, on_frames)
            return True
        except KeptMatteError as error:
            logger.warning("%s: a kept matte, which is made again", error)
            return False
        except RuntimeError as error:
            if network.batch == 1 or not is_out_of_memory(error):
                raise
    # Only out here, where the error no longer holds the batch's tensors, can their memory be given back.
    if "torch._dynamo" in sys.modules:  # something may be compiled, whose graphs keep memory
        torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
    fewer = network.batch // 2
    logger.warning("%s ran out of memory with %d frames at once; now %d", network.device, network.batch, fewer)
    network.batch = fewer
    return False


def _render(
    task: Task, network: Network, kept: KeptMattes | None, stopwatch: Stopwatch, on_frames: OnFrames | None
) -> None:
    plan, segments, folder = task.plan, task.segments, task.work.segments
    job, clip, canvas = plan.job, plan.clip, plan.canvas
    analysis = find_analysis(task, network, kept, stopwatch)
    if task.recalled and kept is not None:
        matted = kept_mattes(clip, segments, kept.read(segments), network.device, stopwatch)
        threads = _threads_for(None)
    else:
        model = network.model(analysis.screens)
        matted = settled_mattes(clip, segments, model, plan.smoothing, network.batch, stopwatch, analysis, job.upsample)
        threads = _threads_for(model)
    screen = network.key(analysis.screens)
    with threads, layers(job, canvas, matted, network.device, stopwatch, analysis, screen) as batches:
        ahead = next(batches, None)
        for segment in segments:

            def its_own(stop: int = canvas.shown(segment.frames).stop) -> Iterator[RenderedBatch]:
                nonlocal ahead
                while ahead is not None and ahead.index.start < stop:
                    yield ahead
                    if on_frames is not None:
                        on_frames(canvas.clip_frames_before(ahead.index.stop), clip.frames, stopwatch)
                    ahead = next(batches, None)
                # Before anything is finished of it: what is kept must be of the bytes that the fingerprint is of.
                check_unchanged(plan)

            own = its_own()
            if kept is not None and not task.recalled and plan.keeps_mattes:
                own = kept.keep(segment, own)
            with stopwatch.step("encode"):
                written = _encode(own, plan, folder, segment)
            with writing(folder.folder):
                folder.finish(segment.number, plan.suffixes, written)


def _encode(rendered: Iterator[RenderedBatch], plan: Plan, folder: SegmentFolder, segment: Segment) -> list[int]:
    """Write a segment's files, one for each output, and return the numbers of the frames that are in them."""

    def encoder(place: int) -> Callable[[Iterator[RenderedBatch]], list[int]]:
        output = plan.job.outputs[place]
        coding = coding_of(output, plan.canvas)
        path = folder.unfinished(segment.number, plan.suffix(place))

        compared, is_matte = plan.runtime.verify, output.layer == "alpha"
        sent = SentFiles(*(folder.unfinished(segment.number, each) for each in plan.sent_suffixes(place, compared)))

        def encode_own(batches: Iterator[RenderedBatch]) -> list[int]:
            own = (batch.layers[place] for batch in batches)
            kept = keep_sent(own, sent, plan.canvas.shown(segment.frames), compared, is_matte=is_matte)
            return encode(
                kept,
                path,
                output.row,
                coding,
                plan.canvas.output.rate,
                is_matte=is_matte,
                premultiplied=output.alpha == "premultiplied",
            )

        return encode_own

    return share(rendered, [encoder(place) for place in range(len(plan.job.outputs))], DEPTH)[0]


def find_analysis(task: Task, network: Network, kept: KeptMattes | None, stopwatch: Stopwatch) -> Analysis:
    """What the whole clip has to tell a task's frames: made once for a job, from then on read in its work folder."""
    if not task.needs_analysis:
        return Analysis()
    plan, file = task.plan, task.work.analysis
    with suppress(OSError, ValueError):
        return Analysis.from_json(file.read_bytes())
    with stopwatch.step("survey"):
        found = analyse(
            plan.job, plan.canvas, plan.choice.spec, lambda screens: _survey_of(plan, network, kept, screens)
        )
    check_unchanged(plan)
    with writing(file):
        write_whole(file, found.to_json())
    return found


def _survey_of(plan: Plan, network: Network, kept: KeptMattes | None, screens: Screens | None) -> Survey:
    """The clip's survey: the one that is kept with its mattes, else a new one, which from then on is."""
    closely = looks_closely(plan.job)
    known = None if kept is None else kept.survey(closely=closely)
    if known is not None:
        with suppress(ValueError):
            return Survey.from_bytes(known)
    seen = survey(plan.clip, network.model(screens), closely=closely)
    check_unchanged(plan)
    if kept is not None:
        kept.keep_survey(seen.to_bytes(), closely=closely)
    return seen


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
def _threads_for(model: MattingModel | ScreenKey | None) -> Iterator[None]:
    """One thread for torch, unless it computes the network on the CPU.

    Decoder, network and encoder share the cores already; splitting single frames' maths costs more than it gives.
    """
    before = torch.get_num_threads()
    if model is None or not is_torch_network(model.spec) or model.device.type != "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    upsample: Upsampling = DEFAULT_UPSAMPLING,
    device: str | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    batch: int | str | None = None,
    licence_guard: str | None = None,
    on_weights: Progress | None = None,
) -> Iterator[Matte]:
    """The mattes of a clip, frame by frame, in bounded memory: of whole frames, without masks or edge controls.

    Raises VmatteError, at once, for what the user can mend. Closing the iterator ends the decoding thread.
    """
    source = probe(at_home(clip))
    runtime = make_runtime(
        device=device, precision=precision, compile=compile, batch=batch, licence_guard=licence_guard
    )
    wanted = parse_smoothing(smooth, strength)
    choice = choose(model or DEFAULT_MODEL, None if weights is None else at_home(weights), runtime)
    check_own_alpha(choice.spec, source.path, has_alpha=source.alpha)
    logger.info("%s", choice)
    network: MattingModel | ScreenKey
    if choice.spec.keys_a_screen:
        screens = find_screens(source, Screen(), find_shots(source))
        network, at_once = screen_key(source, Screen(), screens, choice.placement.device), _given_batch(runtime)
    else:
        network, at_once = _ready(choice, runtime, source, on_weights)
    every = range(source.frames)
    whole = Segment(0, frames=every, read=every)
    smoothing = smoothing_for(wanted, network.spec)
    where = f" with a batch of {at_once}, a smaller one takes less" if at_once > 1 else ""

    def stream() -> Iterator[Matte]:
        with (
            _clear_errors(source, network.spec, network.device, where),
            closing(mattes(source, [whole], network, smoothing, at_once, Stopwatch(), upsampling=upsample)) as batches,
        ):
            for matted in batches:
                rgb = ycbcr_to_rgb(matted.frames.luma, matted.frames.chroma, matted.frames.coding)
                for t, number in enumerate(matted.frames.index):
                    yield Matte(rgb[t], matted.alpha[t], int(source.pts[number]), source.time_base)

    return stream()
