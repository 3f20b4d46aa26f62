"""The shadow where a standing figure meets the ground, drawn from its matte alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.clip import Coding
from vmatte.imaging.blur import blur_unevenly
from vmatte.imaging.color import black, downsample_chroma
from vmatte.imaging.resize import resize

_LINES = 180
"""Short side of the grid on which it is found. The lengths that follow are in parts of the clip's own short side."""
_BAND = 0.05
"""How far above a figure's lowest point another part still stands on the ground: the foot behind."""
_SIDE = 0.3
"""How far to each side something lower keeps a part in the air: a hand beside the legs."""
_WIDE = 0.03
"""What is this wide is there; a narrower thing is there by so much less."""
_EDGE = 0.02
"""Over what height the end of a figure throws it."""
_FLATNESS = 0.3
"""Height of a circle on the ground by its width, from a camera at eye level."""
_CORE, _REST = 0.02, 0.05
"""Standard deviations, across, of the dark core under the sole and of the soft rest round it."""
_DENSITY = 1.6
_DARKEST = 0.8
"""Of the light that a shadow of strength 1 takes."""
_GAMMA = 0.45
"""R'G'B' is about light to the power of this."""


def contact_shadow(alpha: Tensor, strength: float, side: float) -> Tensor:
    """How much of its light the ground loses, (T, 1, H, W) in [0, 1], under alpha (T, 1, H, W) float32 in [0, 1].

    `side` is the short side of the clip's picture in pixels of alpha, which may be of a picture on which that lies in
    small: a figure throws the same shadow wherever it is put.

    Nothing where the figure leaves the picture at its bottom: where it stands is not seen. By constants and continuous
    functions of alpha alone, so a steady matte has a steady shadow.
    """
    size = (int(alpha.shape[-2]), int(alpha.shape[-1]))
    scale = min(1.0, _LINES / min(size))
    height, width = (max(1, round(side * scale)) for side in size)
    unit = max(1, round(side * scale))
    small = resize(alpha, (height, width))
    contact = _undersides(small, unit) * (1 - _something_lower(small, unit))
    density = torch.zeros_like(small)
    for sigma in (_CORE * unit, _REST * unit):
        density += blur_unevenly(contact, across=sigma, down=sigma * _FLATNESS)
    return resize((1 - torch.exp(-_DENSITY * density)) * (_DARKEST * strength), size)


def cut_off(alpha: Tensor) -> Tensor:
    """How much of a figure leaves a picture at its bottom, (T, 1, 1, 1) in [0, 1], of alpha (T, 1, H, W)."""
    unit = _WIDE * min(alpha.shape[-2:])
    return (alpha[..., -1:, :].sum(dim=-1, keepdim=True) / max(1.0, unit)).clamp_(max=1)


def _undersides(alpha: Tensor, unit: int) -> Tensor:
    """Where the figure ends downwards: alpha a little above less alpha a little below; it goes on below the picture."""
    reach = max(1, round(_EDGE * unit / 2))
    padded = F.pad(alpha, (0, 0, reach, reach), mode="replicate")
    return (padded[..., : -2 * reach, :] - padded[..., 2 * reach :, :]).clamp_(min=0)


def _something_lower(alpha: Tensor, unit: int) -> Tensor:
    """How much each pixel has something of a figure beneath it, further than `_BAND`, straight down or to the side."""
    band, side = max(1, round(_BAND * unit)), max(1, round(_SIDE * unit))
    window = 2 * side + 1
    wide = F.avg_pool2d(alpha, (1, window), stride=1, padding=(0, side)) * (window / max(1.0, _WIDE * unit))
    there = F.pad(wide.clamp_(max=1), (0, 0, 0, band), mode="replicate")
    lowest_first = there.flip(-2).cummax(dim=-2).values.flip(-2)
    return lowest_first[..., band:, :]


def shaded(luma: Tensor, chroma: Tensor, taken: Tensor, coding: Coding) -> tuple[Tensor, Tensor]:
    """A plate's float codes, luma (T or 1, 1, H, W) and chroma (T or 1, 2, h, w), with `taken` (T, 1, H, W) of its
    light gone: what scales R'G'B' scales Y'CbCr."""
    left = (1 - taken).pow_(_GAMMA)
    zero_luma, zero_chroma = black(coding)
    chroma_left = downsample_chroma(left, (int(chroma.shape[-2]), int(chroma.shape[-1])))
    return (luma - zero_luma) * left + zero_luma, (chroma - zero_chroma) * chroma_left + zero_chroma
