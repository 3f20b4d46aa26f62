"""A job becomes a file: probe, plan, render the segments, join, verify, publish."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Unpack, get_args

import av
import torch
from torch import Tensor

from vmatte.analyse import analyse, crops, looks_closely, needs_analysis
from vmatte.analysis import Analysis, Screens
from vmatte.canvas import Canvas, plan_canvas
from vmatte.clip import ClipInfo
from vmatte.content_credentials import Ingredient, Signing, can_carry, read_signing, sign
from vmatte.encodings import DEFAULT_SPEED
from vmatte.errors import EncodeError, KeptMatteError, ModelError, SourceError
from vmatte.fingerprint import fingerprint, sha256_of_file, sha256_of_output, sha256_of_program
from vmatte.frames import RenderedBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.motion import flow_method
from vmatte.job import (
    DEFAULT_MODEL,
    RenderJob,
    Runtime,
    Verify,
    Words,
    at_home,
    job_words,
    make_job,
    make_runtime,
    parse_smoothing,
    runtime_words,
)
from vmatte.kept_mattes import KeptMattes, open_kept_mattes
from vmatte.masks import check_mask
from vmatte.models.catalogue import build_model
from vmatte.models.choice import Choice, choose
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.models.own_alpha import check_own_alpha
from vmatte.models.placement import frames_at_once, frames_device, is_out_of_memory, is_torch_network
from vmatte.models.weights import Progress
from vmatte.options import DEFAULT_UPSAMPLING, BlurPlate, FilePlate, NoPlate, Screen, SmoothingMethod, Upsampling
from vmatte.outputs import Output
from vmatte.pipeline import DEPTH, coding_of, kept_mattes, layers, mattes, settled_mattes, smoothing_for
from vmatte.plates import check_plate
from vmatte.prefetch import share
from vmatte.screens import check_clean_plate, find_screens, screen_key
from vmatte.segment_folder import SegmentFolder, write_whole
from vmatte.segments import Segment, plan_segments, runs_of
from vmatte.shots import find_shots
from vmatte.sidecar import Making, check_sidecar, sidecar_of, write_sidecar
from vmatte.stages.key import ScreenKey
from vmatte.stopwatch import Stopwatch
from vmatte.survey import Survey, survey
from vmatte.version import __version__
from vmatte.video.animation import check_animation
from vmatte.video.excerpt import excerpt
from vmatte.video.join import EncodedSegment, join
from vmatte.video.probe import probe
from vmatte.video.sent import SentFiles, SentSegment, keep_sent
from vmatte.video.verify import Verified, verify
from vmatte.video.write import check_encoder, encode, writing
from vmatte.workdir import WorkFolder, already_there, check_output, open_work_folder, publish, whole_of

logger = logging.getLogger(__name__)

OnFrames = Callable[[int, int, Stopwatch], None]
"""Told, from time to time, how many frames are done, of how many, and where the time goes."""


@dataclass(frozen=True, slots=True)
class OutputReport:
    """A file, or folder of pictures, that is there."""

    path: Path
    layer: str
    encoding: str
    alpha: str
    """`straight` or `premultiplied`, of a cutout."""
    sha256: str
    """Of its bytes; of all pictures in order, for a sequence."""
    verified: Verified
    """How it was proven."""


@dataclass(frozen=True, slots=True)
class RenderReport:
    """What a render came to. `seconds` is wall time; `frames` are the output's, `lost` counts frames of the clip that
    could not be decoded."""

    outputs: tuple[OutputReport, ...]
    frames: int
    lost: int
    seconds: float
    model: str
    """Its name in MODELS, whatever word the job had for it."""
    licence: str
    """Of the network's weights."""
    weights_sha256: str | None
    """Of the network's weights; None for a model without."""
    matte: str | None
    """What its matte is kept under; None where it is not."""

    @property
    def output(self) -> Path:
        """The first one."""
        return self.outputs[0].path

    @property
    def sha256(self) -> str:
        """Of the first output."""
        return self.outputs[0].sha256

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A job that is ready to be rendered: everything that the user left open is settled."""

    job: RenderJob
    runtime: Runtime
    clip: ClipInfo
    canvas: Canvas
    choice: Choice
    smoothing: SmoothingMethod
    segments: tuple[Segment, ...]
    inputs: tuple[tuple[Path, str], ...]
    """Every file that is read beside the weights, the clip first, with the sha256 of its bytes."""
    matte_fingerprint: str
    """Of what the matte depends on."""
    fingerprint: str
    """Of what the output's pixels depend on."""

    @property
    def output_paths(self) -> list[Path]:
        return [output.path for output in self.job.outputs]


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


