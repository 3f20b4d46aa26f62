"""Composites of light against a float64 one in NumPy, by the formulas of ITU-R BT.709 and IEC 61966-2-1."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import BT709, Coding
from vmatte.imaging.color import chroma_taps, downsample_chroma, upsample_chroma
from vmatte.imaging.compositing import over
from vmatte.imaging.light import (
    BT709_CURVE,
    SRGB_CURVE,
    Curve,
    Space,
    Wrap,
    correction,
    curve_of,
    glow_of,
    over_as_light,
    wrap_weight,
)

Array = NDArray[np.float64]
HEIGHT, WIDTH = 70, 90
KR, KB = 0.2126, 0.0722
TO_YCC = np.array(
    [
        [KR, 1 - KR - KB, KB],
        [-KR / (2 * (1 - KB)), -(1 - KR - KB) / (2 * (1 - KB)), 0.5],
        [0.5, -(1 - KR - KB) / (2 * (1 - KR)), -KB / (2 * (1 - KR))],
    ]
)


def light_of(encoded: Array) -> Array:
    return np.where(encoded < 0.0812, encoded / 4.5, (np.maximum(encoded + 0.0993, 0) / 1.0993) ** (1 / 0.45))


def encoded_of(light: Array) -> Array:
    return np.where(light < 0.01805, 4.5 * light, 1.0993 * np.maximum(light, 0) ** 0.45 - 0.0993)


def spans(bits: int) -> tuple[Array, Array]:
    step = 2 ** (bits - 8)
    return np.array([219, 224, 224]) * step, np.array([16, 128, 128]) * step


def codes_of(rgb: Array, bits: int) -> Array:
    """(3, H, W)."""
    span, zero = spans(bits)
    return np.einsum("ij,jhw->ihw", TO_YCC, rgb) * span[:, None, None] + zero[:, None, None]


def rgb_of(codes: Array, bits: int) -> Array:
    span, zero = spans(bits)
    planes = (codes - zero[:, None, None]) / span[:, None, None]
    return np.einsum("ij,jhw->ihw", np.linalg.inv(TO_YCC), planes).clip(0, 1)


def pictures(bits: int, *, half: bool) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
    """A subject and a plate of all colours, and an alpha with solid, empty and soft parts."""
    random = np.random.default_rng(bits)
    size = (HEIGHT // 2, WIDTH // 2) if half else (HEIGHT, WIDTH)
    found = []
    for _ in range(2):
        # Not quite to the ends, where rounded codes are of no R'G'B'.
        blocks = random.uniform(0.02, 0.98, (3, HEIGHT // 10, WIDTH // 10)).repeat(10, axis=1).repeat(10, axis=2)
        planes = torch.from_numpy(codes_of(blocks, bits).round())[None].float()
        found.append((planes[:, :1], downsample_chroma(planes[:, 1:], size).round()))
    dtype = torch.uint8 if bits == 8 else torch.uint16
    alpha = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(bits))
    alpha[..., :20, :], alpha[..., 50:, :] = 1, 0
    return tuple(plane.to(torch.int16).to(dtype) for plane in found[0]), found[1], alpha  # type: ignore[return-value]


@pytest.mark.parametrize(("bits", "most"), [(8, 1.0), (10, 2.0)])
def test_full_size_chroma_is_mixed_as_bt709_light_in_float64_is(bits: int, most: float) -> None:
    front, behind, alpha = pictures(bits, half=False)
    luma, chroma = over_as_light(front, behind, alpha, Space(Coding(BT709, bits), BT709_CURVE))
    subject, plate = (
        rgb_of(torch.cat(planes, 1)[0].double().numpy(), bits)
        for planes in ([plane.to(torch.int32) for plane in front], behind)
    )
    share = alpha[0].double().numpy()
    expected = codes_of(encoded_of(share * light_of(subject) + (1 - share) * light_of(plate)), bits)
    got = torch.cat([luma.to(torch.int32), chroma.to(torch.int32)], dim=1)[0].numpy()
    assert np.abs(got - expected)[:, 20:50].max() <= most
    coded = over(front[0], behind[0], alpha)
    assert int((coded.to(torch.int32) - luma.to(torch.int32)).abs().max()) > 10 * most


@pytest.mark.parametrize("bits", [8, 10])
def test_half_size_chroma_gets_the_mean_of_what_its_pixels_change_by(bits: int) -> None:
    front, behind, alpha = pictures(bits, half=True)
    _, chroma = over_as_light(front, behind, alpha, Space(Coding(BT709, bits), BT709_CURVE))
    size = (HEIGHT, WIDTH)
    subject, plate = (
        rgb_of(torch.cat([y.float(), upsample_chroma(c.float(), size)], 1)[0].double().numpy(), bits)
        for y, c in (front, behind)
    )
    share = alpha[0].double().numpy()
    light = encoded_of(share * light_of(subject) + (1 - share) * light_of(plate))
    change = codes_of(light - (share * subject + (1 - share) * plate), bits) - spans(bits)[1][:, None, None]
    # 1-2-1 across, 1-1 down, by hand: the first column is its own left neighbour.
    rows = (change[1:, 0::2] + change[1:, 1::2]) / 2
    left = np.concatenate([rows[..., :1], rows[..., 1:-1:2]], axis=-1)
    small = (left + 2 * rows[..., 0::2] + rows[..., 1::2]) / 4
    weight = downsample_chroma(alpha, (HEIGHT // 2, WIDTH // 2))[0].double().numpy()
    own, other = front[1][0].to(torch.int32).double().numpy(), behind[1][0].double().numpy()
    expected = weight * own + (1 - weight) * other + small
    assert np.abs(chroma[0].to(torch.int32).numpy() - expected).max() <= (1.0 if bits == 8 else 2.0)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_solid_and_empty_pixels_keep_their_codes(bits: int, half: bool) -> None:
    front, behind, alpha = pictures(bits, half=half)
    luma, chroma = over_as_light(front, behind, alpha, Space(Coding(BT709, bits), BT709_CURVE))
    step = 2 if half else 1
    for plane, own, other, scale in ((luma, front[0], behind[0], 1), (chroma, front[1], behind[1], step)):
        assert torch.equal(plane[..., : 20 // scale, :].int(), own[..., : 20 // scale, :].int())
        assert torch.equal(plane[..., 50 // scale :, :].int(), other[..., 50 // scale :, :].int())


def test_half_of_white_over_black_is_half_of_its_light() -> None:
    white, black = (235, 128), (16.0, 128.0)
    front = tuple(
        torch.full((1, planes, 4, 4), code, dtype=torch.uint8) for planes, code in zip((1, 2), white, strict=True)
    )
    behind = tuple(torch.full((1, planes, 4, 4), code) for planes, code in zip((1, 2), black, strict=True))
    half = torch.full((1, 1, 4, 4), 0.5)
    luma, chroma = over_as_light(front, behind, half, Space(Coding(BT709, 8), BT709_CURVE))
    assert luma.unique().tolist() == [170]  # 16 + 219 · (1.0993 · 0.5^0.45 − 0.0993) = 170.48
    assert chroma.unique().tolist() == [128]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("curve", [BT709_CURVE, None])
@pytest.mark.parametrize(("bits", "half"), [(8, True), (10, False)])
def test_the_few_soft_pixels_get_what_the_whole_picture_gets(
    bits: int, half: bool, curve: Curve | None, wrapped: bool
) -> None:
    front, behind, alpha = pictures(bits, half=half)
    space = Space(Coding(BT709, bits), curve)
    wrap = Wrap(glow_of(behind, 2.0, space), wrap_weight(alpha, 2.0, 0.7)) if wrapped else None
    luma, chroma = over_as_light(front, behind, alpha, space, wrap)
    fine, coarse = correction(front, behind, alpha, space, wrap)
    small = downsample_chroma(alpha, (int(chroma.shape[-2]), int(chroma.shape[-1])))
    whole = over(front[0], behind[0], alpha, fine, 2**bits - 1), over(front[1], behind[1], small, coarse, 2**bits - 1)
    for one, other in zip((luma, chroma), whole, strict=True):
        assert int((one.to(torch.int32) - other.to(torch.int32)).abs().max()) <= 1


@pytest.mark.parametrize("size", [(7, 9), (8, 10), (1, 1)])
@pytest.mark.parametrize("halved", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_single_pixels_take_part_in_chroma_as_whole_planes_do(size: tuple[int, int], halved: tuple[int, int]) -> None:
    height, width = size
    small = (-(-height // halved[0]), -(-width // halved[1]))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    taps = chroma_taps(x.flatten().int(), y.flatten().int(), size, small)
    planes, chroma = torch.rand(1, 2, *size), torch.rand(1, 2, *small)
    into = torch.zeros(1, 2, *small)
    taps.add_downsampled(planes.flatten(2)[:, :, None], into)
    torch.testing.assert_close(into, downsample_chroma(planes, small))
    torch.testing.assert_close(taps.upsampled(chroma).view(1, 2, *size), upsample_chroma(chroma, size))


def test_srgb_has_its_own_curve_and_hdr_has_none() -> None:
    # IEC 61966-2-1: 0.5 is 0.21404 of white's light, 0.02 is 0.02 / 12.92.
    light = SRGB_CURVE.exact_light(torch.tensor([0.5, 0.02]))
    torch.testing.assert_close(light, torch.tensor([0.214041, 0.00154799]), atol=1e-5, rtol=0)
    assert [curve_of(transfer) for transfer in (1, 6, 14, 15)] == [BT709_CURVE] * 4
    assert curve_of(13) is SRGB_CURVE
    assert [curve_of(transfer) for transfer in (8, 16, 18)] == [None] * 3


def test_light_wraps_round_the_edge_and_goes_no_deeper_than_three_sigmas() -> None:
    alpha = torch.zeros(1, 1, 64, 256)
    alpha[..., 128:] = 1
    weight = wrap_weight(alpha, 4.0, 0.6)[0, 0, 32]
    # A Gaussian's integral, twice, from the edge inwards: 2 · (1 − Φ(d / σ)), with Φ(1) = 0.8413.
    assert float(weight[128]) == pytest.approx(0.6 * 2 * (1 - 0.5497), abs=0.03)
    assert float(weight[132]) == pytest.approx(0.6 * 2 * (1 - 0.8697), abs=0.03)
    assert int((weight[128:] > 0).sum()) <= 12 + 4
    assert float(weight[150:].max()) == 0


@pytest.mark.parametrize(("curve", "expected"), [(None, 0.55), (BT709_CURVE, 0.6118)])
def test_wrapped_light_is_screened_over_the_subject(curve: Curve | None, expected: float) -> None:
    # Gray of 0.4 under a quarter of white light: 0.4 + 0.25 · 0.6 of codes; of light 0.1732 + 0.25 · 0.8268 = 0.3799.
    if curve is not None:
        assert encoded_of(0.75 * light_of(np.array(0.4)) + 0.25) == pytest.approx(expected, abs=5e-3)
    gray = round(16 + 219 * 0.4)
    front = torch.full((1, 1, 8, 8), gray, dtype=torch.uint8), torch.full((1, 2, 4, 4), 128, dtype=torch.uint8)
    behind = torch.full((1, 1, 8, 8), 235.0), torch.full((1, 2, 4, 4), 128.0)
    wrap = Wrap(torch.ones(1, 3, 8, 8), torch.full((1, 1, 8, 8), 0.25))
    luma, chroma = over_as_light(front, behind, torch.ones(1, 1, 8, 8), Space(Coding(BT709, 8), curve), wrap)
    assert float(luma.float().mean()) == pytest.approx(16 + 219 * expected, abs=1.2)
    assert chroma.unique().tolist() == [128]
