import numpy as np
import pytest
import torch

from vmatte.imaging.blur import blur_around
from vmatte.imaging.compositing import alpha_codes, blank_hidden, near_matte, over

GENERATOR = torch.Generator().manual_seed(5)


def test_over_is_the_weighted_mean_of_porter_and_duff() -> None:
    foreground, background = (
        torch.rand(2, 3, 150, 40, generator=GENERATOR),
        torch.rand(1, 3, 150, 40, generator=GENERATOR),
    )
    alpha = torch.rand(2, 1, 150, 40, generator=GENERATOR)
    expected = alpha * foreground + (1 - alpha) * background
    torch.testing.assert_close(over(foreground, background, alpha), expected)


@pytest.mark.parametrize(("dtype", "top"), [(torch.uint8, 255), (torch.uint16, 1023)])
def test_over_rounds_codes_to_the_nearest(dtype: torch.dtype, top: int) -> None:
    foreground = torch.randint(0, top + 1, (1, 1, 130, 70), generator=GENERATOR).to(dtype)
    background = torch.rand(1, 1, 130, 70, generator=GENERATOR) * top
    alpha = torch.rand(1, 1, 130, 70, generator=GENERATOR)
    exact = alpha.numpy() * foreground.numpy().astype(np.float64) + (1 - alpha.numpy()) * background.numpy()
    composite = over(foreground, background, alpha)
    assert composite.dtype == dtype
    assert np.abs(composite.numpy() - exact).max() <= 0.5 + 1e-3


def test_full_and_no_alpha_keep_codes_untouched() -> None:
    foreground = torch.randint(0, 256, (1, 1, 70, 20), generator=GENERATOR).to(torch.uint8)
    background = torch.randint(0, 256, (1, 1, 70, 20), generator=GENERATOR).to(torch.float32)
    assert torch.equal(over(foreground, background, torch.ones(1, 1, 70, 20)), foreground)
    assert torch.equal(over(foreground, background, torch.zeros(1, 1, 70, 20)).float(), background)


# R'G'B' (0.6, 0.4, 0.2) in BT.709, limited range: Y' = 0.2126 · 0.6 + 0.7152 · 0.4 + 0.0722 · 0.2 = 0.42808,
# Cb = (0.2 − Y') / 1.8556 = −0.12291, Cr = (0.6 − Y') / 1.5748 = 0.10917.
BROWN, BROWN_CODES = (0.6, 0.4, 0.2), (16 + 219 * 0.42808, 128 - 224 * 0.12291, 128 + 224 * 0.10917)


@pytest.mark.parametrize("bits", [8, 10])
def test_alpha_codes_use_the_whole_range(bits: int) -> None:
    alpha = torch.linspace(0, 1, 2000).view(1, 1, 100, 20)
    codes = alpha_codes(alpha, bits).numpy().astype(int).ravel()
    assert (codes[0], codes[-1]) == (0, 2**bits - 1)
    assert np.array_equal(codes, np.rint(np.linspace(0, 1, 2000, dtype=np.float32) * (2**bits - 1)).astype(int))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("size", [(200, 300), (101, 203)])
@pytest.mark.parametrize(("alpha_bits", "strength"), [(8, 0.01), (10, 0.01), (16, 0.01), (16, 1.0)])
def test_colour_is_kept_where_alpha_is_and_within_16_pixels_of_it(
    size: tuple[int, int], dtype: torch.dtype, alpha_bits: int, strength: float
) -> None:
    alpha = torch.zeros(1, 1, *size)
    alpha[..., 60, 80] = strength
    near = near_matte(alpha_codes(alpha, alpha_bits))
    luma = blank_hidden(torch.full((1, 1, *size), 200, dtype=dtype), near, 16, size)
    assert bool((luma[..., 44:77, 64:97].to(torch.int32) == 200).all())
    assert set(luma.to(torch.int32).unique().tolist()) == {16, 200}
    assert bool((luma[..., 100:, :].to(torch.int32) == 16).all())
    chroma_size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    chroma = blank_hidden(torch.full((1, 2, *chroma_size), 90, dtype=dtype), near, 128, size)
    kept_luma = luma[0, 0, ::2, ::2].to(torch.int32) == 200
    assert torch.equal(chroma[0, 0].to(torch.int32) == 90, kept_luma)


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_what_is_solid_is_near_the_matte_however_many_bits_it_has(bits: int) -> None:
    solid = torch.ones(1, 1, 64, 96)
    assert bool(near_matte(alpha_codes(solid, bits)).all())
    assert not bool(near_matte(alpha_codes(0 * solid, bits)).any())


def test_blur_leaves_a_flat_background_flat_whatever_the_subject() -> None:
    alpha = torch.zeros(1, 1, 120, 160)
    alpha[..., 30:90, 50:110] = 1
    planes = torch.where(alpha > 0, 255.0, 40.0)
    blurred = blur_around(planes, alpha, sigma=5)
    outside = blurred[alpha == 0]
    assert float((outside - 40).abs().max()) < 3
    assert float(blur_around(planes, torch.zeros_like(alpha), sigma=5)[0, 0, 28, 80]) > 80


def test_blur_is_a_gaussian_of_that_width() -> None:
    planes = torch.zeros(1, 1, 161, 161)
    planes[..., 80, 80] = 1
    blurred = blur_around(planes, torch.zeros_like(planes), sigma=3)[0, 0]
    offsets = torch.arange(161) - 80.0
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-3)
    assert float((blurred.sum(0) * offsets**2).sum()) ** 0.5 == pytest.approx(3, rel=0.03)