def plan_job(job: RenderJob, runtime: Runtime) -> Plan:
    """Check everything that can be wrong with a job and seen before a frame is rendered, and settle what is open."""
    found = probe(job.clip)
    found = replace(found, alpha=found.alpha and job.own_alpha == "multiply")
    clip = excerpt(found, job.start, job.end)
    size = (clip.height, clip.width)
    for output in job.outputs:
        check_encoder(output.row)
    check_mask(job.garbage, "garbage matte", clip.path, size)
    check_mask(job.hold_out, "hold-out matte", clip.path, size)
    check_clean_plate(job.screen, clip.path, size)
    canvas = plan_canvas(job, clip, check_plate(job.background) if isinstance(job.background, FilePlate) else None)
    for output in job.outputs:
        check_animation(output.row, canvas.output.rate)
    paths = list(job.files.values())
    _check_outputs(job, already_there([output.path for output in job.outputs]), runtime)
    if runtime.c2pa is not None:
        read_signing(runtime.c2pa)  # now, and again when it is time: a key is kept nowhere
    choice = choose(job.model, job.weights, runtime)
    spec = choice.spec
    check_own_alpha(spec, clip.path, has_alpha=clip.alpha)
    smoothing = smoothing_for(job.smoothing, spec)
    screen = job.screen or (Screen() if spec.keys_a_screen else None)
    colors = "source" if spec.is_own_alpha else job.foreground  # they are straight already
    settled = {"model": spec.name, "weights": choice.own, "screen": screen, "foreground": colors}
    job = job.model_copy(update=settled)
    lead = None if spec.warm_up is None else spec.warm_up + smoothing.reach
    segments = plan_segments(clip.frames, job.segment_frames, lead, smoothing.reach)
    inputs = tuple((path, _sha256_of_input(path)) for path in paths)
    matte_fingerprint = fingerprint(
        program=sha256_of_program(),
        clip=inputs[0][1],
        frames=(0 if clip.excerpt is None else clip.excerpt.first, clip.frames),
        model=spec.name,
        weights=choice.weights_sha256,
        precision=str(choice.placement.precision),
        smoothing=smoothing.model_dump(),
        crop=job.subject.keep if crops(job, clip, spec) else "off",
        upsample=job.upsample,
        flow=flow_method(frames_device(spec, choice.placement)),
        segment_frames=job.segment_frames,
    )
    whole = fingerprint(
        matte=matte_fingerprint,
        job=job.relocated(lambda _: Path()).model_dump(mode="json"),
        inputs=[sha256 for _, sha256 in inputs],
        encodings=repr([output.row for output in job.outputs]),
        codecs=repr((av.__version__, av.library_versions)),  # segments of two encoders need not join
    )
    return Plan(job, runtime, clip, canvas, choice, smoothing, tuple(segments), inputs, matte_fingerprint, whole)


def _check_outputs(job: RenderJob, own: set[Path], runtime: Runtime) -> None:
    """JobError for an output that may not be written; those are let through that an earlier run of the job wrote."""
    for output in job.outputs:
        if output.path not in own:
            paths = list(job.files.values())
            check_output(output.path, paths, overwrite=runtime.overwrite, folder=output.row.is_sequence)
        if runtime.sidecar:
            check_sidecar(output.path, overwrite=runtime.overwrite)


def announce(plan: Plan) -> None:
    """Log what was settled for the user, what is odd about the clip, and what will have no effect."""
    logger.info("%s", plan.choice)
    job = plan.job
    for output in job.outputs:
        if plan.runtime.c2pa is not None and not can_carry(output.row):
            logger.warning("%s: %s has no place for a C2PA manifest, it goes without", output.path, output.encoding)
        if output.speed not in (DEFAULT_SPEED, *output.row.speeds):
            logger.warning(
                "%s: nothing comes of speed %s: %s does not have it", output.path, output.speed, output.encoding
            )
    if len(job.outputs) > 1:
        logger.info("%s", "; ".join(f"{output.path.name}: {output.what}" for output in job.outputs))
    if not job.composes and not isinstance(job.background, NoPlate):
        logger.warning("no output is a composite: nothing comes of the background")
    elif job.looks and not job.composes:
        logger.warning("a cutout has no background: nothing comes of %s", ", ".join(job.looks))
    if job.color_match is not None and isinstance(job.background, BlurPlate):
        logger.warning("the blurred background is the clip's own: nothing comes of color match")
    if plan.clip.alpha and not plan.choice.spec.is_own_alpha:
        logger.info("%s has alpha of its own: the matte is multiplied by it (own alpha: multiply)", job.clip)
    if plan.clip.delivery.is_hdr:
        _announce_hdr(plan)


