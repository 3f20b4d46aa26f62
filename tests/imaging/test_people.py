"""Who is who: drawn discs that stand, walk by, touch and pass in front."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vmatte.imaging.people import (
    choose_subject,
    label_people,
    nearest,
    part_of_subject,
    places_between,
    without_specks,
)

HEIGHT, WIDTH = 96, 160
ONE_SHOT = np.zeros(9, np.int64)


def disc(x: float, radius: float, y: float = 48) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 < radius**2)


def alphas(*pictures: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.stack(pictures).astype(np.uint8) * 255


def walkers_x(sample: int) -> int:
    return 4 + 19 * sample


SPEAKER = disc(80, 24, 60)
PASSING = alphas(*(SPEAKER | disc(walkers_x(sample), 12, 30) for sample in range(9)))
"""Somebody smaller walks by from left to right, and touches the speaker in the samples 3 to 5."""


@pytest.mark.parametrize("keep", ["largest", "center"])
def test_the_speaker_stays_the_one_who_is_kept_while_a_second_one_walks_by(keep: str) -> None:
    labels = choose_subject(label_people(PASSING, ONE_SHOT), ONE_SHOT, keep)  # type: ignore[arg-type]
    for sample in range(9):
        walker = disc(walkers_x(sample), 12, 30)
        apart = not (SPEAKER & walker).any()
        if apart and sample not in (3, 5):
            assert np.array_equal(labels[sample] == 1, SPEAKER)
            assert np.array_equal(labels[sample] == 2, walker)
        # Where they touch each has most of the pixels that are theirs alone.
        assert (labels[sample] == 1)[SPEAKER & ~walker].mean() > 0.9
        assert (labels[sample] == 2)[walker & ~SPEAKER].mean() > 0.75


def test_who_touches_from_the_beginning_is_told_apart_by_what_comes_later() -> None:
    labels = choose_subject(label_people(PASSING[4:], ONE_SHOT[4:]), ONE_SHOT[4:], "largest")
    walker = disc(walkers_x(4), 12, 30)
    assert (labels[0] == 1)[SPEAKER & ~walker].mean() > 0.9


def test_the_largest_and_the_one_in_the_middle_may_be_two() -> None:
    pictures = alphas(*[disc(30, 25) | disc(90, 12)] * 3)
    shots = np.zeros(3, np.int64)
    found = label_people(pictures, shots)
    assert np.array_equal(choose_subject(found, shots, "largest")[1] == 1, disc(30, 25))
    assert np.array_equal(choose_subject(found, shots, "center")[1] == 1, disc(90, 12))


def test_a_hand_belongs_to_whom_it_is_near_and_each_shot_has_its_own_subject() -> None:
    first, second = disc(40, 20) | disc(66, 4) | disc(130, 15), disc(120, 30) | disc(20, 15)
    shots = np.array([0, 0, 1, 1])
    labels = choose_subject(label_people(alphas(first, first, second, second), shots), shots, "largest")
    assert np.array_equal(labels[0] == 1, disc(40, 20) | disc(66, 4))
    assert np.array_equal(labels[3] == 1, disc(120, 30))


def test_what_is_small_apart_and_rare_is_a_speck() -> None:
    lamp, child, hand = disc(150, 3, 10), disc(10, 4, 80), disc(80, 4, 26)
    masks = np.stack([SPEAKER | child | lamp, SPEAKER | child | hand, SPEAKER, SPEAKER])
    # The child is small too, but there in half of the samples; the hand is near.
    expected = np.stack([SPEAKER | child, SPEAKER | child | hand, SPEAKER, SPEAKER])
    assert np.array_equal(without_specks(masks), expected)
    assert not without_specks(np.zeros((2, 5, 5), bool)).any()


def test_nobody_is_nobody() -> None:
    empty = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    shots = np.zeros(2, np.int64)
    assert choose_subject(label_people(empty, shots), shots, "largest").max() == 0


def test_the_nearest_place_is_that_of_the_smallest_distance() -> None:
    one, other = np.zeros((1, 10), bool), np.zeros((1, 10), bool)
    one[0, 1], other[0, 8] = True, True
    assert nearest({3: one, 7: other}, (1, 10)).tolist() == [[3] * 5 + [7] * 5]


def test_between_two_samples_people_are_on_the_way() -> None:
    before, behind = (np.where(SPEAKER, 1, np.where(disc(x, 10, 20), 2, 0)).astype(np.uint8) for x in (20, 60))
    places = places_between(before, behind, 0.25)
    assert np.array_equal(places[1], SPEAKER)
    assert np.array_equal(places[2], disc(30, 10, 20))


def soft(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A mask with an edge of some pixels."""
    kernel = np.hanning(9)[1:-1] / np.hanning(9).sum()
    rows = np.apply_along_axis(np.convolve, 1, mask.astype(float), kernel, mode="same")
    return np.apply_along_axis(np.convolve, 0, rows, kernel, mode="same").astype(np.float32)


def test_the_kept_one_keeps_their_soft_edge_and_the_other_goes_with_theirs() -> None:
    places = {1: SPEAKER, 2: disc(20, 10, 20)}
    kept = part_of_subject(soft(SPEAKER | places[2]), places)
    assert kept is not None
    assert np.allclose(kept * soft(SPEAKER | places[2]), soft(SPEAKER), atol=1e-6)
    assert part_of_subject(soft(SPEAKER), places) is None
    assert part_of_subject(soft(SPEAKER), {}) is None


def test_two_who_touch_are_parted_between_their_places() -> None:
    left, right = disc(60, 20), disc(99, 20)
    kept = part_of_subject((left | right).astype(np.float32), {1: left, 2: right})
    assert kept is not None
    assert kept[left & ~right].min() == 1
    assert kept[right & ~left].max() == 0
