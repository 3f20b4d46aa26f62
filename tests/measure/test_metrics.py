"""The metrics against hand-worked frames, and against their definitions written out once more on top of SciPy."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from vmatte.measure.metrics import Plane, band_radius, conn, dtssd, edge_band, grad, mad, mse


@pytest.fixture(scope="module")
def ndimage() -> ModuleType:
    try:
        return importlib.import_module("scipy.ndimage")
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail("scipy is missing, and CI must have it")
        pytest.skip("scipy is missing")


def plane(*rows: list[float]) -> Plane:
    return np.array(rows, np.float32)


@pytest.fixture(scope="module")
def soft_pair(ndimage: ModuleType) -> tuple[Plane, Plane]:
    """A soft blob with islands, and the same with noise and a hole: (predicted, truth), 72×96."""
    rng = np.random.default_rng(3)
    smooth = ndimage.gaussian_filter(rng.random((72, 96)), 5)
    truth = np.clip((smooth - smooth.mean()) * 30 + 0.5, 0, 1).astype(np.float32)
    predicted = np.clip(truth + rng.normal(0, 0.12, truth.shape), 0, 1).astype(np.float32)
    predicted[30:36, 40:50] = 0.3
    return predicted, truth


def test_mad_and_mse_are_means_times_a_thousand() -> None:
    predicted, truth = plane([0.5, 0.5, 0, 1]), plane([0.25, 0.5, 0.5, 1])
    assert mad(predicted, truth) == pytest.approx(1000 * 0.75 / 4)
    assert mse(predicted, truth) == pytest.approx(1000 * (0.0625 + 0.25) / 4)


def test_a_region_leaves_all_other_pixels_out() -> None:
    predicted, truth = plane([0.5, 0.5, 0, 1]), plane([0.25, 0.5, 0.5, 1])
    region = np.array([[1, 1, 0, 0]], np.uint8)
    assert mad(predicted, truth, region) == pytest.approx(1000 * 0.25 / 2)
    assert mse(predicted, truth, region) == pytest.approx(1000 * 0.0625 / 2)


def test_dtssd_sees_a_changing_error_and_not_a_lasting_one() -> None:
    truth = (np.zeros((4, 5), np.float32), np.full((4, 5), 0.5, np.float32))
    lasting = (truth[0] + 0.25, truth[1] + 0.25)
    coming = (truth[0], truth[1] + np.float32(0.2))
    assert dtssd(lasting, truth) == pytest.approx(0, abs=1e-6)
    assert dtssd(coming, truth) == pytest.approx(20, rel=1e-6)
    half = (truth[0], truth[1].copy())
    half[1][:2] += 0.2  # half of the pixels: sqrt(0.04 / 2)
    assert dtssd(half, truth) == pytest.approx(100 * np.sqrt(0.02), rel=1e-6)


def test_grad_of_a_hard_edge_has_a_closed_form() -> None:
    # Far from its ends a step from 0 to 1 has the gradient sum_{k>d} slope(k) · sum smooth, d pixels from the edge; the
    # kernel is exp(-(i² + j²) / 2σ²) · j over its own L2 norm, on 9×9 pixels.
    offsets = np.arange(-4, 5)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.4**2)) * offsets
    kernel /= np.sqrt((kernel**2).sum())
    columns = kernel.sum(axis=0)
    profile = np.array([columns[9 - reach :].sum() for reach in range(1, 9)])
    step = np.zeros((20, 30), np.float32)
    step[:, 15:] = 1
    expected = 20 * (profile**2).sum() / 1000
    assert grad(step, np.zeros_like(step)) == [pytest.approx(expected, rel=1e-5)]


def test_grad_stretches_each_frame_to_its_own_extremes() -> None:
    truth = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (30, 1))
    assert grad(0.25 + truth / 2, truth)[0] == pytest.approx(0, abs=1e-9)


def test_grad_agrees_with_the_definition_on_scipy(ndimage: ModuleType, soft_pair: tuple[Plane, Plane]) -> None:
    offsets = np.arange(-4, 5)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.4**2)) * offsets
    kernel /= np.sqrt((kernel**2).sum())

    def magnitude(alpha: Plane) -> NDArray[np.float64]:
        normed = (alpha.astype(np.float64) - alpha.min()) / (alpha.max() - alpha.min())
        across, down = (ndimage.convolve(normed, each, mode="nearest") for each in (kernel, kernel.T))
        return np.hypot(across, down)

    squared = (magnitude(soft_pair[0]) - magnitude(soft_pair[1])) ** 2
    region = np.zeros((72, 96), np.uint8)
    region[10:40] = 1
    expected = [squared.sum() / 1000, squared[10:40].sum() / 1000]
    assert grad(*soft_pair, (None, region)) == pytest.approx(expected, rel=1e-4)


def test_conn_of_a_hand_worked_row() -> None:
    # min(p, t) = .9 .9 .5 .0 .9. At every threshold up to .5 the largest part is the left one; from .6 to .9 it is
    # the first two pixels. Levels: .9 .9 .5 0 0. What exceeds them by at least .15 counts: the last pixel's .9 and 1
    # (phi .1 and 0), the third's truth .9 (phi 1 - .4) against .5 (phi 1).
    predicted, truth = plane([0.9, 0.9, 0.5, 0.0, 0.9]), plane([0.9, 0.9, 0.9, 0.0, 1.0])
    assert conn(predicted, truth) == [pytest.approx((0.4 + 0.1) / 1000, rel=1e-5)]


def test_conn_does_not_join_pixels_over_corners() -> None:
    # Two squares that touch at a corner: the larger one is the source, the other is all error.
    truth = np.zeros((6, 6), np.float32)
    truth[:4, :4] = 1
    truth[4:, 4:] = 1
    predicted = truth.copy()
    predicted[4:, 4:] = 0.5
    # Level there is 0: phi is 1 - 1 for the truth, 1 - .5 for the prediction, on four pixels.
    assert conn(predicted, truth) == [pytest.approx(4 * 0.5 / 1000, rel=1e-6)]


def test_conn_agrees_with_the_definition_on_scipy(ndimage: ModuleType, soft_pair: tuple[Plane, Plane]) -> None:
    predicted, truth = soft_pair
    level = np.full(truth.shape, -1.0)
    for step in range(1, 11):
        labels, count = ndimage.label((predicted >= step / 10) & (truth >= step / 10))
        sizes = np.bincount(labels.ravel())[1:]
        source = labels == 1 + sizes.argmax() if count else np.zeros(truth.shape, bool)
        level[(level < 0) & ~source] = (step - 1) / 10
    level[level < 0] = 1

    def phi(alpha: Plane) -> NDArray[np.float64]:
        beyond = alpha - level
        return np.where(beyond >= 0.15, 1 - beyond, 1)

    expected = abs(phi(predicted) - phi(truth)).sum() / 1000
    assert conn(predicted, truth) == [pytest.approx(expected, rel=1e-5)]


def test_the_same_matte_has_no_error(soft_pair: tuple[Plane, Plane]) -> None:
    truth = soft_pair[1]
    assert (mad(truth, truth), mse(truth, truth), *grad(truth, truth), *conn(truth, truth)) == (0, 0, 0, 0)


@pytest.mark.parametrize(("height", "radius"), [(40, 1), (360, 4), (1080, 11), (2160, 22)])
def test_the_edge_band_reaches_a_hundredth_of_the_height(height: int, radius: int) -> None:
    assert band_radius(height) == radius
    alpha = np.zeros((height, 80), np.float32)
    alpha[:, 40:] = 1  # a hard edge: columns 39 and 40 differ
    band = edge_band(alpha)
    assert band.all(axis=0).nonzero()[0].tolist() == list(range(39 - radius, 41 + radius))
    assert band.sum() == height * (2 + 2 * radius)


def test_soft_pixels_are_edge_and_a_codecs_dust_is_not() -> None:
    alpha = np.zeros((50, 50), np.float32)
    alpha[10, 10], alpha[40, 40] = 0.3, 0.01
    band = edge_band(alpha)
    assert np.argwhere(band).tolist() == [[y, x] for y in (9, 10, 11) for x in (9, 10, 11)]
