"""HDR pictures (ITU-R BT.2100, PQ and HLG) become SDR ones (BT.709), by one curve for a whole clip.

Light is counted in units of HDR's reference white, 203 cd/m² (ITU-R BT.2408), for which SDR's white stands: what is no
brighter than a lit face looks as it did, and what is brighter is bent (BT.2390) until the clip's brightest comes to
SDR's white. SDR is what a display of BT.1886 shows: γ 2.4.

The curve is applied to the greatest of R, G and B, and the others keep their ratio to it, so no hue turns, and none is
bleached. Colours that BT.709 has not are mixed with the grey of their own luminance first, until it has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from vmatte.clip import BT709, BT2020_PRIMARIES, CHROMATICITIES, DEFAULT_PEAK, HLG, REFERENCE_WHITE, ClipInfo, Coding
from vmatte.imaging.color import codes_to_rgb, downsample_chroma, rgb_to_ycbcr, rounded, strips, upsample_chroma
from vmatte.imaging.light import looked_up

# SMPTE ST 2084
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_PQ_TOP = 10000.0
"""cd/m² of PQ's highest code."""

# ITU-R BT.2100, table 5
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA = 1.2
"""Of the OOTF, on a display of DEFAULT_PEAK."""

_HLG_WHITE = 0.26496
"""The scene's light of HLG's reference white, 75 % of its signal (BT.2408)."""

_DISPLAY_GAMMA = 2.4
_BT2020_LUMINANCE = (0.2627, 0.6780, 0.0593)
_BT709_LUMINANCE = (0.2126, 0.7152, 0.0722)

_GAMUT_GAIN = 1.75
"""More than by which a colour's greatest part grows where its primaries change: that of BT.2020's red, 1.66."""
_STEPS = 65536
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class ToneMap:
    """How a clip's HDR codes become SDR: the same for all its frames."""

    source: Coding
    peak: float = DEFAULT_PEAK
    """cd/m² of its brightest."""

    @staticmethod
    def of(clip: ClipInfo) -> ToneMap:
        """That of an HDR clip's frames."""
        return ToneMap(clip.delivery, clip.peak)

    @property
    def target(self) -> Coding:
        return Coding(BT709, self.source.bits)


def pq_light(signal: Tensor) -> Tensor:
    """cd/m² of PQ's R'G'B' in [0, 1] (the EOTF of SMPTE ST 2084)."""
    root = signal.pow(1 / _M2)
    power: Tensor = (root - _C1).clamp(min=0) / (_C2 - _C3 * root)
    return _PQ_TOP * power.pow(1 / _M1)


def pq_signal(light: Tensor) -> Tensor:
    """The inverse."""
    power = (light / _PQ_TOP).pow(_M1)
    root: Tensor = (_C1 + _C2 * power) / (1 + _C3 * power)
    return root.pow(_M2)


def hlg_scene_light(signal: Tensor) -> Tensor:
    """The scene's light in [0, 1] of HLG's R'G'B' (the inverse of BT.2100's OETF)."""
    bright = (((signal - _HLG_C) / _HLG_A).exp() + _HLG_B) / 12
    return torch.where(signal <= 0.5, signal.square() / 3, bright)


def bent(light: Tensor, peak: float) -> Tensor:
    """The EETF of BT.2390 without black lift: light from 0 to `peak` cd/m² comes to lie within REFERENCE_WHITE."""
    peak_signal, white_signal = pq_signal(torch.tensor([peak, REFERENCE_WHITE], dtype=torch.float64)).tolist()
    top = white_signal / peak_signal
    knee = 1.5 * top - 0.5
    if knee >= 1:
        return light
    before = pq_signal(light) / peak_signal
    t = (before - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    )  # Hermite
    return torch.where(before < knee, light, pq_light(spline * peak_signal))


def hdr_light(rgb: Tensor, transfer: int) -> Tensor:
    """Light of HDR's R'G'B' in [0, 1], in proportion to the scene's; 1 is reference white."""
    if transfer == HLG:
        return hlg_scene_light(rgb) / _HLG_WHITE
    return pq_light(rgb) / REFERENCE_WHITE


def gamut_matrix(source: int, target: int) -> Tensor:
    """(3, 3) float64, from light in one set of primaries (ITU-T H.273) to that in another; unknown ones are BT.2020."""
    matrix: Tensor = torch.linalg.inv(_to_xyz(target)) @ _to_xyz(source)
    return matrix


def _to_xyz(primaries: int) -> Tensor:
    """SMPTE RP 177; grey stays grey, whatever white the primaries have: it is BT.709's, which is D65."""

    def columns(points: Sequence[tuple[float, float]]) -> Tensor:
        return torch.tensor([[x / y, 1, (1 - x - y) / y] for x, y in points], dtype=torch.float64).T

    corners = columns(CHROMATICITIES.get(primaries, CHROMATICITIES[BT2020_PRIMARIES])[:3])
    white = columns(CHROMATICITIES[BT709.primaries][3:])
    matrix: Tensor = corners * (torch.linalg.inv(corners) @ white).T
    return matrix


