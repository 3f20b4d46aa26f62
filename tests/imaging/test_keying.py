"""Mattes of a coloured screen, against closed forms: subjects and screens are mixed as light."""

import pytest
import torch
from torch import Tensor

from vmatte.analysis import Hue, ScreenColor, Screens, ShotScreen
from vmatte.clip import BT709, Coding
from vmatte.imaging.color import rgb_to_ycbcr, rounded
from vmatte.imaging.keying import LIGHT, edge_keyed, find_screen, key

GREEN, BLUE = (0.27, 0.60, 0.41), (0.15, 0.30, 0.75)
CODING = Coding(BT709, 12)
"""So fine that rounding is far below a step of 1/255."""
HEIGHT, WIDTH = 120, 160


def picture(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH)


def mixed(alpha: Tensor, subject: Tensor, screen: Tensor) -> tuple[Tensor, Tensor]:
    """Codes with whole chroma, of the two mixed as light."""
    rgb = (alpha * subject**LIGHT + (1 - alpha) * screen**LIGHT) ** (1 / LIGHT)
    luma, chroma = rgb_to_ycbcr(rgb, CODING, (HEIGHT, WIDTH))
    return rounded(luma, CODING.bits), rounded(chroma, CODING.bits)


def even(rgb: tuple[float, float, float], *, spread: float = 0.0, blue: bool = False) -> ScreenColor:
    """What is known of a screen of one colour."""
    red, green, other = (value**LIGHT for value in rgb)
    above = other - max(red, green) if blue else green - max(red, other)
    return ScreenColor(rgb, (above, 0, 0, 0, 0, 0), spread, spread, 1.0)


def ramp() -> Tensor:
    """Alpha (1, 1, H, W) from 0 on the left to 1 on the right, through twelve pixels."""
    return ((torch.arange(WIDTH) - 74) / 12).clamp(0, 1).expand(1, 1, HEIGHT, WIDTH)


@pytest.mark.parametrize(("hue", "screen"), [("green", GREEN), ("blue", BLUE)])
@pytest.mark.parametrize("gray", [0.02, 0.5, 0.9])
def test_alpha_is_the_share_of_light_that_is_not_the_screens(
    hue: Hue, screen: tuple[float, float, float], gray: float
) -> None:
    alpha = ramp()
    luma, chroma = mixed(alpha, picture((gray, gray, gray)), picture(screen))
    found = key(luma, chroma, CODING, hue, even(screen, blue=hue == "blue"))
    torch.testing.assert_close(found, alpha, atol=1 / 255, rtol=0)


def test_what_is_near_to_the_screen_is_nothing_and_what_is_near_to_solid_is_solid() -> None:
    # Screen whose light varies by 5 %, and a skin that reflects some of it.
    alpha = (ramp() > 0.5).to(torch.float32)
    shade = 1 - 0.05 * torch.rand((1, 1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1))
    screen = (picture(GREEN) ** LIGHT * shade) ** (1 / LIGHT)
    luma, chroma = mixed(alpha, picture((0.60, 0.62, 0.5)), screen)
    found = key(luma, chroma, CODING, "green", even(GREEN, spread=0.06))
    edge = alpha[0, 0, 0].argmax().item()
    assert (found[..., : edge - 12] == 0).all()
    assert (found[..., : edge - 1] < 0.06).all()
    assert (found[..., edge + 1 :] > 0.85).all()
    assert (found[..., edge + 12 :] == 1).all()


def test_a_wide_veil_keeps_its_alpha() -> None:
    veil = torch.full((1, 1, HEIGHT, WIDTH), 0.4)
    luma, chroma = mixed(veil, picture((0.8, 0.8, 0.8)), picture(GREEN))
    torch.testing.assert_close(key(luma, chroma, CODING, "green", even(GREEN)), veil, atol=1 / 255, rtol=0)


