"""A job becomes a plan: what can be wrong with it is told, and what the user left open is settled."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import av

from vmatte.analyse import crops
from vmatte.canvas import Canvas, plan_canvas
from vmatte.clip import ClipInfo
from vmatte.content_credentials import can_carry, check_signing
from vmatte.encodings import DEFAULT_SPEED
from vmatte.errors import SourceError
from vmatte.fingerprint import fingerprint, sha256_of_file, sha256_of_program
from vmatte.imaging.motion import flow_method
from vmatte.job import (
    RenderJob,
    Runtime,
    Verify,
)
from vmatte.kept_mattes import KeptMattes, open_kept_mattes
from vmatte.masks import check_mask
from vmatte.models.choice import Choice, choose
from vmatte.models.own_alpha import check_own_alpha
from vmatte.models.placement import frames_device
from vmatte.options import BlurPlate, FilePlate, NoPlate, Screen, SmoothingMethod
from vmatte.pipeline import smoothing_for
from vmatte.plates import check_plate
from vmatte.screens import check_clean_plate
from vmatte.segments import Segment, plan_segments
from vmatte.sidecar import check_sidecar
from vmatte.video.animation import check_animation
from vmatte.video.excerpt import excerpt
from vmatte.video.probe import probe
from vmatte.video.write import check_encoder
from vmatte.workdir import already_there, check_output

logger = logging.getLogger(__name__)


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

    @property
    def keeps_mattes(self) -> bool:
        """What is kept is kept of every frame; at another rate the layers are not of each."""
        return self.uses_kept_mattes and not self.canvas.retimed

    @property
    def uses_kept_mattes(self) -> bool:
        """A key is quicker than any file."""
        return self.runtime.cache and not self.choice.spec.is_key

    def suffix(self, place: int) -> str:
        """Of a segment's file, for the output of that number."""
        return f"{f'.{place}' if place else ''}{self.job.outputs[place].row.suffix}"

    def sent_suffixes(self, place: int, how: Verify) -> tuple[str, str]:
        """Of a segment's files in which the `matte` and `luma` codes lie that the output of that number was sent."""
        return f"{self.suffix(place)}.{how}.mkv", f"{self.suffix(place)}.luma.mkv"

    @property
    def suffixes(self) -> list[str]:
        """Of all files of a segment."""
        places = range(len(self.job.outputs))
        sent = [suffix for place in places for suffix in self.sent_suffixes(place, self.runtime.verify)]
        return [*map(self.suffix, places), *sent]


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
    check_outputs(job, already_there([output.path for output in job.outputs]), runtime)
    if runtime.c2pa is not None:
        check_signing(runtime.c2pa, [output.row for output in job.outputs])
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


def check_outputs(job: RenderJob, own: set[Path], runtime: Runtime) -> None:
    """JobError for an output that may not be written; those are let through that an earlier run of the job wrote."""
    for output in job.outputs:
        if output.path not in own:
            paths = list(job.files.values())
            check_output(output.path, paths, overwrite=runtime.overwrite, folder=output.row.is_sequence)
        if runtime.sidecar:
            check_sidecar(output.path, job, runtime.c2pa, overwrite=runtime.overwrite)


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
    if not plan.uses_kept_mattes:
        yield None
        return
    about = {"clip": str(plan.job.clip.absolute()), "model": plan.job.model, "frames": plan.clip.frames}
    with open_kept_mattes(plan.matte_fingerprint, about) as kept:
        yield kept
