"""Mixing light where codes would be mixed: what a lens does at an edge, and what a plate's light does round it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import HDR_TRANSFERS, LINEAR, SRGB, Coding
from vmatte.imaging.blur import gaussian_blur
from vmatte.imaging.color import chroma_taps, downsample_chroma, rgb_change_to_ycbcr, rounded, taken, ycbcr_to_rgb
from vmatte.imaging.compositing import over
from vmatte.imaging.resize import resize

_FAINT = 1 / 1024
"""Alpha this near to 0 or 1 is mixed as codes: light and codes are then less than one 8-bit code apart. In much of a
subject a network leaves alpha a little below 1, and these pixels would cost more than the edge."""
_AT_ONCE = 262144
"""Pixels whose numbers stay in the processor's cache."""
_GLOW_SIGMAS = 3.0
"""How far the light that comes round the edge is gathered, in sigmas of the wrap."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How R'G'B' encodes light, both in [0, 1]: V = slope · L up to L = `knee`, and (1 + offset) · L^exponent − offset
    above (ITU-T H.273, table 3)."""

    slope: float
    knee: float
    offset: float
    exponent: float

    def light(self, encoded: Tensor) -> Tensor:
        """Light of R'G'B' in [0, 1]; on a CPU within 1/8192 of it, seen as R'G'B'."""
        return looked_up(_light_table(self), encoded) if encoded.device.type == "cpu" else self.exact_light(encoded)

    def encoded(self, light: Tensor) -> Tensor:
        """R'G'B' of light in [0, 1]; on a CPU within 1/7281."""
        return looked_up(_encoded_table(self), light) if light.device.type == "cpu" else self.exact_encoded(light)

    def exact_light(self, encoded: Tensor) -> Tensor:
        bent = ((encoded + self.offset) * (1 / (1 + self.offset))).pow_(1 / self.exponent)
        return torch.where(encoded < self.slope * self.knee, encoded * (1 / self.slope), bent)

    def exact_encoded(self, light: Tensor) -> Tensor:
        bent = light.pow(self.exponent).mul_(1 + self.offset).sub_(self.offset)
        return torch.where(light < self.knee, light * self.slope, bent)


# A power costs a processor five times what a table costs it. Light needs finer steps: near black R'G'B' is steep in it.
@lru_cache
def _light_table(curve: Curve) -> Tensor:
    return curve.exact_light(torch.linspace(0, 1, 4097))


@lru_cache
def _encoded_table(curve: Curve) -> Tensor:
    return curve.exact_encoded(torch.linspace(0, 1, 16385))


def looked_up(table: Tensor, values: Tensor) -> Tensor:
    """The steps nearest to values in [0, 1] of a table, which has them evenly from 0 to 1."""
    steps = (values * (len(table) - 1)).add_(0.5).to(torch.int32)
    return table.index_select(0, steps.flatten()).view(values.shape)


BT709_CURVE = Curve(slope=4.5, knee=0.018053968510807, offset=0.09929682680944, exponent=0.45)
SRGB_CURVE = Curve(slope=12.92, knee=0.0031308, offset=0.055, exponent=1 / 2.4)


def curve_of(transfer: int) -> Curve | None:
    """The curve of a transfer (ITU-T H.273); None where codes are mixed: they are light, or HDR.

    BT.709's is the camera's (its inverse OETF), not the display's γ 2.4: the light of subject and background was mixed
    in a lens, before any display, and it rises from black with a slope of 4.5, where γ 2.4 would make noise of codes.
    PQ and HLG tell another picture's light, of which an SDR plate has none.
    """
    if transfer in (LINEAR, *HDR_TRANSFERS):
        return None
    return SRGB_CURVE if transfer == SRGB else BT709_CURVE


Planes = tuple[Tensor, Tensor]
"""Luma (T, 1, H, W) and chroma (T, 2, h, w); T is 1 for what stands still."""


@dataclass(frozen=True, slots=True)
class Space:
    """What is mixed: light as the curve has it, or without one R'G'B' as it is coded."""

    coding: Coding
    curve: Curve | None


@dataclass(frozen=True, slots=True, eq=False)
class Wrap:
    """Light that comes round a subject's edge: `glow` (T or 1, 3, H, W), light in [0, 1] as the curve has it, of which
    `weight` (T, 1, H, W) in [0, 1] is screened over the subject."""

    glow: Tensor
    weight: Tensor


def wrap_weight(alpha: Tensor, sigma: float, strength: float) -> Tensor:
    """How much of the plate's light comes round to each pixel of a subject: alpha (T, 1, H, W) in [0, 1].

    `strength` at a straight edge, and nothing deeper inside than three times `sigma` (in pixels).
    """
    return gaussian_blur(1 - alpha, sigma).mul_(2).clamp_(0, 1).mul_(strength)


def glow_of(plate: Planes, sigma: float, space: Space) -> Tensor:
    """A plate's light (T, 3, H, W) in [0, 1], gathered from round each pixel; `sigma`, in pixels, is the wrap's."""
    size = _size(plate[0])
    # At a size at which the gathering is eight pixels wide: a mean of codes instead of light, over less than that.
    shrink = max(1.0, _GLOW_SIGMAS * sigma / 8)
    small = (max(1, round(size[0] / shrink)), max(1, round(size[1] / shrink)))
    luma, chroma = (resize(planes.to(torch.float32), small) for planes in plate)
    rgb = ycbcr_to_rgb(luma, chroma, space.coding)
    light = rgb if space.curve is None else space.curve.light(rgb)
    return resize(gaussian_blur(light, _GLOW_SIGMAS * sigma / shrink), size).clamp_(0, 1)


