"""What the whole clip has to tell is found in a survey of it, where a job's options ask for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.analysis import Analysis, CropTrack, Grade, Grain, Screens, SubjectTrack
from vmatte.canvas import Canvas
from vmatte.clip import ClipInfo
from vmatte.crop import Seen, can_gain, find_crop, gain_of
from vmatte.frames import FrameBatch, MatteBatch, SubjectBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.grade import match_of
from vmatte.imaging.grain import LEVELS, grain_of
from vmatte.imaging.people import choose_subject, label_people, without_specks
from vmatte.imaging.resize import resize
from vmatte.imaging.tonemap import ToneMap, tone_mapped, tone_mapped_rgb
from vmatte.job import RenderJob
from vmatte.models.contract import ModelSpec
from vmatte.options import BlurPlate, Keep, NoPlate
from vmatte.plates import open_plate
from vmatte.screens import find_screens
from vmatte.shots import find_shots
from vmatte.stages.upload import upload
from vmatte.survey import Survey, small_size
from vmatte.video.read import decode_samples

logger = logging.getLogger(__name__)

_THERE = 26
"""Of 255: what a network, in small, gives at least where somebody may be."""
_PLATES = 4
"""At most so many moments of a plate tell its colours in a shot."""
_SAMPLES = 64
"""At most so many samples tell the subject's: mean and spread do not change with more, and each takes 2 MB."""
_GRAINS = 4
"""Frames of the clip that tell its grain."""


def crops(job: RenderJob, clip: ClipInfo, spec: ModelSpec) -> bool:
    """Whether the network may get a part of the picture, where the subject is in one."""
    return job.crop == "auto" and can_gain((clip.height, clip.width), spec.input_size)


def looks_closely(job: RenderJob) -> bool:
    """Whether the survey must see who is who, and not only where somebody is."""
    return job.subject.keep != "all"


def needs_analysis(job: RenderJob, clip: ClipInfo, spec: ModelSpec, *, recalled: bool) -> bool:
    """Whether frames of the job need what only the whole clip tells; those with `recalled` mattes run no network."""
    looks = looks_closely(job) or _matches(job) or _adds_grain(job) or job.screen is not None
    return looks or (crops(job, clip, spec) and not recalled)


def analyse(job: RenderJob, canvas: Canvas, spec: ModelSpec, survey: Callable[[Screens | None], Survey]) -> Analysis:
    """All that the job asks for; the `survey`, which may need the screens to key, is made where it is needed."""
    clip = canvas.clip
    screens = None if job.screen is None else find_screens(clip, job.screen, find_shots(clip))
    grain = _find_grain(job, canvas) if _adds_grain(job) else None
    if not (looks_closely(job) or _matches(job) or crops(job, clip, spec)):
        return Analysis(grain=grain, screens=screens)
    seen = survey(screens)
    subject = _find_subject(seen, job.subject.keep)
    crop = _find_crop(seen, subject, clip, spec) if crops(job, clip, spec) else None
    grades = _find_grades(job, canvas, seen, subject) if _matches(job) else None
    return Analysis(seen.shots, crop, subject, grades, grain, screens)


def _matches(job: RenderJob) -> bool:
    """A blurred background is the subject's own, which it matches."""
    return job.color_match is not None and not isinstance(job.background, NoPlate | BlurPlate)


def _adds_grain(job: RenderJob) -> bool:
    return job.grain is not None and not isinstance(job.background, NoPlate)


def _find_subject(survey: Survey, keep: Keep) -> SubjectTrack | None:
    if keep == "all" or not survey.numbers:
        return None
    labels = label_people(survey.alphas[:, 0], survey.shot_of)
    return SubjectTrack.of(survey.numbers, choose_subject(labels, survey.shot_of, keep))


def _find_crop(survey: Survey, subject: SubjectTrack | None, clip: ClipInfo, spec: ModelSpec) -> CropTrack | None:
    """A recurrent network remembers places in the picture, so what it sees must not move."""
    masks = without_specks(survey.alphas[:, 0] >= _THERE) if subject is None else subject.labels() == 1
    frame = clip.height, clip.width
    seen = Seen(survey.numbers, np.asarray(masks), survey.shots)
    crop = find_crop(seen, frame, spec.input_size, may_move=not spec.recurrent)
    if crop is not None:
        logger.info(
            "crop %d×%d of %d×%d%s: %s sees the subject %.1f times finer",
            crop.width,
            crop.height,
            clip.width,
            clip.height,
            ", which goes along with the subject" if crop.moves else "",
            spec.name,
            gain_of((crop.height, crop.width), frame, spec.input_size),
        )
    return crop


