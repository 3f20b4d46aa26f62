"""Measuring one clip's matte: every frame, the clip as a whole, and the frames to look at first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vmatte.errors import JobError, SourceError
from vmatte.measure.metrics import Plane
from vmatte.measure.read import Footage, Picture, open_mattes, open_pictures
from vmatte.measure.steadiness import METRICS as STEADINESS_METRICS
from vmatte.measure.steadiness import Follower, FrameSteadiness, Steadiness, mean_steadiness
from vmatte.measure.truth import METRICS as TRUTH_METRICS
from vmatte.measure.truth import FrameScores, Scores, mean_scores, score_frame
from vmatte.stopwatch import Stopwatch

SUSPECTS = 10
_APART = 5
"""Of suspicious frames this close together only the worst is kept: its neighbours look the same."""
_SUSPECT_WIDTH = 320

Pixels = NDArray[np.uint8]
OnFrames = Callable[[int, int, Stopwatch], None]
"""Told after each frame how many are done, of how many, and where the time goes."""


@dataclass(frozen=True, slots=True)
class FrameMeasures:
    """What was measured of one frame; `time_s` is its number over the clip's rate."""

    number: int
    time_s: float
    scores: FrameScores | None
    steadiness: FrameSteadiness | None

    @property
    def suspicion(self) -> float:
        """How much the frame wants looking at: with the truth its MAD, otherwise the sum of flicker and edge jitter, as
        far as the edge was still, and of the coverage jump, in units of 1 level, 0.1 pixel and 0.1 percent."""
        if self.scores is not None:
            return self.scores.mad
        seen = self.steadiness
        if seen is None or seen.coverage_jump is None:
            return 0.0
        part = seen.still_px / seen.band_px if seen.band_px else 0.0
        return part * ((seen.flicker or 0) + (seen.edge_jitter or 0) / 0.1) + abs(seen.coverage_jump) / 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """A frame to look at, with small pictures of it: mattes (h, w), the source and the composite (h, w, 3), uint8."""

    measures: FrameMeasures
    matte: Pixels
    matte_before: Pixels | None
    truth: Pixels | None
    source: Pixels | None


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """All that was measured of a clip."""

    predicted: Path
    truth: Path | None
    source: Path | None
    size: tuple[int, int]
    scores: Scores | None
    steadiness: Steadiness | None
    frames: list[FrameMeasures]
    suspects: list[Suspect]

    def values(self) -> Iterator[tuple[str, float | None]]:
        """Each metric's name and value for the whole clip; None where it could not be measured."""
        for record, names in ((self.scores, TRUTH_METRICS), (self.steadiness, STEADINESS_METRICS)):
            if record is not None:
                yield from ((name, getattr(record, name)) for name in names)


def metric_names(*, truth: bool, source: bool) -> tuple[str, ...]:
    """What is measured with the truth, with the source, or with both."""
    return (TRUTH_METRICS if truth else ()) + (STEADINESS_METRICS if source else ())


def measure(
    predicted: Path, truth: Path | None = None, source: Path | None = None, on_frames: OnFrames | None = None
) -> Measurement:
    """Measure a matte against the truth, against its source's picture, or both, holding two frames of each.

    `predicted` and `truth` are clips with alpha, gray clips whose brightness is alpha, or folders of such pictures.
    Raises JobError where there is nothing to measure against or the streams do not fit together, SourceError where one
    cannot be read.
    """
    if truth is None and source is None:
        raise JobError(f"{predicted}: give its true matte, or its source with --source, to measure it against")
    mattes = open_mattes(predicted)
    truths = None if truth is None else open_mattes(truth)
    pictures = None if source is None else open_pictures(source)
    for other in (truths, pictures):
        if other is not None:
            _check_fit(mattes, other)
    follower, frames, suspects, stopwatch = Follower(), list[FrameMeasures](), _Suspects(), Stopwatch()
    before: tuple[Plane, Plane] | None = None
    last: Plane | None = None
    together = _together(mattes, truths, pictures)
    for number, (alpha, true_alpha, picture) in enumerate(stopwatch.around("decode", together)):
        with stopwatch.step("truth"):
            scores = None if true_alpha is None else score_frame(alpha, true_alpha, before)
        with stopwatch.step("flicker"):
            steadiness = None if picture is None else follower.follow(alpha, picture.luma, true_alpha)
        measures = FrameMeasures(number, float(number / mattes.rate), scores, steadiness)
        frames.append(measures)
        suspects.offer(measures, alpha, last, true_alpha, picture)
        before, last = None if true_alpha is None else (alpha, true_alpha), alpha
        if on_frames is not None:
            on_frames(number + 1, mattes.frames, stopwatch)
    return Measurement(
        predicted=predicted,
        truth=truth,
        source=source,
        size=mattes.size,
        scores=mean_scores(each.scores for each in frames if each.scores) if truth else None,
        steadiness=mean_steadiness(each.steadiness for each in frames if each.steadiness) if source else None,
        frames=frames,
        suspects=suspects.worst_first(),
    )


def _check_fit(mattes: Footage[Plane], other: Footage[Plane] | Footage[Picture]) -> None:
    if mattes.frames != other.frames:
        raise JobError(
            f"{mattes.path} has {mattes.frames} frames and {other.path} has {other.frames}: "
            "they must show the same frames, one for one"
        )
    if mattes.size != other.size:
        (height, width), (other_height, other_width) = mattes.size, other.size
        raise JobError(
            f"{mattes.path} is {width}×{height} and {other.path} is {other_width}×{other_height}: "
            "they must be of one size"
        )


def _together(
    mattes: Footage[Plane], truths: Footage[Plane] | None, pictures: Footage[Picture] | None
) -> Iterator[tuple[Plane, Plane | None, Picture | None]]:
    # An endless stream of nothing would hide that one of the others ends too early.
    absent = [None] * mattes.frames
    for alpha, truth, picture in zip(mattes, truths or absent, pictures or absent, strict=True):
        planes = (alpha, truth, None if picture is None else picture.luma)
        if any(plane is not None and plane.shape != mattes.size for plane in planes):
            raise SourceError(f"{mattes.path}: a frame, or what it is compared with, is not of the clip's size")
        yield alpha, truth, picture


class _Suspects:
    """Keeps the most suspicious frames seen so far, and of each only small pictures."""

    def __init__(self) -> None:
        self._kept: list[Suspect] = []

    def offer(
        self,
        measures: FrameMeasures,
        alpha: Plane,
        before: Plane | None,
        truth: Plane | None,
        picture: Picture | None,
    ) -> None:
        suspicion = measures.suspicion
        if suspicion == 0:
            return
        near = [each for each in self._kept if measures.number - each.measures.number < _APART]
        rivals = near or (self._kept if len(self._kept) == SUSPECTS else [])
        if rivals:
            weakest = min(rivals, key=lambda each: each.measures.suspicion)
            if weakest.measures.suspicion >= suspicion:
                return
            self._kept.remove(weakest)
        height, width = alpha.shape
        size = (max(1, round(height * _SUSPECT_WIDTH / width)), _SUSPECT_WIDTH)
        self._kept.append(
            Suspect(
                measures=measures,
                matte=_small(alpha, size),
                matte_before=None if before is None else _small(before, size),
                truth=None if truth is None else _small(truth, size),
                source=None if picture is None else picture.rgb(size),
            )
        )

    def worst_first(self) -> list[Suspect]:
        return sorted(self._kept, key=lambda each: -each.measures.suspicion)


def _small(alpha: Plane, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_AREA), alpha=255))
