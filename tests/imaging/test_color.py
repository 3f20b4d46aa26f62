"""Against the definitions of ITU-R BT.601, BT.709 and BT.2020, written out here a second time."""

import numpy as np
import pytest
import torch

from vmatte.clip import BT601, BT709, RGB_MATRIX, Coding, ColorTags
from vmatte.imaging.color import black, downsample_chroma, recode, rgb_to_ycbcr, upsample_chroma, ycbcr_to_rgb

BT2020 = ColorTags(9, 9, 14, full_range=False)
FULL_601 = ColorTags(6, 6, 6, full_range=True)


def expected_codes(red: float, green: float, blue: float, kr: float, kb: float, bits: int, full: bool) -> list[float]:
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    if full:
        top = 2**bits - 1
        return [luma * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)]
    step = 2 ** (bits - 8)
    return [(16 + 219 * luma) * step, (128 + 224 * cb) * step, (128 + 224 * cr) * step]


@pytest.mark.parametrize(
    ("color", "kr", "kb"),
    [(BT709, 0.2126, 0.0722), (BT601, 0.299, 0.114), (BT2020, 0.2627, 0.0593), (FULL_601, 0.299, 0.114)],
)
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_rgb_becomes_the_codes_of_the_standard_and_comes_back(
    color: ColorTags, kr: float, kb: float, bits: int
) -> None:
    values = np.random.default_rng(1).random((20, 3))
    rgb = torch.tensor(values, dtype=torch.float32).T.reshape(1, 3, 4, 5)
    luma, chroma = rgb_to_ycbcr(rgb, Coding(color, bits), (4, 5))
    codes = torch.cat([luma, chroma], dim=1).reshape(3, 20).T
    wanted = [expected_codes(*value, kr, kb, bits, color.full_range) for value in values]
    torch.testing.assert_close(codes, torch.tensor(wanted, dtype=torch.float32), atol=2e-3, rtol=0)
    torch.testing.assert_close(ycbcr_to_rgb(luma, chroma, Coding(color, bits)), rgb, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.uint8), (10, torch.uint16), (16, torch.uint16)])
@pytest.mark.parametrize("chroma_size", [(6, 8), (3, 4), (6, 4)], ids=["444", "420", "422"])
def test_codes_of_any_type_are_the_numbers_that_they_are(
    chroma_size: tuple[int, int], bits: int, dtype: torch.dtype
) -> None:
    random = np.random.default_rng(5)
    luma, chroma = (random.integers(0, 2**bits, (2, *shape)).astype("f4") for shape in ((1, 6, 8), (2, *chroma_size)))
    planes = [torch.from_numpy(codes) for codes in (luma, chroma)]
    as_codes = [plane.to(torch.int32).to(dtype) for plane in planes]
    assert torch.equal(ycbcr_to_rgb(*as_codes, Coding(BT709, bits)), ycbcr_to_rgb(*planes, Coding(BT709, bits)))


def test_planes_of_an_rgb_clip_are_green_blue_red() -> None:
    coding = Coding(ColorTags(RGB_MATRIX, 1, 1, full_range=True), 8)
    rgb = ycbcr_to_rgb(torch.full((1, 1, 1, 1), 51.0), torch.tensor([102.0, 204.0]).view(1, 2, 1, 1), coding)
    torch.testing.assert_close(rgb.flatten(), torch.tensor([0.8, 0.2, 0.4]))


def test_black_is_where_the_standards_have_it() -> None:
    assert black(Coding(BT709, 8)) == (16, 128)
    assert black(Coding(BT709, 10)) == (64, 512)
    assert black(Coding(FULL_601, 8)) == (0, 128)


def test_recoding_rounds_and_keeps_the_chromas_size() -> None:
    red = [round(code) for code in expected_codes(0.8, 0.1, 0.2, 0.299, 0.114, 8, True)]
    luma = torch.full((1, 1, 4, 6), red[0], dtype=torch.uint8)
    chroma = torch.tensor(red[1:], dtype=torch.uint8).view(1, 2, 1, 1).expand(1, 2, 2, 3)
    luma, chroma = recode(luma, chroma, Coding(FULL_601, 8), Coding(BT709, 10))
    assert (luma.dtype, chroma.shape) == (torch.uint16, (1, 2, 2, 3))
    wanted = expected_codes(0.8, 0.1, 0.2, 0.2126, 0.0722, 10, False)
    found = [float(luma[0, 0, 0, 0]), *(float(code) for code in chroma[0, :, 0, 0])]
    # The source's own codes were rounded to 8 bits: half of one is two of these.
    assert found == pytest.approx(wanted, abs=2.5)


@pytest.mark.parametrize("size", [(8, 12), (7, 11)])
def test_a_ramp_keeps_its_place_when_chroma_is_halved_and_restored(size: tuple[int, int]) -> None:
    """Left siting: chroma sample (y, x) lies at column 2x, and between rows 2y and 2y + 1."""
    rows, columns = torch.meshgrid(torch.arange(size[0]) * 1.0, torch.arange(size[1]) * 1.0, indexing="ij")
    ramp = (3 * rows + 5 * columns)[None, None]
    half = downsample_chroma(ramp, ((size[0] + 1) // 2, (size[1] + 1) // 2))
    for y in range(size[0] // 2):
        for x in range(1, size[1] // 2):
            assert float(half[0, 0, y, x]) == pytest.approx(3 * (2 * y + 0.5) + 5 * 2 * x)
    restored = upsample_chroma(half, size)
    inner = (..., slice(1, 2 * (size[0] // 2) - 1), slice(2, 2 * (size[1] // 2) - 2))
    torch.testing.assert_close(restored[inner], ramp[inner])


def test_chroma_halved_in_one_direction_only_is_restored() -> None:
    flat = torch.full((1, 2, 4, 3), 7.0)
    assert torch.equal(upsample_chroma(flat, (4, 6)), torch.full((1, 2, 4, 6), 7.0))
    assert torch.equal(downsample_chroma(torch.full((1, 2, 4, 6), 7.0), (4, 3)), flat)
