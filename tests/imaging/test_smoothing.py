"""Mattes that are brought to one frame become one: means, medians, and what counts how much."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.imaging.motion import find_flow, warp
from vmatte.imaging.smoothing import agree, along, mismatch, standing, trimmed_mean, unsteadiness


def stacked(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# The mean


@pytest.mark.parametrize("shape", [(5, 40), (9, 1, 6, 7)])
def test_without_a_trim_it_is_the_weighted_mean(shape: tuple[int, ...]) -> None:
    values, weights = some(*shape), some(*shape, seed=1) + 0.1
    expected = np.average(values.numpy(), axis=0, weights=weights.numpy())
    found = trimmed_mean(values, weights, 0)
    assert found.shape == shape[1:]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 40), (9, 1, 6, 7)])
def test_with_nearly_half_trimmed_it_is_the_weighted_median(shape: tuple[int, ...]) -> None:
    values, weights = some(*shape), some(*shape, seed=1) + 0.1
    columns = zip(values.flatten(1).T.tolist(), weights.flatten(1).T.tolist(), strict=True)
    expected = []
    for column, shares in columns:
        passed = 0.0
        for value, share in sorted(zip(column, shares, strict=True)):
            passed += share
            if passed >= sum(shares) / 2:
                expected.append(value)
                break
    assert trimmed_mean(values, weights, 0.4999).flatten().tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("values", "weights", "trim", "mean"),
    [
        ((3, 1, 2), (1, 1, 1), 1 / 3, 2),
        # Of 4, one at either end goes: the 0 and the 10.
        ((0, 2, 4, 10), (1, 1, 1, 1), 0.25, 3),
        # Of 4, half of one at either end goes: (½·0 + 2 + 4 + ½·10) / 3.
        ((10, 0, 4, 2), (1, 1, 1, 1), 0.125, 11 / 3),
        # Of 8, two at either end go: 1 and half of the 3 remain of the middle, (1·2 + 3·4) / 4.
        ((2, 4, 9), (3, 3, 2), 0.25, 14 / 4),
        # What weighs nothing does not count.
        ((7, 0, 1), (1, 0, 0), 0.2, 7),
    ],
)
def test_a_trimmed_mean_worked_by_hand(
    values: tuple[float, ...], weights: tuple[float, ...], trim: float, mean: float
) -> None:
    assert float(trimmed_mean(stacked(*values), stacked(*weights), trim)) == pytest.approx(mean)


def test_of_equal_weights_it_is_the_mean_of_the_middle_ones() -> None:
    values = some(10, 30)
    expected = np.sort(values.numpy(), axis=0)[2:8].mean(axis=0)
    np.testing.assert_allclose(trimmed_mean(values, torch.ones(10, 30), 0.2).numpy(), expected, rtol=1e-5)


# The agreement


def test_where_all_agree_but_for_rounding_a_frame_keeps_its_own_bits() -> None:
    own = some(1, 1, 6, 8)
    near = (own + (some(4, 1, 6, 8, seed=1) - 0.5) * 2 * 0.2 / 255).clamp(0, 1)
    assert torch.equal(agree(torch.cat([own, near]), torch.ones(4, 1, 3, 4), own_weight=1), own)


def test_what_one_says_against_many_counts_for_nothing() -> None:
    mattes = torch.ones(5, 1, 4, 6)
    mattes[0, 0, :2] = 0
    mattes[3, 0, 2:] = 0
    assert torch.equal(agree(mattes, torch.ones(4, 1, 2, 3), own_weight=1), torch.ones(1, 1, 4, 6))


def test_neighbours_without_weight_leave_a_frame_its_own() -> None:
    own, others = some(1, 1, 5, 7), some(4, 1, 5, 7, seed=1)
    torch.testing.assert_close(agree(torch.cat([own, others]), torch.zeros(4, 1, 3, 4), 1), own)


def test_a_neighbours_weight_holds_for_the_four_pixels_that_it_lies_on() -> None:
    """Mattes of 0 and 1, both certain, weigh 0.5 and `fine`: of all weight the middle 0.3 counts, from 0.35 to 0.65."""
    mattes = torch.cat([torch.zeros(1, 1, 5, 7), torch.ones(1, 1, 5, 7)])
    weights = some(1, 1, 3, 4)
    fine = np.kron(weights[0, 0].numpy(), np.ones((2, 2)))[:5, :7]
    share = 0.5 / (0.5 + fine)  # of the zeros, which come first
    found = agree(mattes, weights, own_weight=0.5)[0, 0].numpy()
    np.testing.assert_allclose(found, (0.65 - share.clip(0.35, 0.65)) / 0.3, atol=1e-5)


def test_who_is_certain_counts_for_up_to_twice_as_much() -> None:
    # 0.5 is torn (its weight stays 1), 1 is certain (0.5 becomes 1): they meet in the middle.
    mattes = torch.cat([torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)])
    found = agree(mattes, torch.full((1, 1, 1, 1), 0.5), own_weight=1)
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 0.75))


# The evidence


def shift(x: float, y: float, height: int = 60, width: int = 80) -> Tensor:
    return torch.tensor([float(x), float(y)])[None, :, None, None].expand(1, 2, height, width).contiguous()


def test_flows_there_and_back_that_undo_each_other_are_steady() -> None:
    assert float(unsteadiness(shift(5, -3), shift(-5, 3)).max()) < 1e-6


def test_unsteadiness_is_the_squared_distance_from_where_one_began() -> None:
    torch.testing.assert_close(unsteadiness(shift(5, -3), shift(-2, -1)), torch.full((1, 1, 60, 80), 25.0))


def test_what_an_object_hides_is_unsteady() -> None:
    """A textured square goes 16 px to the right over a textured ground: what it will cover has nowhere to go."""
    noise = np.random.default_rng(0).normal(size=(2, 160, 320))
    ground, patch = (
        (128 + 45 * plane / plane.std()).clip(0, 255).astype(np.uint8)
        for plane in (cv2.GaussianBlur(plane, (0, 0), 4) for plane in noise)
    )
    frames = []
    for left in (80, 96):
        frame = ground.copy()
        frame[48:112, left : left + 64] = patch[48:112, :64]
        frames.append(torch.from_numpy(frame)[None, None])
    there, back = find_flow(*frames), find_flow(*frames[::-1])
    unsteady = unsteadiness(there, back)[0, 0]
    hidden, ground_far_off, square = unsteady[52:108, 144:160], unsteady[:, :40], unsteady[60:100, 92:132]
    assert float(hidden.median()) > 4
    assert float(ground_far_off.max()) < 0.1
    assert float(square.median()) < 0.1


def test_a_picture_mismatches_by_the_mean_difference_of_its_colours() -> None:
    picture = 255 * some(1, 3, 60, 80)
    neighbour = torch.roll(picture, shifts=(2, 4), dims=(2, 3))
    neighbour[:, 0] += 9
    found = mismatch(picture, warp(neighbour, shift(4, 2)))
    torch.testing.assert_close(found[..., 6:-6, 6:-6], torch.full((1, 1, 48, 68), 3.0), atol=1e-3, rtol=0)


def test_a_flow_that_wanders_and_fits_no_better_has_found_nothing() -> None:
    flow = torch.cat([shift(3, -2, 1, 1), shift(3, -2, 1, 1), shift(3, -3, 1, 1)], dim=3)
    in_place, moved = (torch.tensor(levels).view(1, 1, 1, 3) for levels in ([4.9, 5.1, 4.9], [3.0, 3.0, 3.0]))
    assert standing(flow, in_place, moved).flatten().tolist() == [True, False, False]


def test_a_matte_comes_along_a_flow_of_half_its_size() -> None:
    alpha = cv2.GaussianBlur(some(60, 80).numpy(), (0, 0), 3)
    alpha = torch.from_numpy((alpha - alpha.min()) / (alpha.max() - alpha.min()))[None, None]
    neighbour = torch.roll(alpha, shifts=(-4, 6), dims=(2, 3))
    found = along(neighbour, shift(3, -2, 30, 40))
    torch.testing.assert_close(found[..., 8:-8, 8:-8], alpha[..., 8:-8, 8:-8], atol=1e-4, rtol=0)


def test_what_moves_by_a_part_of_a_pixel_is_not_softened() -> None:
    alpha = (some(1, 1, 60, 80) > 0.5).to(torch.float32)
    assert torch.equal(along(alpha, shift(0.2, -0.2, 30, 40)), alpha)
    assert not torch.equal(along(alpha, shift(0.45, 0, 30, 40)), alpha)