def _announce_hdr(plan: Plan) -> None:
    clip, job, canvas = plan.job.clip, plan.job, plan.canvas
    kept = [output for output in job.outputs if not canvas.is_mapped(output)]
    if canvas.tone_mapped and len(kept) < len(job.outputs):
        what = "composites and what has 8 bits are tone-mapped to SDR" if kept else "it is tone-mapped to SDR"
        others = "; the other outputs stay HDR" if kept else ""
        logger.info("%s is HDR: %s, from a peak of %g cd/m²%s", clip, what, plan.clip.peak, others)
    elif not job.composes:
        logger.info("%s is HDR, and so is what comes of it: its codes and tags are kept", clip)
    else:
        logger.warning("%s is HDR: its codes are kept, without tone mapping; an SDR plate looks too bright", clip)
        if job.blend == "linear":
            logger.info("%s: edges are mixed as codes, for HDR's light is not that of an SDR plate", clip)


def _sha256_of_input(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def check_unchanged(plan: Plan) -> None:
    """SourceError where a clip or plate is no longer what it was when the render began. Quick where its time is."""
    for path, sha256 in plan.inputs:
        if _sha256_of_input(path) != sha256:
            raise SourceError(f"{path} was changed while it was rendered; run again")


@contextmanager
def kept_mattes_of(plan: Plan) -> Iterator[KeptMattes | None]:
    """What is kept of the clip's mattes; None where nothing is to be kept, or used."""
    if not _uses_kept_mattes(plan):
        yield None
        return
    about = {"clip": str(plan.job.clip.absolute()), "model": plan.job.model, "frames": plan.clip.frames}
    with open_kept_mattes(plan.matte_fingerprint, about) as kept:
        yield kept


def _uses_kept_mattes(plan: Plan) -> bool:
    """A key is quicker than any file."""
    return plan.runtime.cache and not plan.choice.spec.is_key


def _keeps_mattes(plan: Plan) -> bool:
    """What is kept is kept of every frame; at another rate the layers are not of each."""
    return _uses_kept_mattes(plan) and not plan.canvas.retimed


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


def finish(plan: Plan, work: WorkFolder, started: float) -> RenderReport:
    """Join the finished segments, verify the whole and give it its name. `started` is by `time.perf_counter`."""
    job, clip, choice = plan.job, plan.clip, plan.choice
    segments = [_written(work, segment) for segment in plan.segments]
    written = [number for numbers in segments for number in numbers]
    if not written:
        raise SourceError(f"{job.clip}: none of its {clip.promised_frames} frames can be decoded")
    check_unchanged(plan)
    wholes, proofs = zip(*(_put_together(plan, work, place) for place in range(len(job.outputs))), strict=True)
    report = RenderReport(
        outputs=tuple(
            OutputReport(output.path, output.layer, output.encoding, output.alpha, sha256_of_output(whole), verified)
            for output, whole, verified in zip(job.outputs, wholes, proofs, strict=True)
        ),
        frames=len(written),
        lost=clip.promised_frames - clip.frames + plan.canvas.hidden(written),
        seconds=time.perf_counter() - started,
        model=choice.spec.name,
        licence="unknown: weights of your own" if choice.licence is None else choice.licence.name,
        weights_sha256=choice.weights_sha256,
        matte=plan.matte_fingerprint if _keeps_mattes(plan) else None,
    )
    own = work.own(plan.output_paths)
    with writing(wholes[0]):
        work.note_report(_as_noted(report), {output.path: output.sha256 for output in report.outputs})
    for output, whole in zip(job.outputs, wholes, strict=True):
        publish(whole, output.path, overwrite=plan.runtime.overwrite or output.path in own)
    _write_sidecars(plan, report)
    return report


def _write_sidecars(plan: Plan, report: RenderReport) -> None:
    if not plan.runtime.sidecar:
        return
    making = Making(
        version=__version__,
        job=plan.job,
        inputs=plan.inputs,
        canvas=plan.canvas,
        licence=report.licence,
        weights_sha256=report.weights_sha256,
        frames=report.frames,
        lost=report.lost,
    )
    for output, made in zip(plan.job.outputs, report.outputs, strict=True):
        with writing(sidecar_of(output.path)):
            write_sidecar(output, making, made.sha256, made.verified)


def _as_noted(report: RenderReport) -> dict[str, object]:
    return asdict(report) | {"outputs": [asdict(output) | {"path": str(output.path)} for output in report.outputs]}


def _put_together(plan: Plan, work: WorkFolder, place: int) -> tuple[Path, Verified]:
    """The output of that number, whole and verified, where it waits for its name; and what was found of it."""
    output = plan.job.outputs[place]
    files = [_file_of(work, segment, plan.job, place) for segment in plan.segments]
    whole = whole_of(output.path, output.row.suffix)
    clip = plan.canvas.clip_of(output)
    join([segment for segment in files if segment.written], clip, output.row, whole)
    if plan.runtime.c2pa is not None and can_carry(output.row):
        _sign(plan, read_signing(plan.runtime.c2pa), output, whole)
    sent = [_sent(plan, work, segment, place) for segment in plan.segments]
    verified = verify(
        whole,
        clip,
        output.row,
        coding_of(output, plan.canvas),
        sent,
        alpha=output.layer == "cutout",
        is_matte=output.layer == "alpha",
        how=plan.runtime.verify,
    )
    return whole, verified


def _sign(plan: Plan, signing: Signing, output: Output, whole: Path) -> None:
    """Put a C2PA manifest into an output that is put together."""
    signed = whole.with_stem(f"{whole.stem}-signed")
    ingredients = [Ingredient(plan.job.clip, is_parent=True)]
    if output.layer == "composite" and isinstance(plan.job.background, FilePlate):
        ingredients.append(Ingredient(plan.job.background.path, is_parent=False))
    with writing(signed):
        sign(
            whole,
            signed,
            signing,
            output.row,
            output.layer,
            title=output.path.name,
            version=__version__,
            ingredients=ingredients,
        )
        signed.replace(whole)


def _suffix(job: RenderJob, place: int) -> str:
    """Of a segment's file, for the output of that number."""
    return f"{f'.{place}' if place else ''}{job.outputs[place].row.suffix}"


def _file_of(work: WorkFolder, segment: Segment, job: RenderJob, place: int) -> EncodedSegment:
    return EncodedSegment(work.segments.file(segment.number, _suffix(job, place)), _written(work, segment))


def _written(work: WorkFolder, segment: Segment) -> tuple[int, ...]:
    written = work.segments.written(segment.number)
    if written is None:
        path = work.segments.folder / f"{segment.number:06d}"
        raise EncodeError(f"{path} is gone, or was changed, since it was finished; run again")
    return written


def _sent(plan: Plan, work: WorkFolder, segment: Segment, place: int) -> SentSegment:
    """What is kept of a finished segment's codes; an earlier run may have kept them for the other way to verify."""
    number, folder = segment.number, work.segments

    def files(how: Verify) -> SentFiles:
        return SentFiles(*(folder.file(number, suffix) for suffix in _sent_suffixes(plan.job, place, how)))

    kept = next((how for how in get_args(Verify) if files(how).matte.exists()), plan.runtime.verify)
    return SentSegment(files(kept), plan.canvas.shown(segment.frames), _written(work, segment), kept)


def _sent_suffixes(job: RenderJob, place: int, how: Verify) -> tuple[str, str]:
    """Of a segment's files in which the `matte` and `luma` codes lie that the output of that number was sent."""
    return f"{_suffix(job, place)}.{how}.mkv", f"{_suffix(job, place)}.luma.mkv"


def published(plan: Plan, work: WorkFolder) -> RenderReport | None:
    """What a run of this job came to that was killed between giving the output its name and cleaning up."""
    report = work.published(plan.output_paths)
    if report is None:
        _check_outputs(plan.job, work.own(plan.output_paths), plan.runtime)
        return None
    outputs = [
        OutputReport(**{**noted, "path": Path(noted["path"]), "verified": Verified(**noted["verified"])})
        for noted in report.pop("outputs")
    ]
    published = RenderReport(outputs=tuple(outputs), **report)
    _write_sidecars(plan, published)
    return published


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
            if kept is not None and not task.recalled and _keeps_mattes(plan):
                own = kept.keep(segment, own)
            with stopwatch.step("encode"):
                written = _encode(own, plan, folder, segment)
            with writing(folder.folder):
                folder.finish(segment.number, _suffixes(plan), written)


def _suffixes(plan: Plan) -> list[str]:
    """Of all files of a segment."""
    places = range(len(plan.job.outputs))
    sent = [suffix for place in places for suffix in _sent_suffixes(plan.job, place, plan.runtime.verify)]
    return [*(_suffix(plan.job, place) for place in places), *sent]


def _encode(rendered: Iterator[RenderedBatch], plan: Plan, folder: SegmentFolder, segment: Segment) -> list[int]:
    """Write a segment's files, one for each output, and return the numbers of the frames that are in them."""

    def encoder(place: int) -> Callable[[Iterator[RenderedBatch]], list[int]]:
        output = plan.job.outputs[place]
        coding = coding_of(output, plan.canvas)
        path = folder.unfinished(segment.number, _suffix(plan.job, place))

        compared, is_matte = plan.runtime.verify, output.layer == "alpha"
        sent = SentFiles(
            *(folder.unfinished(segment.number, suffix) for suffix in _sent_suffixes(plan.job, place, compared))
        )

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