def _find_grades(
    job: RenderJob, canvas: Canvas, survey: Survey, subject: SubjectTrack | None
) -> tuple[Grade, ...] | None:
    """One for each shot of a survey. Without samples there is nothing to match."""
    assert job.color_match is not None
    if not survey.numbers:
        return None
    kept = None if subject is None else subject.labels() == 1
    clip, coding = canvas.clip, canvas.composite.delivery
    grades: list[Grade] = []
    with _plate_behind(job, canvas, small_size(canvas.output)) as behind:
        for shot in range(len(survey.shots)):
            those = np.flatnonzero(survey.shot_of == shot)
            if not len(those):  # shorter than the samples are apart
                grades.append(grades[-1] if grades else _UNGRADED)
                continue
            places = _spread(those, _SAMPLES)
            rgb, alpha = (torch.from_numpy(codes[places]) / 255 for codes in (survey.pictures, survey.alphas))
            if canvas.tone_mapped:
                rgb = tone_mapped_rgb(rgb, ToneMap.of(clip))
            if kept is not None:
                alpha = alpha * torch.from_numpy(kept[places])[:, None]
            planes = [behind(survey.numbers[place]) for place in _spread(those, _PLATES)]
            plate = torch.cat([ycbcr_to_rgb(luma[:1], chroma[:1], coding) for luma, chroma in planes])
            grades.append(match_of(rgb, alpha, plate, job.color_match.strength))
    return tuple(grades)


_UNGRADED = Grade((1.0, 1.0, 1.0), 0.0, (0.0, 0.0))


def _spread(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of them, evenly."""
    spread: NDArray[np.int64] = places[np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(int)]
    return spread


def _find_grain(job: RenderJob, canvas: Canvas) -> Grain:
    """What the plate lacks of the clip's grain. A blurred background has none left."""
    assert job.grain is not None
    clip, coding = canvas.clip, canvas.composite.delivery
    numbers = sorted({clip.frames * (2 * place + 1) // (2 * _GRAINS) for place in range(_GRAINS)})
    frames = upload(decode_samples(clip, numbers), clip.delivery, torch.device("cpu"))
    lumas = [_as_placed(_composite_luma(frame, canvas), canvas) for frame in frames]
    if not lumas:
        return Grain((0.0,) * LEVELS)
    grain = grain_of(torch.cat(lumas), coding)
    if not isinstance(job.background, BlurPlate):
        size = canvas.output.height, canvas.output.width
        with _plate_behind(job, canvas, size) as behind:
            plate = torch.cat([behind(number)[0][:1] for number in numbers[:: _GRAINS - 1]])
        grain = grain.beyond(grain_of(plate, coding))
    return grain.scaled(job.grain.strength)


def _composite_luma(frame: FrameBatch, canvas: Canvas) -> Tensor:
    if not canvas.tone_mapped:
        return frame.luma
    return tone_mapped(frame.luma, frame.chroma, ToneMap.of(canvas.clip))[0]


def _as_placed(luma: Tensor, canvas: Canvas) -> Tensor:
    """A frame's luma at the size at which it comes to lie: scaling takes grain away, or makes it coarser."""
    if canvas.placement is None:
        return luma
    height, width = (max(16, round(side * float(canvas.placement.scale))) for side in luma.shape[-2:])
    return resize(luma, (height, width))


@contextmanager
def _plate_behind(
    job: RenderJob, canvas: Canvas, size: tuple[int, int]
) -> Iterator[Callable[[int], tuple[Tensor, Tensor]]]:
    """What gives the plate's luma and chroma, both of this size, behind the clip's frame of a number; quick where the
    numbers rise."""
    assert not isinstance(job.background, NoPlate)
    height, width = size
    small = replace(canvas, output=replace(canvas.output, height=height, width=width))
    nobody = torch.zeros(1, 1, height, width)
    chroma = nobody.expand(-1, 2, -1, -1)
    with open_plate(job.background, small, torch.device("cpu")) as planes:

        def behind(number: int) -> tuple[Tensor, Tensor]:
            frame = FrameBatch(range(number, number + 1), nobody, chroma, canvas.clip.delivery)
            shown = min(canvas.shown(frame.index).start, canvas.output.frames - 1)
            matte, numbers = MatteBatch(frame, nobody), range(shown, shown + 1)
            coding = canvas.composite.delivery
            return planes(SubjectBatch(nobody, chroma, nobody, matte, numbers, recoded=coding))

        yield behind