def test_a_yellow_and_a_cyan_subject_are_solid() -> None:
    for color in ((0.9, 0.88, 0.1), (0.1, 0.85, 0.9), (0.8, 0.2, 0.2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        luma, chroma = mixed(torch.ones(1, 1, HEIGHT, WIDTH), picture(color), picture(GREEN))
        assert (key(luma, chroma, CODING, "green", even(GREEN)) == 1).all()


def test_a_clean_plate_takes_a_strong_gradient_out() -> None:
    light = torch.linspace(1.0, 0.25, HEIGHT).view(1, 1, HEIGHT, 1)
    screen = (picture(GREEN) ** LIGHT * light) ** (1 / LIGHT)
    alpha = ramp()
    luma, chroma = mixed(alpha, picture((0.4, 0.4, 0.4)), screen)
    shade = (screen[:, 1] ** LIGHT - screen[:, 2] ** LIGHT)[:, None]
    found = key(luma, chroma, CODING, "green", ScreenColor(GREEN, (1, 0, 0, 0, 0, 0), 0.0, 0.0, 1.0), shade)
    torch.testing.assert_close(found, alpha, atol=1.5 / 255, rtol=0)


def test_rows_do_not_depend_on_the_strips_they_are_keyed_in() -> None:
    generator = torch.Generator().manual_seed(2)
    luma = torch.randint(16, 235, (1, 1, 150, 90), generator=generator, dtype=torch.uint8)
    chroma = torch.randint(16, 240, (1, 2, 75, 45), generator=generator, dtype=torch.uint8)
    small, both = Coding(BT709, 8), even(GREEN)
    whole = key(luma, chroma, small, "green", both)
    # The same picture, where other rows begin a strip: the first 20 are gone.
    lower = key(luma[..., 20:, :], chroma[..., 10:, :], small, "green", both)
    torch.testing.assert_close(lower[..., 24:80, 4:-4], whole[..., 44:100, 4:-4], atol=1e-5, rtol=0)


def test_a_screen_is_found_at_the_border_with_its_noise() -> None:
    generator = torch.Generator().manual_seed(3)
    pictures = picture(GREEN).repeat(3, 1, 1, 1)
    pictures += 0.01 * torch.randn(pictures.shape, generator=generator)
    pictures[:, :, 40:, 50:110] = torch.tensor([0.8, 0.6, 0.5]).view(3, 1, 1)
    found = find_screen(pictures, pictures, "green")
    assert found is not None
    assert found.rgb == pytest.approx(GREEN, abs=0.005)
    above = GREEN[1] ** LIGHT - GREEN[2] ** LIGHT
    assert found.difference[0] == pytest.approx(above, rel=0.02)
    # A step of 0.01 in each channel moves the difference by so much: three of them are nearly all there is.
    one = 0.01 * LIGHT * (GREEN[1] ** (2 * LIGHT - 2) + GREEN[2] ** (2 * LIGHT - 2)) ** 0.5 / above
    assert 3 * one < found.spread < 5 * one
    assert find_screen(pictures, pictures, "blue") is None


def test_a_lamps_fall_is_followed_behind_the_subject() -> None:
    across = torch.linspace(-1, 1, WIDTH).view(1, 1, 1, WIDTH)
    light = 1 - 0.3 * across - 0.1 * across.square()
    pictures = (picture(GREEN) ** LIGHT * light) ** (1 / LIGHT)
    pictures[..., 40:, 60:100] = 0.5
    found = find_screen(pictures, pictures, "green")
    assert found is not None
    one, x, _, xx, _, _ = found.difference
    assert (x / one, xx / one) == pytest.approx((-0.3, -0.1), abs=0.02)
    assert found.spread < 0.02


def test_the_light_is_that_of_the_picture_between_bars() -> None:
    across = torch.linspace(-1, 1, 120).view(1, 1, 1, 120)
    screen = picture((0.0, 0.0, 0.0)).clone()
    screen[..., 20:140] = (picture(GREEN)[..., :120] ** LIGHT * (1 - 0.3 * across)) ** (1 / LIGHT)
    luma, chroma = mixed(torch.zeros(1, 1, HEIGHT, WIDTH), screen, screen)
    one, *_ = even(GREEN).difference
    known = ScreenColor(GREEN, (one, -0.3 * one, 0, 0, 0, 0), 0.005, 0.005, 1.0)
    found = key(luma, chroma, CODING, "green", known, picture=((0, HEIGHT), (20, 140)))
    assert (found[..., 40:120] == 0).all()


def test_what_is_no_screen_is_not_taken_for_one() -> None:
    grass, skin, gray = (0.42, 0.48, 0.2), (0.8, 0.6, 0.5), (0.5, 0.5, 0.5)
    for color in (grass, skin, gray):
        assert find_screen(picture(color), picture(color), "green") is None
    # A plant in the middle of a room.
    room = picture(gray).clone()
    room[..., 50:80, 60:90] = torch.tensor([0.1, 0.5, 0.15]).view(3, 1, 1)
    assert find_screen(room, room, "green") is None


def test_a_frame_has_its_shots_screen() -> None:
    screens = Screens("blue", (ShotScreen(0, even(GREEN)), ShotScreen(12, even(BLUE, blue=True))), (0, 100), (4, 160))
    assert [screens.at(number).rgb for number in (0, 11, 12, 400)] == [GREEN, GREEN, BLUE, BLUE]


def test_a_network_fills_a_green_tie_and_drops_what_is_far_away() -> None:
    down, across = torch.meshgrid(torch.arange(270), torch.arange(480), indexing="ij")
    far = ((down - 135.0) ** 2 + (across - 240.0) ** 2).sqrt()
    network = (far < 80).to(torch.float32)[None, None]
    keyed = ((84.5 - far).clamp(0, 1))[None, None].clone()
    keyed[..., 130:140, 220:260] = 0  # a tie
    keyed[..., :20, :20] = 1  # a lamp
    found = edge_keyed(network, keyed)
    assert (found[0, 0][far < 83] == 1).all()
    assert (found[..., :20, :20] == 0).all()
    edge = (far > 80) & (far < 87)
    assert torch.equal(found[0, 0][edge], keyed[0, 0][edge])
