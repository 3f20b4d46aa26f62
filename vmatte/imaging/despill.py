"""Light that a green or a blue screen throws on the subject."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vmatte.clip import Coding
from vmatte.imaging.color import rgb_to_ycbcr, rounded, ycbcr_to_rgb


def despill(
    luma: Tensor, chroma: Tensor, coding: Coding, screen: Literal["green", "blue"], strength: float, *, keep_luma: bool
) -> tuple[Tensor, Tensor]:
    """Codes without the screen's light: its primary is lowered to the stronger of the two others.

    Luma (T, 1, H, W) and chroma (T, 2, h, w), uint8 or uint16, come back in their type. `strength` is the part of the
    excess that is taken, from 0 to 1; with `keep_luma` grey takes its place.
    """
    own, one, other = (1, 0, 2) if screen == "green" else (2, 0, 1)
    rgb = ycbcr_to_rgb(luma, chroma, coding)
    rgb[:, own] -= (rgb[:, own] - torch.maximum(rgb[:, one], rgb[:, other])).clamp_(min=0) * strength
    made_luma, made_chroma = rgb_to_ycbcr(rgb, coding, (int(chroma.shape[-2]), int(chroma.shape[-1])))
    return luma if keep_luma else rounded(made_luma, coding.bits), rounded(made_chroma, coding.bits)
