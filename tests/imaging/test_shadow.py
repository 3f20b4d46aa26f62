"""Where the shadow of drawn figures lies."""

import itertools

import pytest
import torch

from vmatte.clip import BT709, Coding
from vmatte.imaging.shadow import contact_shadow, cut_off, shaded

HEIGHT, WIDTH = 360, 640

SIDE = min(HEIGHT, WIDTH)


def figure(bottom: int, *, left: int = 300, right: int = 340) -> torch.Tensor:
    alpha = torch.zeros(1, 1, HEIGHT, WIDTH)
    alpha[..., 60:bottom, left:right] = 1
    return alpha


def test_a_standing_figure_has_its_shadow_at_its_foot() -> None:
    shadow = contact_shadow(figure(300), 1.0, SIDE)
    y, x = divmod(int(shadow.argmax()), WIDTH)
    assert abs(y - 300) <= 6
    assert abs(x - 320) <= 20
    assert 0.3 < float(shadow.max()) <= 0.8
    # An ellipse: as dark 24 pixels to the side of the foot as 6 below it, and gone a head's height above.
    assert float(shadow[0, 0, 300, 364]) > float(shadow[0, 0, 324, 320])
    assert float(shadow[..., :260, :].max()) < 1e-3
    assert float(shadow[..., :150].max()) < 1e-3


def test_who_leaves_the_picture_at_its_bottom_has_none() -> None:
    assert float(contact_shadow(figure(HEIGHT), 1.0, SIDE).max()) == 0
    assert float(cut_off(figure(HEIGHT))) == 1
    assert float(cut_off(figure(300))) == 0


def test_a_hand_in_the_air_has_none() -> None:
    alpha = figure(300)
    alpha[..., 120:140, 340:420] = 1
    assert float(contact_shadow(alpha, 1.0, SIDE)[..., :200, :].max()) < 1e-3


def test_it_follows_a_matte_smoothly_and_strength() -> None:
    shadows = [
        contact_shadow(figure(300) * (1 - share) + figure(302) * share, 1.0, SIDE) for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    steps = [float((a - b).abs().max()) for a, b in itertools.pairwise(shadows)]
    assert max(steps) < 0.06  # half a pixel each
    faded = [float(contact_shadow(figure(300) * a, 1.0, SIDE).max()) for a in (0.0, 0.01, 0.02)]
    assert faded[0] == 0
    assert faded[2] - faded[1] < 0.03
    torch.testing.assert_close(contact_shadow(figure(300), 0.5, SIDE), shadows[0] / 2)


def test_frames_do_not_see_each_other() -> None:
    both = contact_shadow(torch.cat([figure(300), figure(280, left=100, right=160)]), 0.7, SIDE)
    torch.testing.assert_close(both[1:], contact_shadow(figure(280, left=100, right=160), 0.7, SIDE))


def test_light_that_is_taken_scales_rgb() -> None:
    coding = Coding(BT709, 8)
    luma, chroma = torch.full((1, 1, 4, 4), 116.0), torch.full((1, 2, 2, 2), 148.0)
    dark_luma, dark_chroma = shaded(luma, chroma, torch.full((1, 1, 4, 4), 0.5), coding)
    # Half the light is 0.5^0.45 = 0.732 of R'G'B', so of the codes' distance from black.
    assert dark_luma.unique().tolist() == pytest.approx([16 + 100 * 0.7320], abs=0.01)
    assert dark_chroma.unique().tolist() == pytest.approx([128 + 20 * 0.7320], abs=0.01)
    same = shaded(luma, chroma, torch.zeros(1, 1, 4, 4), coding)
    assert torch.equal(same[0], luma)
    assert torch.equal(same[1], chroma)


def test_a_figure_throws_the_same_shadow_on_a_larger_picture() -> None:
    alone = contact_shadow(figure(300), 1.0, SIDE)
    canvas = torch.zeros(1, 1, 2 * HEIGHT, 2 * WIDTH)
    canvas[..., :HEIGHT, :WIDTH] = figure(300)
    there = contact_shadow(canvas, 1.0, SIDE)[..., :HEIGHT, :WIDTH]
    # Found on grids of other steps.
    assert float(there.sum()) == pytest.approx(float(alone.sum()), rel=0.15)
    assert float((there - alone).abs().max()) < 0.15
