"""Streams of mattes against streams of truths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from vmatte.measure import frame_scores, measure_alpha
from vmatte.measure.metrics import Plane


def flat(value: float) -> Plane:
    return np.full((8, 10), value, np.float32)


def test_a_clips_scores_are_the_means_of_its_frames() -> None:
    truth = [flat(0), flat(0), flat(0)]
    predicted = [flat(0.1), flat(0.2), flat(0.6)]
    scores = measure_alpha(predicted, truth)
    assert scores.frames == 3
    assert scores.mad == pytest.approx(1000 * 0.9 / 3, rel=1e-5)
    assert scores.mse == pytest.approx(1000 * (0.01 + 0.04 + 0.36) / 3, rel=1e-5)
    assert scores.dtssd == pytest.approx(100 * (0.1 + 0.4) / 2, rel=1e-5)


def test_one_frame_has_no_dtssd_and_a_truth_without_edge_no_boundary() -> None:
    scores = measure_alpha([flat(0.5)], [flat(0)])
    assert scores.dtssd is None
    assert (scores.boundary_mad, scores.boundary_grad, scores.boundary_dtssd) == (None, None, None)


def test_boundary_scores_count_the_band_alone() -> None:
    truth = np.zeros((40, 80), np.float32)
    truth[:, 40:] = 1
    predicted = truth.copy()
    predicted[:, :10] = 0.5  # far from the edge
    predicted[:, 39] = 0.5  # one of the band's four columns, 38 to 41
    scores = measure_alpha([truth, predicted], [truth, truth])
    assert scores.boundary_mad == pytest.approx(1000 * 0.5 / 4 / 2)
    assert scores.boundary_mse == pytest.approx(1000 * 0.25 / 4 / 2)
    assert scores.boundary_dtssd == pytest.approx(100 * np.sqrt(0.25 / 4))
    assert scores.mad == pytest.approx(1000 * 0.5 * 11 / 80 / 2)


def test_two_frames_of_a_stream_are_held_and_no_more() -> None:
    made = 0

    def endless() -> Iterator[Plane]:
        nonlocal made
        while True:
            made += 1
            yield flat(0)

    scores = frame_scores(endless(), endless())
    next(scores), next(scores)
    assert made == 4


def test_streams_must_fit_together() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        measure_alpha([flat(0)], [flat(0), flat(0)])
    with pytest.raises(ValueError, match="cannot be compared"):
        measure_alpha([flat(0)], [np.zeros((3, 3), np.float32)])
    with pytest.raises(ValueError, match="no frame"):
        measure_alpha([], [])
