"""The chain of stages; the only file that knows their order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import torch

from vmatte.analysis import Analysis
from vmatte.canvas import Canvas
from vmatte.clip import ClipInfo, Coding
from vmatte.frames import FrameBatch, KeptMatte, LayerBatch, MatteBatch, RenderedBatch, SubjectBatch
from vmatte.imaging.tonemap import ToneMap
from vmatte.job import RenderJob
from vmatte.masks import open_masks
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.options import (
    DEFAULT_UPSAMPLING,
    MotionSmoothing,
    NoPlate,
    NoSmoothing,
    SmoothingMethod,
    Upsampling,
)
from vmatte.outputs import Output
from vmatte.plates import open_plate
from vmatte.prefetch import prefetch
from vmatte.segments import Segment
from vmatte.stages.branch import Shared, in_step
from vmatte.stages.compose import (
    Look,
    PlatePlanes,
    colors_alone,
    compose,
    cut_out,
    matte_alone,
)
from vmatte.stages.despill import despill
from vmatte.stages.download import download
from vmatte.stages.foreground import foreground
from vmatte.stages.hold import hold
from vmatte.stages.key import ScreenKey, key_edges, matte_by_key
from vmatte.stages.matte import matte
from vmatte.stages.multiply import multiply
from vmatte.stages.own_alpha import matte_by_own_alpha
from vmatte.stages.place import place
from vmatte.stages.recall import recall
from vmatte.stages.recode import recode, with_chroma_for
from vmatte.stages.retime import retime
from vmatte.stages.settle import settle
from vmatte.stages.shape import shape
from vmatte.stages.smooth import smooth
from vmatte.stages.tonemap import tonemapped
from vmatte.stages.trim import trim
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.layer_coding import coding_for
from vmatte.video.read import decode

DEPTH = 2  # batches that may wait between two threads
NOTHING_KNOWN = Analysis()


def smoothing_for(wanted: SmoothingMethod | None, spec: ModelSpec) -> SmoothingMethod:
    """What a job's smoothing means for a model: `motion` for a network unless it says otherwise; a key is steady."""
    if wanted is not None:
        return wanted
    return NoSmoothing() if spec.is_key else MotionSmoothing()


def mattes(
    clip: ClipInfo,
    segments: Sequence[Segment],
    model: MattingModel | ScreenKey,
    smoothing: SmoothingMethod,
    batch: int,
    stopwatch: Stopwatch,
    analysis: Analysis = NOTHING_KNOWN,
    upsampling: Upsampling = DEFAULT_UPSAMPLING,
) -> Generator[MatteBatch, None, None]:
    """Decode, upload, matte and smooth the frames of segments that follow each other; decoding runs on its own thread.

    `batch` of them go through the network at once.
    """
    read = range(segments[0].read.start, segments[-1].read.stop)
    with _uploaded(clip, read, model.device, batch, stopwatch) as uploaded:
        matted: Iterator[MatteBatch]
        if isinstance(model, ScreenKey):
            matted = stopwatch.around("key", matte_by_key(uploaded, model))
        elif model.spec.is_own_alpha:
            matted = matte_by_own_alpha(uploaded)
        else:
            matted = matte(uploaded, model, batch, stopwatch, analysis.crop, upsampling)
        if not isinstance(smoothing, NoSmoothing):
            matted = stopwatch.around("smooth", smooth(matted, smoothing))
        yield from trim(matted, segments)


def settled_mattes(
    clip: ClipInfo,
    segments: Sequence[Segment],
    model: MattingModel | ScreenKey,
    smoothing: SmoothingMethod,
    batch: int,
    stopwatch: Stopwatch,
    analysis: Analysis = NOTHING_KNOWN,
    upsampling: Upsampling = DEFAULT_UPSAMPLING,
) -> Generator[MatteBatch, None, None]:
    """The same, rounded to what can be kept of them; those of a key, which nobody keeps, as they are."""
    made = mattes(clip, segments, model, smoothing, batch, stopwatch, analysis, upsampling)
    with closing(made):
        yield from made if model.spec.is_key else stopwatch.around("settle", settle(made))


def kept_mattes(
    clip: ClipInfo,
    segments: Sequence[Segment],
    kept: Iterator[KeptMatte],
    device: torch.device,
    stopwatch: Stopwatch,
) -> Generator[MatteBatch, None, None]:
    """The frames of segments that follow each other, with mattes that were kept of them."""
    read = range(segments[0].frames.start, segments[-1].frames.stop)
    ahead = prefetch(stopwatch.around("recall", kept), DEPTH)
    with closing(ahead), _uploaded(clip, read, device, 1, stopwatch) as uploaded:
        yield from recall(uploaded, ahead)


