"""Which pictures are of one shot."""

import itertools
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.imaging.shots import SAME_SHOT, THUMBNAIL, agreement, cuts, thumbnail


@lru_cache
def texture(seed: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=(3, 180, 320))
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 20) for plane in noise])
    return 128 + 30 * smooth / smooth.std(axis=(1, 2), keepdims=True)


def picture(seed: int, gain: float = 1.0, offset: float = 0.0) -> Tensor:
    """The thumbnail of a textured picture of its own."""
    codes = texture(seed)
    luma = torch.from_numpy((codes[:1] * gain + offset).clip(0, 255).astype(np.uint8))[None]
    chroma = torch.from_numpy((128 + (codes[1:, ::2, ::2] - 128) * gain).clip(0, 255).astype(np.uint8))[None]
    return thumbnail(luma, chroma, 8)


def level(luma: int) -> Tensor:
    return thumbnail(
        torch.full((1, 1, 90, 160), luma, dtype=torch.uint8), torch.full((1, 2, 45, 80), 128, dtype=torch.uint8), 8
    )


def test_a_thumbnail_is_the_mean_of_what_it_stands_for() -> None:
    luma = torch.arange(18 * 32, dtype=torch.float32).reshape(1, 1, 18, 32) % 200
    chroma = torch.full((1, 2, 36, 64), 100, dtype=torch.uint8)
    large = luma.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3).to(torch.uint8)
    small = thumbnail(large, chroma, 8)
    assert small.shape == (1, 3, *THUMBNAIL)
    assert torch.equal(small[:, :1], luma)
    assert torch.equal(small[:, 1:], torch.full((1, 2, 18, 32), 100.0))


def test_codes_of_ten_bits_give_the_thumbnail_of_eight() -> None:
    luma = torch.randint(16, 236, (1, 1, 18, 32), dtype=torch.uint8)
    chroma = torch.randint(16, 240, (1, 2, 18, 32), dtype=torch.uint8)
    ten = [(planes.to(torch.float32) * 4).to(torch.uint16) for planes in (luma, chroma)]
    assert torch.equal(thumbnail(*ten, 10), thumbnail(luma, chroma, 8))


def test_a_picture_agrees_with_itself_and_with_itself_brighter() -> None:
    assert float(agreement(picture(1), picture(1))) == pytest.approx(1)
    assert float(agreement(picture(1), picture(1, offset=25))) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("other", range(2, 12))
def test_pictures_of_two_shots_do_not_agree(other: int) -> None:
    assert float(agreement(picture(1), picture(other))) < SAME_SHOT


def test_a_pictures_negative_is_as_far_from_it_as_can_be() -> None:
    # 2 × (−900) / (900 + 900) in each plane, but for the constant: 30² levels of contrast against 100.
    assert float(agreement(picture(1), picture(1, gain=-1, offset=255))) == pytest.approx(-1, abs=0.06)


def test_the_agreement_of_two_contrasts_is_that_of_the_ssim_index() -> None:
    # σ² of all three planes together, c = 100: (2·σ·σ/2 + c) / (σ² + σ²/4 + c).
    whole = picture(1) - picture(1).mean(dim=(2, 3), keepdim=True)
    variance = float(whole.square().sum()) / (THUMBNAIL[0] * THUMBNAIL[1])
    expected = (variance + 100) / (1.25 * variance + 100)
    assert float(agreement(whole, whole / 2)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("frames", [12, 25, 50])
def test_no_step_of_a_fade_to_black_is_a_cut(frames: int) -> None:
    steps = [picture(1, gain=gain, offset=16 * (1 - gain)) for gain in np.linspace(1, 0, frames)]
    assert min(float(agreement(*pair)) for pair in itertools.pairwise(steps)) > SAME_SHOT


def test_no_step_of_a_dissolve_is_a_cut() -> None:
    one, other = picture(1), picture(2)
    steps = [one + (other - one) * part for part in np.linspace(0, 1, 13)]
    assert min(float(agreement(*pair)) for pair in itertools.pairwise(steps)) > SAME_SHOT


def test_black_frames_agree_whatever_their_level() -> None:
    assert float(agreement(level(16), level(16))) == 1
    assert float(agreement(level(16), level(20))) == 1


def test_a_picture_and_black_do_not_agree() -> None:
    assert float(agreement(picture(1), level(16))) < SAME_SHOT


def whole_row_cuts(row: list[Tensor]) -> list[int]:
    """No cut is where a picture is of the shot of one of the two before it, or those beside it are of one."""

    def same(one: int, other: int) -> bool:
        return one >= 0 and other < len(row) and float(agreement(row[one], row[other])) > SAME_SHOT

    return [
        place
        for place in range(1, len(row))
        if not (same(place - 1, place) or same(place - 2, place) or same(place - 1, place + 1))
    ]


@pytest.mark.parametrize(
    ("shots", "begin"),
    [
        ("1123331", [2, 3, 6]),  # between two shots a frame is no flash; nor at the end, where nothing follows
        ("1121133", [5]),
        ("2111", [1]),
        ("1112", [3]),
        ("12", [1]),
        ("1", []),
        ("", []),
    ],
)
def test_a_shot_begins_where_no_flash_is(shots: str, begin: list[int]) -> None:
    row = [picture(int(seed)) for seed in shots]
    assert list(cuts(enumerate(row))) == begin


def test_a_row_of_any_length_is_cut_as_a_whole_one_and_looked_at_one_ahead() -> None:
    seeds = np.random.default_rng(4).choice([1, 1, 1, 2, 3], 60)
    row = [picture(int(seed)) for seed in seeds]
    drawn = 0

    def streamed() -> Iterator[tuple[int, Tensor]]:
        nonlocal drawn
        for place, each in enumerate(row):
            drawn = place
            yield 100 + place, each

    found = []
    for number in cuts(streamed()):
        found.append(number - 100)
        assert drawn <= found[-1] + 1
    assert found == whole_row_cuts(row)
    assert len(found) > 5
