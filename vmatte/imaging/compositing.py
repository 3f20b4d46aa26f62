"""Putting a subject over a plate, and preparing a subject to travel with its alpha."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.clip import FLOAT_BITS, RGB_MATRIX, Coding
from vmatte.imaging.color import black, rounded, strips

BLOCK = 16
"""Side of a codec's block."""
_FAINT = 1e-6


def over(
    foreground: Tensor, background: Tensor, alpha: Tensor, correction: Tensor | None = None, highest: int | None = None
) -> Tensor:
    """Composite straight colour over a plate (Porter & Duff 1984), in the foreground's type; integers are rounded.

    Foreground (T, C, H, W) and background (T or 1, C, H, W) float32 are in one unit, whatever it is;
    alpha (T, 1, H, W) is in [0, 1]. A correction (T, C, H, W) is added before anything is rounded, and what comes of it
    stays between 0 and `highest`.
    """
    composite = torch.empty_like(foreground, memory_format=torch.contiguous_format)
    for rows in strips(foreground):
        mixed = torch.lerp(background[rows], foreground[rows].to(torch.float32), alpha[rows])
        if correction is not None:
            mixed.add_(correction[rows]).clamp_(0, highest)
        if foreground.is_floating_point():
            composite[rows] = mixed
        else:
            composite[rows] = rounded(mixed, 8 * foreground.element_size())
    return composite


def alpha_codes(alpha: Tensor, bits: int) -> Tensor:
    """Alpha in [0, 1] as integer codes of `bits` bits, full range: uint8, or uint16 above eight."""
    codes = torch.empty_like(alpha, dtype=torch.uint8 if bits == 8 else torch.uint16)
    for rows in strips(alpha):
        codes[rows] = rounded(alpha[rows] * (2**bits - 1), bits)
    return codes


def matte_planes(alpha: Tensor, coding: Coding, chroma_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Alpha (T, 1, H, W) in [0, 1] as a gray picture in a coding: luma from its black to its white, and chroma
    (T, 2, *chroma_size) without colour; for RGB all planes are luma."""
    if coding.bits == FLOAT_BITS:
        luma = alpha.clone()
    else:
        darkest, brightest = coding.luma_ends
        luma = torch.empty_like(alpha, dtype=torch.uint8 if coding.bits == 8 else torch.uint16)
        for rows in strips(alpha):
            luma[rows] = rounded(alpha[rows] * (brightest - darkest) + darkest, coding.bits)
    if coding.color.matrix == RGB_MATRIX:
        return luma, luma.expand(-1, 2, -1, -1)
    chroma = torch.full((len(alpha), 2, *chroma_size), black(coding)[1], dtype=torch.int32, device=alpha.device)
    return luma, chroma.to(luma.dtype)


def settled(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha in [0, 1] in steps of 1/65535, and its 16-bit codes."""
    steps = (alpha * 65535).round_()
    codes = steps.to(torch.uint16)
    return steps.div_(65535), codes


def alpha_of_codes(codes: Tensor) -> Tensor:
    """Alpha float32 of 16-bit codes."""
    return codes.to(torch.float32).div_(65535)


def near_matte(codes: Tensor) -> Tensor:
    """Where colour can matter, (T, 1, ceil(H/16), ceil(W/16)) bool: blocks of 16 with any alpha, and those beside them.

    `codes` (T, 1, H, W) are those of alpha. What lies further out is never seen, not even after a codec or a scaler has
    smeared it.
    """
    # torch finds no maximum of uint16, and as int16 the upper half of 16 bits is below zero.
    any_alpha = (codes.view(torch.int16) != 0).view(torch.uint8) if codes.dtype == torch.uint16 else codes
    padded = F.pad(any_alpha, (0, -codes.shape[-1] % BLOCK, 0, -codes.shape[-2] % BLOCK))
    frames, _, height, width = padded.shape
    rows = padded.view(frames, 1, height // BLOCK, BLOCK, width).amax(3)
    visible = rows.view(frames, 1, height // BLOCK, width // BLOCK, BLOCK).amax(4)
    return F.max_pool2d(visible.to(torch.float32), 3, stride=1, padding=1) > 0


def blank_hidden(codes: Tensor, near: Tensor, blank: int, size: tuple[int, int]) -> Tensor:
    """Codes (T, C, h, w) of frames of (height, width) `size`, with `blank` in every block that `near` leaves out."""
    height, width = codes.shape[-2:]
    block_height, block_width = (
        BLOCK if side == whole else BLOCK // 2 for side, whole in zip((height, width), size, strict=True)
    )
    signed = codes.view(torch.int16) if codes.dtype == torch.uint16 else codes  # torch does no sums on uint16
    kept = near.repeat_interleave(block_width, dim=-1)[..., :width].to(signed.dtype)
    filled = (1 - kept) * blank
    if codes.device.type != "cpu":
        kept, filled = (part.repeat_interleave(block_height, dim=-2)[..., :height, :] for part in (kept, filled))
        return (signed * kept + filled).view(codes.dtype)
    shown = torch.empty_like(signed, memory_format=torch.contiguous_format)
    for block in range(near.shape[-2]):
        rows = (..., slice(block * block_height, (block + 1) * block_height), slice(None))
        line = (..., slice(block, block + 1), slice(None))
        shown[rows] = signed[rows] * kept[line] + filled[line]
    return shown.view(codes.dtype)


def shown_part(alpha: Tensor) -> tuple[int, int, int, int]:
    """Even bounds (top, bottom, left, right) of what alpha (H, W) shows, and of what chroma takes in beside it."""
    height, width = (int(side) for side in alpha.shape)
    if alpha.device.type != "cpu":  # looking would stall it, and there the rest costs nothing
        return 0, height, 0, width
    bounds: list[int] = []
    for side, most in ((height, alpha.amax(dim=1)), (width, alpha.amax(dim=0))):
        held = torch.nonzero(most > 0).flatten()
        if not len(held):
            return 0, 0, 0, 0
        bounds += [max(int(held[0]) // 2 * 2 - 2, 0), min(int(held[-1]) // 2 * 2 + 4, side)]
    return bounds[0], bounds[1], bounds[2], bounds[3]