def over_as_light(
    front: Planes, behind: Planes, alpha: Tensor, space: Space, wrap: Wrap | None = None
) -> tuple[Tensor, Tensor]:
    """Composite a subject over a plate, mixed as light: integer codes of luma and chroma.

    `front` is the subject in straight colour, integer codes; `behind` the plate, float32 codes; alpha (T, 1, H, W) is
    in [0, 1].

    The matrix of Y'CbCr is linear, so a composite of codes is one of R'G'B', and only the difference between light and
    R'G'B' has to be computed: of the pixels that are neither solid nor empty, or that light is wrapped round. The
    others keep their own codes, and chroma does not go to full size and back.
    """
    highest = 2**space.coding.bits - 1
    chroma_alpha = downsample_chroma(alpha, _size(front[1]))
    if alpha.device.type != "cpu":
        fine, coarse = correction(front, behind, alpha, space, wrap)
        luma = over(front[0], behind[0], alpha, fine, highest)
    else:
        luma = over(front[0], behind[0], alpha)
        coarse = torch.zeros(front[1].shape)
        for t in range(len(alpha)):
            own, plate = ((_frame(luma, t), _frame(chroma, t)) for luma, chroma in (front, behind))
            glow = None if wrap is None else Wrap(_frame(wrap.glow, t), _frame(wrap.weight, t))
            _correct_soft_pixels((_frame(luma, t), _frame(coarse, t)), own, plate, _frame(alpha, t), space, glow)
    return luma, over(front[1], behind[1], chroma_alpha, coarse, highest)


def correction(
    front: Planes, behind: Planes, alpha: Tensor, space: Space, wrap: Wrap | None = None
) -> tuple[Tensor, Tensor]:
    """What has to be added to composites of codes, in codes: luma (T, 1, H, W) and chroma (T, 2, h, w)."""
    rgb_front, rgb_behind = ycbcr_to_rgb(*front, space.coding), ycbcr_to_rgb(*behind, space.coding)
    shown = (alpha > _FAINT) & (alpha < 1 - _FAINT)
    if wrap is not None:
        shown |= (alpha > _FAINT) & (wrap.weight > _FAINT)
    change = _change(rgb_front, rgb_behind, alpha, space, wrap) * shown
    return change[:, :1], downsample_chroma(change[:, 1:], _size(front[1]))


def _correct_soft_pixels(
    composite: Planes, front: Planes, behind: Planes, alpha: Tensor, space: Space, wrap: Wrap | None
) -> None:
    """The same of one frame, and only of the pixels that need it: corrects the composite's luma codes, and puts what
    has to be added to its chroma where its chroma is given."""
    luma, coarse = composite
    size, highest = _size(luma), 2**space.coding.bits - 1
    places = _soft_places(alpha[0, 0].numpy(), None if wrap is None else wrap.weight[0, 0].numpy())
    for some in torch.split(places, _AT_ONCE):
        x, y = some.T.contiguous()
        where = y * size[1] + x
        taps = chroma_taps(x, y, size, _size(coarse))
        own, plates, share = (taken(planes, where) for planes in (front[0], behind[0], alpha))
        rgb_front = ycbcr_to_rgb(own, taps.upsampled(front[1]), space.coding)
        rgb_behind = ycbcr_to_rgb(plates, taps.upsampled(behind[1]), space.coding)
        glow = None if wrap is None else Wrap(taken(wrap.glow, where), taken(wrap.weight, where))
        change = _change(rgb_front, rgb_behind, share, space, glow)
        mixed = torch.lerp(plates, own, share).add_(change[:, :1]).clamp_(0, highest)
        luma.view(-1).numpy().put(where.numpy(), rounded(mixed, space.coding.bits).numpy())
        taps.add_downsampled(change[:, 1:], coarse)


def _soft_places(alpha: NDArray[np.float32], weight: NDArray[np.float32] | None) -> Tensor:
    """Columns and rows (N, 2) int32 of the pixels that are to be corrected, row by row."""
    mask = cv2.inRange(alpha, _FAINT, 1 - _FAINT)
    if weight is not None:
        mask = cv2.bitwise_or(mask, cv2.bitwise_and(cv2.inRange(weight, _FAINT, 2.0), cv2.inRange(alpha, _FAINT, 2.0)))
    found = cv2.findNonZero(mask)
    return torch.from_numpy(found).view(-1, 2) if found is not None else torch.empty((0, 2), dtype=torch.int32)


def _change(front: Tensor, behind: Tensor, alpha: Tensor, space: Space, wrap: Wrap | None) -> Tensor:
    """The correction (T, 3, H, W), in codes, of R'G'B' (T, 3, H, W) and alpha (T, 1, H, W)."""
    coded, curve = torch.lerp(behind, front, alpha), space.curve
    if curve is not None:
        front, behind = curve.light(front), curve.light(behind)
    if wrap is not None:
        front = torch.lerp(front, torch.ones_like(front), wrap.glow * wrap.weight)
    mixed = torch.lerp(behind, front, alpha)
    shown = mixed if curve is None else curve.encoded(mixed)
    return rgb_change_to_ycbcr(shown.sub_(coded), space.coding)


def _frame(planes: Tensor, t: int) -> Tensor:
    """(1, C, H, W). What stands still is one frame for all."""
    return planes[min(t, len(planes) - 1)][None]


def _size(planes: Tensor) -> tuple[int, int]:
    return int(planes.shape[-2]), int(planes.shape[-1])
