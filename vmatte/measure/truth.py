"""A matte against the true one: the literature's metrics, over the whole picture and inside the truth's edge band."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from vmatte.measure.metrics import Plane, Region, conn, dtssd, edge_band, grad, mad, mse


@dataclass(frozen=True, slots=True)
class FrameScores:
    """One frame's distance from the truth; lower is better.

    MAD and MSE are × 1000, dtSSD × 100, Grad and Conn sums / 1000. The first frame has no dtSSD; `boundary_…` counts
    the pixels in the truth's edge band only, and is None where the truth has no edge.
    """

    mad: float
    mse: float
    grad: float
    conn: float
    dtssd: float | None
    boundary_mad: float | None
    boundary_mse: float | None
    boundary_grad: float | None
    boundary_conn: float | None
    boundary_dtssd: float | None


@dataclass(frozen=True, slots=True)
class Scores(FrameScores):
    """A clip's distance from the truth: the means of its frames' scores, over the frames that have them."""

    frames: int


METRICS = tuple(field.name for field in fields(FrameScores))


def measure_alpha(predicted: Iterable[Plane], truth: Iterable[Plane]) -> Scores:
    """Compare two streams of alphas (H, W) float32 in [0, 1] of any length, holding two frames of each.

    Raises ValueError where sizes or lengths differ, or there is no frame.
    """
    return mean_scores(frame_scores(predicted, truth))


def frame_scores(predicted: Iterable[Plane], truth: Iterable[Plane]) -> Iterator[FrameScores]:
    """The scores of each frame."""
    before: tuple[Plane, Plane] | None = None
    for alpha, true_alpha in zip(predicted, truth, strict=True):
        if alpha.shape != true_alpha.shape:
            raise ValueError(f"a matte of {alpha.shape} cannot be compared with a truth of {true_alpha.shape}")
        yield score_frame(alpha, true_alpha, before)
        before = (alpha, true_alpha)


def score_frame(predicted: Plane, truth: Plane, before: tuple[Plane, Plane] | None) -> FrameScores:
    """One frame's scores; `before` is (predicted, truth) of the frame before, None for the first."""
    edge = edge_band(truth)
    band: Region | None = edge if edge.any() else None
    whole_grad, band_grad = grad(predicted, truth, (None, band))
    whole_conn, band_conn = conn(predicted, truth, (None, band))
    pairs = None if before is None else ((before[0], predicted), (before[1], truth))
    return FrameScores(
        mad=mad(predicted, truth),
        mse=mse(predicted, truth),
        grad=whole_grad,
        conn=whole_conn,
        dtssd=None if pairs is None else dtssd(*pairs),
        boundary_mad=None if band is None else mad(predicted, truth, band),
        boundary_mse=None if band is None else mse(predicted, truth, band),
        boundary_grad=None if band is None else band_grad,
        boundary_conn=None if band is None else band_conn,
        boundary_dtssd=None if band is None or pairs is None else dtssd(*pairs, band),
    )


def mean_scores(frames: Iterable[FrameScores]) -> Scores:
    """A clip's scores from its frames'; ValueError where there are none."""
    sums, counts, number = dict.fromkeys(METRICS, 0.0), dict.fromkeys(METRICS, 0), 0
    for frame in frames:
        number += 1
        for name in METRICS:
            value = getattr(frame, name)
            if value is not None:
                sums[name] += value
                counts[name] += 1
    if not number:
        raise ValueError("there is no frame to measure")
    means: dict[str, Any] = {name: sums[name] / counts[name] if counts[name] else None for name in METRICS}
    return Scores(**means, frames=number)
