import pytest
import torch
from torch import Tensor

from vmatte.analysis import Hue
from vmatte.clip import BT709, Coding
from vmatte.imaging.color import rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.imaging.despill import despill

TEN = Coding(BT709, 10)
Colour = tuple[float, float, float]


def patch(colour: Colour, coding: Coding = TEN, *, half: bool = True) -> tuple[Tensor, Tensor]:
    """Codes of a flat picture."""
    rgb = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 6, 8)
    luma, chroma = rgb_to_ycbcr(rgb, coding, (3, 4) if half else (6, 8))
    return rounded(luma, coding.bits), rounded(chroma, coding.bits)


def colour_of(luma: Tensor, chroma: Tensor, coding: Coding = TEN) -> list[float]:
    return ycbcr_to_rgb(luma, chroma, coding)[0, :, 2, 2].tolist()


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(
    ("screen", "spilt", "clean"),
    [
        ("green", (0.3, 0.7, 0.2), (0.3, 0.3, 0.2)),
        ("green", (0.2, 0.7, 0.4), (0.2, 0.4, 0.4)),
        ("green", (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)),
        ("blue", (0.3, 0.2, 0.7), (0.3, 0.2, 0.3)),
        ("blue", (0.2, 0.5, 0.9), (0.2, 0.5, 0.5)),
    ],
)
def test_the_screens_primary_is_lowered_to_the_stronger_of_the_others(
    screen: Hue, spilt: Colour, clean: Colour, half: bool
) -> None:
    made = despill(*patch(spilt, half=half), TEN, screen, 1.0)
    assert colour_of(*made) == pytest.approx(clean, abs=0.004)


def test_half_the_strength_takes_half_the_excess() -> None:
    made = despill(*patch((0.3, 0.7, 0.2)), TEN, "green", 0.5)
    assert colour_of(*made) == pytest.approx((0.3, 0.5, 0.2), abs=0.004)


@pytest.mark.parametrize("coding", [Coding(BT709, 8), TEN])
@pytest.mark.parametrize(
    ("screen", "colour"),
    [("green", hue) for hue in [(0.5, 0.5, 0.5), (0.8, 0.6, 0.5), (0.9, 0.8, 0.2), (0.3, 0.4, 0.7), (1.0, 1.0, 1.0)]]
    + [("blue", hue) for hue in [(0.5, 0.5, 0.5), (0.8, 0.6, 0.5), (0.2, 0.6, 0.5), (0.6, 0.2, 0.5), (0.0, 0.0, 0.0)]],
)
def test_grey_skin_and_what_the_screens_primary_does_not_lead_keep_their_codes(
    screen: Hue, colour: Colour, coding: Coding
) -> None:
    luma, chroma = patch(colour, coding)
    made_luma, made_chroma = despill(luma, chroma, coding, screen, 1.0)
    assert (made_luma.dtype, made_chroma.dtype) == (luma.dtype, chroma.dtype)
    assert torch.equal(made_luma.int(), luma.int())
    assert torch.equal(made_chroma.int(), chroma.int())


def test_no_strength_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    luma, chroma = (torch.randint(0, 256, shape, generator=generator).byte() for shape in ((2, 1, 7, 9), (2, 2, 4, 5)))
    made = despill(luma, chroma, Coding(BT709, 8), "green", 0.0)
    assert torch.equal(made[0], luma)
    assert torch.equal(made[1], chroma)
