"""Colour matching, against Oklab's published pairs and means that are worked out by hand."""

import dataclasses
import json

import pytest
import torch

from vmatte.clip import BT709, Coding
from vmatte.imaging.color import rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.imaging.grade import Grade, graded, graded_rgb, match_of, oklab_of, rgb_of_oklab

NONE = Grade((1.0, 1.0, 1.0), 0.0, (0.0, 0.0))


def flat(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 16, 16).clone()


def test_oklab_is_ottossons() -> None:
    # sRGB's red and white, as CSS Color 4 gives them.
    for rgb, lab in (((1.0, 0, 0), (0.62796, 0.22486, 0.12585)), ((1.0, 1, 1), (1, 0, 0))):
        assert oklab_of(flat(*rgb))[0, :, 0, 0].tolist() == pytest.approx(lab, abs=2e-4)


def test_the_way_back_is_the_way_there() -> None:
    rgb = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(rgb_of_oklab(oklab_of(rgb)), rgb, atol=1e-6, rtol=0)


def test_a_small_difference_of_means_is_gone_at_full_strength_and_halved_at_half() -> None:
    noise = (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) - 0.5) * 0.1
    subject, plate = flat(0.5, 0.45, 0.4)[..., :1, :1] + noise, flat(0.53, 0.47, 0.41)[..., :1, :1] + noise
    alpha = torch.ones(1, 1, 64, 64)
    wanted, own = (oklab_of(rgb).mean(dim=(0, 2, 3)) for rgb in (plate, subject))
    for strength in (1.0, 0.5):
        found = oklab_of(graded_rgb(subject, match_of(subject, alpha, plate, strength))).mean(dim=(0, 2, 3))
        torch.testing.assert_close(found, own + strength * (wanted - own), atol=2e-3, rtol=0)


def test_strength_0_and_a_subject_that_is_nowhere_solid_change_nothing() -> None:
    subject, plate = flat(0.5, 0.4, 0.3), flat(0.1, 0.2, 0.9)
    grade = match_of(subject, torch.ones(1, 1, 16, 16), plate, 0.0)
    assert (*grade.gain, grade.lift, *grade.tint) == pytest.approx((1, 1, 1, 0, 0, 0), abs=1e-9)
    assert match_of(subject, torch.full((1, 1, 16, 16), 0.4), plate, 1.0) == NONE


@pytest.mark.parametrize("plate", [(0.02, 0.05, 0.4), (0.95, 0.9, 0.7), (0.1, 0.6, 0.1)])
def test_a_flat_plate_of_any_colour_leaves_skin_skin_and_the_subject_its_contrast(
    plate: tuple[float, float, float],
) -> None:
    skin = torch.tensor([0.85, 0.65, 0.55])
    shades = torch.linspace(0.1, 1, 64).view(1, 1, 1, 64) * skin.view(1, 3, 1, 1).expand(1, 3, 16, 1)
    grade = match_of(shades, torch.ones(1, 1, 16, 64), flat(*plate), 1.0)
    before, after = (oklab_of(rgb)[0, :, 8] for rgb in (shades, graded_rgb(shades, grade)))
    assert float(after[0].std() / before[0].std()) > 0.8
    assert float((after[0].mean() - before[0].mean()).abs()) < 0.07
    hues = [torch.atan2(lab[2, 40], lab[1, 40]) for lab in (before, after)]
    assert abs(float(hues[1] - hues[0])) < 0.6
    assert float(oklab_of(graded_rgb(flat(0.0, 0.0, 0.0), grade))[0, 1:].abs().max()) < 5e-3


def test_the_table_grades_codes_as_the_formula_does() -> None:
    level = torch.linspace(0.05, 0.95, 128)
    rgb = torch.stack([level.expand(128, 128), level[:, None].expand(128, 128), (level + level[:, None]) * 0.4])[None]
    grade = Grade((1.1, 0.9, 1.1), -0.03, (0.02, 0.02))
    for bits, most in ((8, 3.0), (10, 12.0)):
        coding = Coding(BT709, bits)
        luma, chroma = (rounded(planes, bits) for planes in rgb_to_ycbcr(rgb, coding, (64, 64)))
        made = graded(luma, chroma, torch.ones(1, 1, 128, 128), [grade], coding)
        exact = rgb_to_ycbcr(graded_rgb(ycbcr_to_rgb(luma, chroma, coding), grade), coding, (64, 64))
        for one, other in zip(made, exact, strict=True):
            apart = (one.to(torch.float32) - other).abs()
            assert float(apart.max()) <= most
            assert float(apart.mean()) <= most / 6


@pytest.mark.parametrize("half", [True, False])
def test_frames_without_a_grade_and_what_is_far_from_the_subject_keep_their_codes(half: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    size = (35, 43) if half else (70, 85)
    luma = torch.randint(16, 236, (2, 1, 70, 85), generator=generator).to(torch.uint8)
    chroma = torch.randint(100, 156, (2, 2, *size), generator=generator).to(torch.uint8)
    alpha = torch.zeros(2, 1, 70, 85)
    alpha[..., 30:, 40:] = 1
    made = graded(luma, chroma, alpha, [None, Grade((1.1, 1, 1), 0.03, (0.02, 0.0))], Coding(BT709, 8))
    for one, other in zip(made, (luma, chroma), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1, :, :10], other[1, :, :10])
        assert float((one[1, :, -5:, -5:] != other[1, :, -5:, -5:]).float().mean()) > 0.5


def test_a_grade_travels_as_json() -> None:
    grade = match_of(flat(0.5, 0.4, 0.3), torch.ones(1, 1, 16, 16), flat(0.6, 0.7, 0.8), 0.7)
    found = json.loads(json.dumps(dataclasses.asdict(grade)))
    assert Grade(tuple(found["gain"]), found["lift"], tuple(found["tint"])) == grade
