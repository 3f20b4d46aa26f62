"""Against the numbers of the standards (SMPTE ST 2084, ITU-R BT.2087, BT.2100, BT.2390, BT.2408), their formulas
written out here a second time, and what zimg (Debian's ffmpeg) makes of a picture."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vmatte.clip import Coding, ColorTags
from vmatte.imaging.color import rgb_to_ycbcr, ycbcr_to_rgb
from vmatte.imaging.tonemap import ToneMap, bent, gamut_matrix, hlg_scene_light, pq_light, tone_mapped, tone_mapped_rgb

Array = NDArray[np.float64]

PQ = Coding(ColorTags(9, 9, 16, full_range=False), 10)
HLG = Coding(ColorTags(9, 9, 18, full_range=False), 10)
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087


def pq_of(light: Array | float) -> Array:
    """PQ's signal of cd/m², in the constants that ST 2084 has in decimals."""
    power = (np.asarray(light) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def light_of_pq(signal: Array) -> Array:
    root = signal ** (1 / 78.84375)
    return 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def light_of_hlg(signal: Array) -> Array:
    """cd/m² of HLG's R'G'B' (n, 3) on a display of 1000, BT.2100."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 * (scene @ [0.2627, 0.6780, 0.0593])[:, None] ** 0.2 * scene


def bent_by_hand(light: float, peak: float) -> float:
    """BT.2390, 5.4.1, down to 203 cd/m²."""
    e1, top = pq_of(light) / pq_of(peak), pq_of(203) / pq_of(peak)
    ks = 1.5 * top - 0.5
    if e1 < ks or ks >= 1:
        return light
    t = (e1 - ks) / (1 - ks)
    p = (2 * t**3 - 3 * t**2 + 1) * ks + (t**3 - 2 * t**2 + t) * (1 - ks) + (3 * t**2 - 2 * t**3) * top
    return float(light_of_pq(p * pq_of(peak)))


def sdr_by_hand(light: Array, peak: float) -> Array:
    """R'G'B' (n, 3) of BT.709 for cd/m² (n, 3) in BT.2020's primaries."""
    sdr = np.minimum(light, peak) @ TO_BT709.T
    for row in sdr:
        grey = row @ [0.2126, 0.7152, 0.0722]
        if row.min() < 0:
            row[:] = grey + grey / (grey - row.min()) * (row - grey)
        row *= bent_by_hand(min(row.max(), peak), peak) / row.max() / 203
    return np.asarray(sdr.clip(0, 1) ** (1 / 2.4))


def assert_alike(found: Array, wanted: Array) -> None:
    """Within 1/1000; γ 2.4 is steep near black, where it is light that is within 1/5000 of white's."""
    assert np.abs(found - wanted)[wanted > 0.1].max() <= 1 / 1000
    assert np.abs(found**2.4 - wanted**2.4)[wanted <= 0.1].max() <= 1 / 5000


def as_planes(rgb: Array) -> torch.Tensor:
    return torch.tensor(rgb.T.reshape(1, 3, 1, -1), dtype=torch.float32)


def as_rows(planes: torch.Tensor) -> Array:
    return planes[0, :, 0].T.double().numpy()


@pytest.mark.parametrize(("light", "signal"), [(1, 0.1499), (100, 0.5081), (203, 0.5807), (1000, 0.7518), (10000, 1)])
def test_pq_is_that_of_the_standard(light: float, signal: float) -> None:
    """BT.2408, table 1, has 203 cd/m² at 58 % and 1000 at 75 %."""
    assert float(pq_light(torch.tensor(signal, dtype=torch.float64))) == pytest.approx(light, rel=3e-3)


def test_hlg_is_that_of_the_standard() -> None:
    signal = torch.tensor([0.0, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert hlg_scene_light(signal).tolist() == pytest.approx([0, 1 / 12, 0.26496, 1], abs=1e-5)


def test_gamuts_change_as_bt2087_has_it() -> None:
    np.testing.assert_allclose(gamut_matrix(9, 1).numpy(), TO_BT709, atol=6e-5)
    np.testing.assert_allclose(gamut_matrix(12, 1).numpy() @ [1, 1, 1], [1, 1, 1], atol=1e-12)


@pytest.mark.parametrize("peak", [400.0, 1000.0, 4000.0, 10000.0])
def test_the_curve_is_that_of_bt2390(peak: float) -> None:
    light = np.geomspace(0.01, peak, 200)
    curve = bent(torch.from_numpy(light), peak).numpy()
    np.testing.assert_allclose(curve, [bent_by_hand(value, peak) for value in light], rtol=1e-9)
    assert curve[-1] == pytest.approx(203)
    assert np.all(np.diff(curve) > 0)


def test_hlgs_reference_white_is_pqs() -> None:
    """BT.2408: HLG at 75 % and PQ at 58 % are both 203 cd/m², which the curve brings to 155.6: γ 2.4 makes 0.895."""
    of_hlg = tone_mapped_rgb(torch.full((1, 3, 1, 1), 0.75), ToneMap(HLG))
    of_pq = tone_mapped_rgb(torch.full((1, 3, 1, 1), float(pq_of(203))), ToneMap(PQ))
    wanted = (bent_by_hand(203, 1000) / 203) ** (1 / 2.4)
    assert as_rows(of_hlg)[0] == pytest.approx([wanted] * 3, abs=1e-3)
    assert as_rows(of_hlg)[0] == pytest.approx(as_rows(of_pq)[0], abs=1e-3)


@pytest.mark.parametrize("peak", [203.0, 600.0, 1000.0, 10000.0])
def test_tables_are_as_good_as_the_formulas_of_pq(peak: float) -> None:
    signal = np.random.default_rng(3).random((4000, 3)) ** 1.5
    found = as_rows(tone_mapped_rgb(as_planes(signal), ToneMap(PQ, peak)))
    assert_alike(found, sdr_by_hand(light_of_pq(signal), peak))


def test_tables_are_as_good_as_the_formulas_of_hlg() -> None:
    signal = np.random.default_rng(4).random((4000, 3))
    found = as_rows(tone_mapped_rgb(as_planes(signal), ToneMap(HLG)))
    assert_alike(found, sdr_by_hand(light_of_hlg(signal), 1000))


def test_a_hue_that_bt709_has_stays_however_bright_it_is() -> None:
    skin = np.array([[1.0, 0.75, 0.6]])
    light = np.concatenate([skin * level for level in (20, 100, 250, 700)])
    found = as_rows(tone_mapped_rgb(as_planes(pq_of(light)), ToneMap(PQ))) ** 2.4
    ratio = (skin @ TO_BT709.T)[0]
    np.testing.assert_allclose(found / found[:, :1], np.broadcast_to(ratio / ratio[0], (4, 3)), rtol=5e-3)


@pytest.mark.parametrize("chroma_size", [(12, 10), (12, 5), (6, 5)], ids=["444", "422", "420"])
@pytest.mark.parametrize("dtype", [torch.uint16, torch.float32])
def test_codes_of_a_flat_colour_are_those_of_the_formula(dtype: torch.dtype, chroma_size: tuple[int, int]) -> None:
    light = np.array([[80.0, 45.0, 12.0]])
    rgb = as_planes(pq_of(light)).expand(2, 3, 12, 10)
    planes = [codes.round().to(torch.int32).to(dtype) for codes in rgb_to_ycbcr(rgb, PQ, chroma_size)]
    luma, chroma = tone_mapped(planes[0], planes[1], ToneMap(PQ))
    assert (luma.shape, chroma.shape, luma.dtype, chroma.dtype) == ((2, 1, 12, 10), (2, 2, *chroma_size), dtype, dtype)
    shown = ycbcr_to_rgb(luma, chroma, ToneMap(PQ).target)
    wanted = torch.from_numpy(sdr_by_hand(light, 1000)).view(1, 3, 1, 1)
    # Half a 10-bit code of PQ, on either side, is most of it.
    assert float((shown - wanted).abs().max()) <= 4 / 1023


def test_black_stays_black_and_the_peak_becomes_white() -> None:
    for tone, peak in ((ToneMap(PQ, 600), float(pq_of(600))), (ToneMap(HLG), 1.0)):
        rgb = torch.tensor([0.0, peak]).expand(1, 3, 1, 2)
        assert as_rows(tone_mapped_rgb(rgb, tone)) == pytest.approx(np.array([[0.0] * 3, [1.0] * 3]), abs=1e-3)


def test_an_sdr_picture_that_zimg_made_pq_of_comes_back(run_ffmpeg: Callable[..., bytes], tmp_path: Path) -> None:
    """With a peak of reference white nothing is bent. zimg takes BT.709 for what a display of γ 2.4 shows."""
    height, width = 32, 48
    rgb = np.random.default_rng(5).random((3, height, width)) * 0.98 + 0.01
    codes = np.stack([rgb[1], rgb[2], rgb[0]]) * 65535
    (tmp_path / "sdr.raw").write_bytes(codes.round().astype("<u2").tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", "gbrp16le", "-s", f"{width}x{height}")
    to_pq = "zscale=min=gbr:rin=full:tin=709:pin=709:m=gbr:r=full:t=smpte2084:p=2020:npl=203,format=gbrp16le"
    try:
        made = run_ffmpeg(*raw, "-i", tmp_path / "sdr.raw", "-vf", to_pq, *raw[:4], "-")
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg has no zscale")
    green, blue, red = np.frombuffer(made, "<u2").reshape(3, height, width) / 65535
    found = tone_mapped_rgb(torch.tensor(np.stack([red, green, blue])[None], dtype=torch.float32), ToneMap(PQ, 203))
    assert_alike(found[0].double().numpy(), rgb)