@contextmanager
def _uploaded(
    clip: ClipInfo, read: range, device: torch.device, batch: int, stopwatch: Stopwatch
) -> Iterator[Iterator[FrameBatch]]:
    decoded = prefetch(stopwatch.around("decode", decode(clip, read, batch)), DEPTH)
    with closing(decoded):
        yield stopwatch.around("upload", upload(stopwatch.around("waiting", decoded), clip.delivery, device))


@contextmanager
def layers(
    job: RenderJob,
    canvas: Canvas,
    matted: Generator[MatteBatch, None, None],
    device: torch.device,
    stopwatch: Stopwatch,
    analysis: Analysis = NOTHING_KNOWN,
    screen: ScreenKey | None = None,
) -> Iterator[Iterator[RenderedBatch]]:
    """What is encoded of the frames and their mattes, a layer for each of the job's outputs; made on a thread of its
    own, which the context ends.

    Before a `screen` the key makes the edge of a network's matte, and the screen's light is taken off.
    """
    edged: Iterator[MatteBatch] = matted
    if analysis.subject is not None:
        edged = stopwatch.around("hold", hold(edged, analysis.subject, analysis.shots))
    if screen is not None and job.model != screen.spec.name:
        edged = stopwatch.around("key", key_edges(edged, screen))
    with ExitStack() as stack:
        masks = stack.enter_context(open_masks(job, canvas.clip, device))
        shaped = stopwatch.around("shape", shape(edged, job.edges, masks))
        subjects: Iterator[SubjectBatch] = stopwatch.around("foreground", foreground(shaped, job.foreground))
        if screen is not None and job.screen is not None and job.screen.despill:
            subjects = stopwatch.around("despill", despill(subjects, screen.screens.hue, job.screen.despill))
        subjects = multiply(subjects)
        if canvas.placement is not None:
            subjects = stopwatch.around("place", place(subjects, canvas.placement))
        if canvas.retimed:
            subjects = retime(subjects, canvas.shows)
        behind = None
        if job.composes and not isinstance(job.background, NoPlate):
            behind = stack.enter_context(open_plate(job.background, canvas, device)), _look(job, canvas, analysis)
        made = _branched(subjects, job, canvas, behind)
        rendered = prefetch(download(stopwatch.around("compose", made)), DEPTH)
        with closing(matted), closing(rendered):
            yield stopwatch.around("waiting", rendered)


def _look(job: RenderJob, canvas: Canvas, analysis: Analysis) -> Look:
    grade_of = None if analysis.grades is None else analysis.grade
    scale = None if canvas.placement is None else float(canvas.placement.scale)
    return Look(job.blend, job.light_wrap, job.shadow, scale, grade_of, analysis.grain)


def coding_of(output: Output, canvas: Canvas) -> Coding:
    """The coding in which an output's encoder takes its layer."""
    return coding_for(output.row, output.layer, canvas.clip_of(output).delivery, output.alpha)


Behind = tuple[PlatePlanes, Look]
"""The plate, and how the subject comes to belong to it."""


def _branched(
    subjects: Iterable[SubjectBatch], job: RenderJob, canvas: Canvas, behind: Behind | None
) -> Iterator[RenderedBatch]:
    """The subjects as the layer of each output, in the coding that its encoder takes. What several outputs share, the
    subject as SDR or a layer, is made once."""
    whole = Shared(subjects)

    def layer_of(output: Output) -> Iterator[LayerBatch]:
        row, coding = output.row, coding_of(output, canvas)
        if output.layer == "alpha":
            return whole.made(("alpha", coding), partial(matte_alone, coding=coding)).read()
        shown, made = whole, canvas.clip_of(output).delivery
        if canvas.is_mapped(output):
            shown = whole.made("SDR", partial(map, partial(tonemapped, tone=ToneMap.of(canvas.clip))))
        as_it_is = coding == made and output.alpha == "straight"
        bits = row.alpha_bits if as_it_is else 16
        layers = shown.made((output.layer, bits), _colors_maker(output, behind, bits)).read()
        if not as_it_is:
            layers = recode(layers, made, coding, row, output.alpha)
        steps = row.chroma_steps(output.layer)
        return layers if steps is None else with_chroma_for(layers, steps, coding.bits)

    return in_step(whole.read(), [layer_of(output) for output in job.outputs])


def _colors_maker(
    output: Output, behind: Behind | None, alpha_bits: int
) -> Callable[[Iterable[SubjectBatch]], Iterator[LayerBatch]]:
    """What makes a layer in colour, in the subjects' coding."""
    match output.layer:
        case "cutout":
            return partial(cut_out, alpha_bits=alpha_bits)
        case "foreground":
            return colors_alone
        case _:
            assert behind is not None
            return partial(compose, plate=behind[0], look=behind[1])
