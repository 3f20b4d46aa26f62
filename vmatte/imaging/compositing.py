"""Putting a subject over a plate, and preparing a subject to travel with its alpha."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.clip import Coding
from vmatte.imaging.color import downsample_chroma, rgb_to_ycbcr, rounded, strips

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


def recolored(luma: Tensor, chroma: Tensor, foreground: Tensor, alpha: Tensor, coding: Coding) -> tuple[Tensor, Tensor]:
    """A frame's codes, with the foreground's colour where alpha is soft: as a code of that depth neither 0 nor full.

    Luma (T, 1, H, W), chroma (T, 2, h, w) full or half size; foreground (T, 3, H, W) straight R'G'B' and alpha
    (T, 1, H, W), both float32 in [0, 1].
    """
    half_a_code = 0.5 / (2**coding.bits - 1)
    made_luma, made_chroma = (planes.clone(memory_format=torch.contiguous_format) for planes in (luma, chroma))
    tall, wide = (-(-luma.shape[side] // chroma.shape[side]) for side in (-2, -1))
    for _, rows, _ in strips(luma):
        columns = _visible_columns(alpha[..., rows, :], half_a_code)
        fine = (..., rows, columns)
        coarse = (..., _shrunk(rows, tall, luma.shape[-2]), _shrunk(columns, wide, luma.shape[-1]))
        soft, predicted, own = alpha[fine], foreground[fine], chroma[coarse]
        small = (int(own.shape[-2]), int(own.shape[-1]))
        new_luma, new_chroma = rgb_to_ycbcr(predicted, coding, (int(soft.shape[-2]), int(soft.shape[-1])))
        small_soft = downsample_chroma(soft, small)
        # Weighted by alpha, as it will be seen: what a foreground says where there is none means nothing.
        new_chroma = downsample_chroma(new_chroma * soft, small).div_(small_soft.clamp(min=_FAINT))
        for made, place, shown, values in (
            (made_luma, fine, soft, new_luma),
            (made_chroma, coarse, small_soft, new_chroma),
        ):
            _fill(made[place], (shown > half_a_code) & (shown < 1 - half_a_code), rounded(values, coding.bits))
    return made_luma, made_chroma


def _visible_columns(alpha: Tensor, least: float) -> slice:
    """The columns of alpha (T, 1, H, W) that hold more than `least`, and those that chroma takes in beside them."""
    width = int(alpha.shape[-1])
    if alpha.device.type != "cpu":  # looking would stall it, and there the rest costs nothing
        return slice(0, width)
    held = torch.nonzero(alpha.amax(dim=(0, 1, 2)) > least).flatten().tolist()
    if not held:
        return slice(0, 0)
    return slice(max(held[0] // 2 * 2 - 2, 0), min(held[-1] // 2 * 2 + 4, width))


def _shrunk(whole: slice, step: int, side: int) -> slice:
    return slice(whole.start // step, -(-min(whole.stop, side) // step))


def _fill(codes: Tensor, where: Tensor, values: Tensor) -> None:
    """Put values into codes, in place."""
    if codes.dtype == torch.uint16:  # torch selects no uint16
        codes, values = codes.view(torch.int16), values.view(torch.int16)
    codes.copy_(torch.where(where, values, codes))


def alpha_codes(alpha: Tensor, bits: int) -> Tensor:
    """Alpha in [0, 1] as integer codes of `bits` bits, full range: uint8, or uint16 above eight."""
    codes = torch.empty_like(alpha, dtype=torch.uint8 if bits == 8 else torch.uint16)
    for rows in strips(alpha):
        codes[rows] = rounded(alpha[rows] * (2**bits - 1), bits)
    return codes


def settled(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha in [0, 1] in steps of 1/65535, and its 16-bit codes."""
    steps = (alpha * 65535).round_()
    codes = steps.to(torch.uint16)
    return steps.div_(65535), codes


def alpha_of_codes(codes: Tensor) -> Tensor:
    """Alpha float32 of 16-bit codes."""
    return codes.to(torch.float32).div_(65535)


def foreground_codes(foreground: Tensor, alpha: Tensor, bits: int) -> Tensor:
    """R'G'B' (T, 3, H, W) in [0, 1] as codes of `bits` bits: in blocks of 2 × 2 near soft alpha (T, 1, H, W), given as
    16-bit codes, where a composite can use them; 0 elsewhere."""
    height, width = foreground.shape[-2:]
    level = alpha.view(torch.int16)  # torch compares no uint16; full is -1
    soft = F.pad(((level != 0) & (level != -1)).to(torch.float32), (0, width % 2, 0, height % 2))
    # Chroma is filtered over its block and one pixel beside it.
    near = F.max_pool2d(F.max_pool2d(soft, 2), 3, stride=1, padding=1)
    near = near.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)[..., :height, :width]
    return rounded(foreground * (2**bits - 1) * near, bits)


def foreground_of_codes(codes: Tensor, bits: int) -> Tensor:
    """R'G'B' float32 in [0, 1] of codes of `bits` bits."""
    return codes.to(torch.float32).div_(2**bits - 1)


def near_matte(codes: Tensor) -> Tensor:
    """Where colour can matter, (T, 1, ceil(H/16), ceil(W/16)) bool: blocks of 16 with any alpha, and those beside them.

    `codes` (T, 1, H, W) are those of alpha. What lies further out is never seen, not even after a codec or a scaler has
    smeared it.
    """
    signed = codes.view(torch.int16) if codes.dtype == torch.uint16 else codes  # torch finds no maximum of uint16
    padded = F.pad(signed, (0, -codes.shape[-1] % BLOCK, 0, -codes.shape[-2] % BLOCK))
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
