"""Grain that is measured of noise of known strength, and made to a known one."""

import hashlib

import numpy as np
import pytest
import torch

from vmatte.clip import BT709, Coding
from vmatte.imaging.grain import LEVELS, Grain, grain_field, grain_of, grained

CODING = Coding(BT709, 8)
CPU = torch.device("cpu")
FIELD_1234 = "7f9fc239b0b7dd4752553b9e899e947bfb5a85838f5ef8a9e1a53d88b035dba1"


def noisy(sigma: float) -> torch.Tensor:
    ramp = np.linspace(20, 230, 640)[None].repeat(480, axis=0)
    codes = ramp + np.random.default_rng(7).normal(0, sigma, ramp.shape)
    return torch.from_numpy(codes.round().clip(0, 255).astype(np.uint8))[None, None]


@pytest.mark.parametrize("sigma", [2.0, 4.0, 8.0])
def test_white_noise_is_found_at_every_brightness(sigma: float) -> None:
    # The mean of 2 × 2 pixels halves its deviation.
    assert grain_of(noisy(sigma), CODING).deviations == pytest.approx([sigma / 219 / 2] * LEVELS, rel=0.15)


def test_edges_stripes_and_clipped_noise_are_no_grain() -> None:
    picture = noisy(0)
    picture[..., ::7, :] = 40
    picture[..., 100:160, 100:200] = 235
    picture[..., 300:400, :] = torch.where(noisy(9)[..., 300:400, :] > 250, 255, 16).to(torch.uint8)
    assert max(grain_of(picture, CODING).deviations) <= 0.5 / 219


def test_grain_has_the_strength_that_is_asked_for_and_that_is_measured_again() -> None:
    wanted = Grain(tuple(np.linspace(0.005, 0.025, LEVELS)))
    plate = torch.from_numpy(np.linspace(20, 230, 640, dtype=np.float32)[None].repeat(480, axis=0))[None, None]
    made = grained(plate, wanted, range(4, 7), CODING)
    assert made.shape == (3, 1, 480, 640)
    assert grain_of(made, CODING).deviations == pytest.approx(wanted.deviations, rel=0.3)
    assert float((made - plate).mean()) == pytest.approx(0, abs=0.1)


def test_what_a_plate_has_itself_is_not_added_again() -> None:
    clip, plate = Grain((0.05,) * LEVELS), Grain((0.03,) * (LEVELS - 1) + (0.06,))
    assert clip.beyond(plate).deviations == pytest.approx([0.04] * (LEVELS - 1) + [0])
    assert clip.scaled(0.5).deviations == pytest.approx([0.025] * LEVELS)


def test_a_frames_grain_depends_on_its_number_alone() -> None:
    plate, grain = torch.full((1, 1, 90, 160), 120.0), Grain((0.02,) * LEVELS)
    together = grained(plate, grain, range(5, 9), CODING)
    for t, number in enumerate(range(5, 9)):
        assert torch.equal(together[t : t + 1], grained(plate, grain, range(number, number + 1), CODING))
    differing = (together[0] - together[1]).flatten(), (together[0] - 120).flatten()
    # Uncorrelated fields: the variance of their difference is the sum of both.
    assert float(differing[0].var() / differing[1].var()) == pytest.approx(2, rel=0.1)


def test_grain_is_the_same_on_every_machine() -> None:
    field = (grain_field(1234, (1080, 1920), CPU) * 4096).round().to(torch.int32).numpy()
    assert field.shape == (1, 1, 1080, 1920)
    assert hashlib.sha256(field.astype("<i4").tobytes()).hexdigest() == FIELD_1234
