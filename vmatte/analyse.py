"""What the whole clip has to tell is found in a survey of it, where a job's options ask for it."""

from __future__ import annotations

import logging

import numpy as np

from vmatte.analysis import Analysis, CropTrack, SubjectTrack
from vmatte.clip import ClipInfo
from vmatte.crop import Seen, can_gain, find_crop, gain_of
from vmatte.imaging.people import choose_subject, label_people, without_specks
from vmatte.job import RenderJob
from vmatte.models.contract import ModelSpec
from vmatte.options import Keep
from vmatte.survey import Survey

logger = logging.getLogger(__name__)

_THERE = 26
"""Of 255: what a network, in small, gives at least where somebody may be."""


def crops(job: RenderJob, clip: ClipInfo, spec: ModelSpec) -> bool:
    """Whether the network may get a part of the picture, where the subject is in one."""
    return job.crop == "auto" and can_gain((clip.height, clip.width), spec.input_size)


def looks_closely(job: RenderJob) -> bool:
    """Whether the survey must see who is who, and not only where somebody is."""
    return job.subject.keep != "all"


def needs_analysis(job: RenderJob, clip: ClipInfo, spec: ModelSpec, *, recalled: bool) -> bool:
    """Whether frames of the job need what only the whole clip tells; those with `recalled` mattes run no network."""
    return looks_closely(job) or (crops(job, clip, spec) and not recalled)


def analyse(job: RenderJob, clip: ClipInfo, spec: ModelSpec, survey: Survey) -> Analysis:
    """All that the job asks for."""
    subject = _find_subject(survey, job.subject.keep)
    crop = _find_crop(survey, subject, clip, spec) if crops(job, clip, spec) else None
    return Analysis(survey.shots, crop, subject)


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
