"""Finished segments become files: joined, signed, verified, given their names, each with its sidecar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from vmatte.content_credentials import Ingredient, Signing, can_carry, read_signing, sign
from vmatte.errors import EncodeError, SourceError
from vmatte.fingerprint import sha256_of_output
from vmatte.job import Verify
from vmatte.options import FilePlate
from vmatte.outputs import Output
from vmatte.pipeline import coding_of
from vmatte.planning import Plan, check_outputs, check_unchanged
from vmatte.segments import Segment
from vmatte.sidecar import Making, remove_sidecar, sidecar_of, write_sidecar
from vmatte.video.join import EncodedSegment, join
from vmatte.video.sent import SentFiles, SentSegment
from vmatte.video.verify import Verified, verify
from vmatte.video.write import writing
from vmatte.workdir import WorkFolder, publish, whole_of


@dataclass(frozen=True, slots=True)
class OutputReport:
    """A file, or folder of pictures, that is there."""

    path: Path
    layer: str
    encoding: str
    alpha: str | None
    """`straight` or `premultiplied`, of a cutout; None for a layer without alpha."""
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
            OutputReport(
                output.path, output.layer, output.encoding, output.alpha_form, sha256_of_output(whole), verified
            )
            for output, whole, verified in zip(job.outputs, wholes, proofs, strict=True)
        ),
        frames=len(written),
        lost=clip.promised_frames - clip.frames + plan.canvas.hidden(written),
        seconds=time.perf_counter() - started,
        model=choice.spec.name,
        licence="unknown: weights of your own" if choice.licence is None else choice.licence.name,
        weights_sha256=choice.weights_sha256,
        matte=plan.matte_fingerprint if plan.keeps_mattes else None,
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
        for output in plan.job.outputs:
            with writing(sidecar_of(output.path)):
                remove_sidecar(output.path)  # of an older output, which this one has replaced
        return
    making = Making(
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
    files = [_file_of(work, segment, plan, place) for segment in plan.segments]
    whole = whole_of(output.path, output.row.suffix)
    clip = plan.canvas.clip_of(output)
    with _told_by_name(whole, output.path):
        join([segment for segment in files if segment.written], clip, output.row, whole)
        if plan.runtime.c2pa is not None and can_carry(output.row):
            _sign(plan, read_signing(plan.runtime.c2pa), output, whole)  # read again: a key is kept nowhere
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


@contextmanager
def _told_by_name(whole: Path, output: Path) -> Iterator[None]:
    """Errors name the output as the user did, not where it lies until it is whole."""
    try:
        yield
    except EncodeError as error:
        raise EncodeError(str(error).replace(str(whole), str(output))) from error


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
            ingredients=ingredients,
        )
        signed.replace(whole)


def _file_of(work: WorkFolder, segment: Segment, plan: Plan, place: int) -> EncodedSegment:
    return EncodedSegment(work.segments.file(segment.number, plan.suffix(place)), _written(work, segment))


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
        return SentFiles(*(folder.file(number, suffix) for suffix in plan.sent_suffixes(place, how)))

    kept = next((how for how in get_args(Verify) if files(how).matte.exists()), plan.runtime.verify)
    return SentSegment(files(kept), plan.canvas.shown(segment.frames), _written(work, segment), kept)


def published(plan: Plan, work: WorkFolder) -> RenderReport | None:
    """What a run of this job came to that was killed between giving the output its name and cleaning up."""
    report = work.published(plan.output_paths)
    if report is None:
        check_outputs(plan.job, work.own(plan.output_paths), plan.runtime)
        return None
    outputs = [
        OutputReport(**{**noted, "path": Path(noted["path"]), "verified": Verified(**noted["verified"])})
        for noted in report.pop("outputs")
    ]
    published = RenderReport(outputs=tuple(outputs), **report)
    _write_sidecars(plan, published)
    return published
