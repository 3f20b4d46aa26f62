"""Putting a subject over a plate, and preparing a subject to travel with its alpha."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.imaging.color import ROWS_PER_STRIP

HIDDEN_BELOW = 0.5 / 1023
"""Alpha that rounds to zero in ten bits."""
_BLOCK = 16  # the side of a ProRes or VP9 macroblock


def over(foreground: Tensor, background: Tensor, alpha: Tensor) -> Tensor:
    """Composite straight colour over a plate (Porter & Duff 1984), in the foreground's type; integers are rounded.

    Foreground (T, C, H, W) and background (T or 1, C, H, W) float32 are in one unit, whatever it is;
    alpha (T, 1, H, W) is in [0, 1].
    """
    composite = torch.empty_like(foreground)
    whole_numbers = not foreground.is_floating_point()
    for top in range(0, foreground.shape[-2], ROWS_PER_STRIP):
        rows = (..., slice(top, top + ROWS_PER_STRIP), slice(None))
        mixed = torch.lerp(background[rows], foreground[rows].to(torch.float32), alpha[rows])
        composite[rows] = mixed.round_() if whole_numbers else mixed
    return composite


def alpha_codes(alpha: Tensor, bits: int) -> Tensor:
    """Alpha in [0, 1] as integer codes of `bits` bits, full range: uint8, or uint16 above eight."""
    codes = torch.empty_like(alpha, dtype=torch.uint8 if bits == 8 else torch.uint16)
    for top in range(0, alpha.shape[-2], ROWS_PER_STRIP):
        rows = (..., slice(top, top + ROWS_PER_STRIP), slice(None))
        codes[rows] = (alpha[rows] * (2**bits - 1)).round_()
    return codes


def near_matte(alpha: Tensor) -> Tensor:
    """Where colour can matter, (T, 1, ceil(H/16), ceil(W/16)) bool: blocks of 16 with any alpha, and those beside them.

    What lies further out is never seen, not even after a codec or a scaler has smeared it.
    """
    visible = F.max_pool2d(alpha, _BLOCK, ceil_mode=True)
    return F.max_pool2d(visible, 3, stride=1, padding=1) > HIDDEN_BELOW


def blank_hidden(planes: Tensor, near: Tensor, blank: float, size: tuple[int, int]) -> Tensor:
    """Planes (T, C, h, w) of a frame of (height, width) `size`, with `blank` in every block that `near` leaves out."""
    block = (_BLOCK * planes.shape[-2] // size[0] or 1, _BLOCK * planes.shape[-1] // size[1] or 1)
    hidden = (~near).repeat_interleave(block[0], dim=-2).repeat_interleave(block[1], dim=-1)
    hidden = hidden[..., : planes.shape[-2], : planes.shape[-1]]
    if planes.dtype == torch.uint16:  # torch fills signed codes only; ours have at most 12 bits
        return planes.view(torch.int16).masked_fill(hidden, blank).view(torch.uint16)
    return planes.masked_fill(hidden, blank)