def tone_mapped_rgb(rgb: Tensor, tone: ToneMap) -> Tensor:
    """BT.709 R'G'B' of HDR's (T, 3, H, W), both in [0, 1], by tables: within 1/1000 of what is exact."""
    curve = _curve_of(tone, rgb.device)
    light = looked_up(curve.light, rgb)
    if tone.source.color.transfer == HLG:
        luminance = _weighted(light, _BT2020_LUMINANCE).clamp_(min=_TINY)
        light = light.mul_(luminance.pow_(_HLG_GAMMA - 1).mul_(DEFAULT_PEAK / REFERENCE_WHITE))
    sdr = _within_gamut(torch.matmul(curve.gamut, light.flatten(2)).view(light.shape))
    most = REFERENCE_WHITE / (_GAMUT_GAIN * tone.peak)
    sdr.mul_(looked_up(curve.gain, sdr.amax(1, keepdim=True).mul_(most)))
    # The root first: γ 2.4 alone is so steep at black that no even steps would do.
    return looked_up(curve.signal, sdr.clamp_(0, 1).sqrt_())


def tone_mapped(luma: Tensor, chroma: Tensor, tone: ToneMap) -> tuple[Tensor, Tensor]:
    """SDR codes of `tone.target` of HDR codes: luma (T, 1, H, W), chroma (T, 2, h, w) at the size it has.

    Integers are rounded, float32 stays so. Luma is computed at its own size, chroma at its own, as in `recode`.
    """
    chroma_size = (int(chroma.shape[2]), int(chroma.shape[3]))
    shown, colours = luma.to(torch.float32), chroma.to(torch.float32)
    same = chroma_size == tuple(luma.shape[-2:])
    fine = colours if same else upsample_chroma(colours, luma.shape[-2:])
    mapped_luma, mapped_chroma = torch.empty_like(luma), torch.empty_like(chroma)
    for rows in strips(luma):
        planes = _codes(torch.cat([shown[rows], fine[rows]], dim=1), tone)
        mapped_luma[rows] = _like(planes[:, :1], luma, tone)
        if same:
            mapped_chroma[rows] = _like(planes[:, 1:], chroma, tone)
    if not same:
        coarse = downsample_chroma(shown, chroma_size)
        for rows in strips(chroma):
            planes = _codes(torch.cat([coarse[rows], colours[rows]], dim=1), tone)
            mapped_chroma[rows] = _like(planes[:, 1:], chroma, tone)
    return mapped_luma, mapped_chroma


def _codes(planes: Tensor, tone: ToneMap) -> Tensor:
    """Codes (T, 3, H, W) float32 of HDR's."""
    matrix, offset = codes_to_rgb(tone.source, planes.device)
    rgb = torch.baddbmm(offset.expand(len(planes), 3, 1), matrix.expand(len(planes), 3, 3), planes.flatten(2))
    mapped = tone_mapped_rgb(rgb.clamp_(0, 1).view(planes.shape), tone)
    return torch.cat(rgb_to_ycbcr(mapped, tone.target, (int(planes.shape[2]), int(planes.shape[3]))), dim=1)


def _like(codes: Tensor, wanted: Tensor, tone: ToneMap) -> Tensor:
    return codes if wanted.is_floating_point() else rounded(codes, tone.target.bits)


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """Tables over [0, 1] in even steps, and the matrix to BT.709's primaries."""

    light: Tensor
    """Of R'G'B': light in units of reference white, up to the peak; for HLG the scene's, in [0, 1]."""
    gain: Tensor
    """Of the greatest of R, G and B, as a part of _GAMUT_GAIN times the peak."""
    signal: Tensor
    """Of the root of light: R'G'B' of SDR."""
    gamut: Tensor


@lru_cache  # a copy to a GPU waits until it is idle
def _curve_of(tone: ToneMap, device: torch.device) -> _Curve:
    steps = torch.linspace(0, 1, _STEPS + 1, dtype=torch.float64)
    if tone.source.color.transfer == HLG:
        light = hlg_scene_light(steps)
    else:
        light = pq_light(steps).clamp(max=tone.peak) / REFERENCE_WHITE
    brightest = (steps * (_GAMUT_GAIN * tone.peak)).clamp(min=_TINY)
    gain = bent(brightest.clamp(max=tone.peak), tone.peak) / brightest
    gamut = gamut_matrix(tone.source.color.primaries, BT709.primaries)
    tables = light, gain, steps.pow(2 / _DISPLAY_GAMMA), gamut
    return _Curve(*(table.to(torch.float32).to(device) for table in tables))


def _weighted(light: Tensor, weights: tuple[float, float, float]) -> Tensor:
    red, green, blue = light[:, :1], light[:, 1:2], light[:, 2:]
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def _within_gamut(light: Tensor) -> Tensor:
    """Light (T, 3, H, W), mixed with the grey of its luminance as far as that leaves none of it below 0."""
    grey = _weighted(light, _BT709_LUMINANCE).clamp_(min=0)
    share = grey / (grey - light.amin(1, keepdim=True)).clamp_(min=_TINY)
    return torch.lerp(grey, light, share.clamp_(max=1))
