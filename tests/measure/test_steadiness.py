"""Flicker, edge jitter and coverage jumps of mattes whose changes are known."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from vmatte.measure import FrameSteadiness, flicker, frame_steadiness
from vmatte.measure.metrics import Plane

HEIGHT, WIDTH = 120, 200
EDGE = 100


def texture(seed: int, width: int = WIDTH) -> Plane:
    """A picture with detail everywhere, in [0, 1]."""
    noise = np.random.default_rng(seed).random((HEIGHT, width)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 4))
    return np.asarray(np.clip((smooth - smooth.mean()) * 5 + 0.5, 0, 1), np.float32)


def matte(edge: int = EDGE, width: int = WIDTH) -> Plane:
    """1 from column `edge` on."""
    alpha = np.zeros((HEIGHT, width), np.float32)
    alpha[:, edge:] = 1
    return alpha


def measured(mattes: Sequence[Plane], pictures: Sequence[Plane]) -> list[FrameSteadiness]:
    return list(frame_steadiness(mattes, pictures))


def test_flicker_is_the_change_in_the_band_in_levels() -> None:
    dimmed = matte() * np.float32(1 - 4 / 255)
    frames = measured([matte(), matte(), matte(), matte(), dimmed, dimmed], [texture(0)] * 6)
    # The band, one pixel beyond the two edge columns: columns 98 to 101, of which two lost four levels.
    assert frames[4].flicker == pytest.approx(4 * 2 / 4, rel=1e-4)
    assert frames[3].flicker == frames[5].flicker == 0
    assert frames[4].still_px == frames[4].band_px == 4 * HEIGHT


def test_flicker_counts_from_the_third_unchanged_frame_on() -> None:
    frames = measured([matte()] * 6, [texture(1), *[texture(0)] * 5])
    assert frames[1].cut
    assert [frame.flicker for frame in frames] == [None, None, None, None, 0, 0]


def test_a_clips_flicker_is_the_mean_over_all_still_edge_pixels() -> None:
    dimmed = matte() * np.float32(1 - 4 / 255)
    whole = flicker([matte()] * 4 + [dimmed] * 2, [texture(0)] * 6)
    assert whole.frames == 6
    assert whole.flicker == pytest.approx(2 / 3, rel=1e-4)  # three frames were measured, one of them at 2
    assert whole.cuts == 0


@pytest.mark.parametrize("way", [1, 2, 5])
def test_edge_jitter_is_the_way_of_the_outline_in_pixels(way: int) -> None:
    tall = [np.kron(alpha, np.ones((4, 4), np.float32)) for alpha in (matte(), matte())]
    tall[1][:, 4 * EDGE - way : 4 * EDGE] = 1
    picture = np.asarray(cv2.resize(texture(0), (4 * WIDTH, 4 * HEIGHT)))
    frames = measured([tall[0]] * 4 + [tall[1]], [picture] * 5)
    assert frames[3].edge_jitter == 0
    assert frames[4].edge_jitter == pytest.approx(way, rel=0.02)


def test_a_slanting_outline_moves_by_its_distance_and_not_by_its_steps() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slant = [(x - y > shift).astype(np.float32) for shift in (30, 32)]  # two columns are √2 pixels across the edge
    frames = measured([slant[0]] * 4 + [slant[1]], [texture(0)] * 5)
    assert frames[4].edge_jitter == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_matte_that_goes_with_a_panning_camera_does_not_flicker() -> None:
    wide = texture(0, WIDTH + 60)
    alpha = np.asarray(cv2.GaussianBlur(matte(EDGE + 30, WIDTH + 60), (0, 0), 3))
    pictures = [wide[:, 3 * k : 3 * k + WIDTH].copy() for k in range(12)]
    going_along = [alpha[:, 3 * k : 3 * k + WIDTH].copy() for k in range(12)]
    whole = flicker(going_along, pictures)
    assert whole.still > 50
    assert whole.flicker is not None
    assert whole.flicker < 2
    left_behind = flicker([alpha[:, :WIDTH].copy()] * 12, pictures)
    assert left_behind.flicker is not None
    assert left_behind.flicker > 20  # three pixels of a slope of 255 / (3 √2π) levels a pixel at its steepest


def test_what_moves_before_its_background_is_not_counted_nor_what_it_has_just_left() -> None:
    def shown(left: int) -> tuple[Plane, Plane]:
        picture, alpha = texture(0).copy(), np.zeros((HEIGHT, WIDTH), np.float32)
        picture[40:80, left : left + 30] = texture(5)[40:80, :30] * 0.3
        alpha[40:80, left : left + 30] = 1
        return picture, alpha

    places = [20, 30, 40, 50, 60, 60, 60, 60, 60]
    frames = measured([shown(left)[1] for left in places], [shown(left)[0] for left in places])
    assert all((frame.flicker or 0) < 0.01 for frame in frames)
    assert frames[5].flicker is frames[6].flicker is None
    assert frames[7].flicker == frames[8].flicker == 0


def test_with_a_truth_only_what_the_truth_leaves_alone_is_counted() -> None:
    moving = [matte(), matte(), matte(), matte(), matte(EDGE - 1), *[matte(EDGE - 1)] * 3]
    pictures = [texture(0)] * 8
    assert flicker(moving, pictures).flicker != 0
    frames = list(frame_steadiness(moving, pictures, moving))
    assert [frame.flicker for frame in frames[3:]] == [0, 0, 0, 0, 0]
    assert [frame.still_px // HEIGHT for frame in frames[3:]] == [
        4,
        4,
        3,
        3,
        4,
    ]  # columns, without the one that changed
    assert [frame.band_px // HEIGHT for frame in frames[3:]] == [4, 5, 4, 4, 4]


def test_coverage_jumps_by_what_alpha_gained() -> None:
    frames = measured([matte(), matte(), matte(EDGE - 20)], [texture(0)] * 3)
    assert [frame.coverage for frame in frames] == pytest.approx([50, 50, 60])
    assert frames[0].coverage_jump is None
    assert frames[1].coverage_jump == 0
    assert frames[2].coverage_jump == pytest.approx(10)
    assert flicker([matte(), matte(EDGE - 20), matte()], [texture(0)] * 3).coverage_jump == pytest.approx(10)


def test_a_shot_change_is_no_flicker() -> None:
    mattes = [matte()] * 4 + [matte(40)] * 4
    frames = measured(mattes, [texture(0)] * 4 + [texture(1)] * 4)
    assert [frame.cut for frame in frames] == [False] * 4 + [True] + [False] * 3
    assert (frames[4].flicker, frames[4].coverage_jump) == (None, None)
    whole = flicker(mattes, [texture(0)] * 4 + [texture(1)] * 4)
    assert (whole.flicker, whole.coverage_jump, whole.cuts) == (0, 0, 1)


def test_a_picture_that_grows_brighter_is_no_shot_change() -> None:
    pictures = [texture(0) * np.float32(0.5 + 0.04 * k) for k in range(6)]
    assert not any(frame.cut for frame in measured([matte()] * 6, pictures))


def test_a_picture_without_any_contrast_is_no_shot_change() -> None:
    flat = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    assert not any(frame.cut for frame in measured([matte()] * 3, [flat, flat, flat * 1.2]))


def test_streams_must_fit_together_and_hold_a_frame() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        flicker([matte()], [texture(0)] * 2)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        flicker([matte()] * 2, [texture(0)] * 2, [matte()])
    with pytest.raises(ValueError, match="one size"):
        flicker([matte()], [texture(0, 50)])
    with pytest.raises(ValueError, match="no frame"):
        flicker([], [])
    one = flicker([matte()], [texture(0)])
    assert (one.flicker, one.edge_jitter, one.coverage_jump, one.frames) == (None, None, None, 1)
