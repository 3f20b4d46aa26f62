"""Light that a green or a blue screen throws on the subject."""

from __future__ import annotations

import torch
from torch import Tensor

from vmatte.analysis import Hue
from vmatte.clip import Coding
from vmatte.imaging.color import black, code_spans, luma_weights, rounded, upsample_chroma


def despill(luma: Tensor, chroma: Tensor, coding: Coding, hue: Hue, strength: float) -> tuple[Tensor, Tensor]:
    """Codes without the screen's light: its primary is lowered to the stronger of the two others.

    Luma (T, 1, H, W) and chroma (T, 2, h, w), full or half size, uint8 or uint16 codes of a Y'CbCr `coding`, come back
    in their type. `strength` is the part of the excess that is taken, from 0 to 1. Spill is light that was added, so
    luma goes down with it.

    Limited to the mean of the two others, which takes more, a screen's primary would be missed where it belongs: in
    yellow, with a green screen. To their maximum, nothing changes in which it does not lead.
    """
    red, green, blue = luma_weights(coding.color)
    luma_span, chroma_span = code_spans(coding)
    neutral = black(coding)[1]
    # How far R', G' and B' lie above Y', in [-1, 1]: chroma alone says it, at its own size.
    from_neutral = (chroma.to(torch.float32) - neutral) / chroma_span
    above_blue, above_red = 2 * (1 - blue) * from_neutral[:, :1], 2 * (1 - red) * from_neutral[:, 1:]
    above_green = -(red * above_red + blue * above_blue) / green
    if hue == "green":
        excess, weight = above_green - torch.maximum(above_red, above_blue), green
    else:
        excess, weight = above_blue - torch.maximum(above_red, above_green), blue
    spill = excess.clamp_(min=0) * strength
    lowered = spill * weight
    blue_less = lowered if hue == "green" else lowered - spill
    shift = torch.cat([blue_less / (2 * (1 - blue)), lowered / (2 * (1 - red))], dim=1) * chroma_span
    made_chroma = rounded((chroma.to(torch.float32) + shift).clamp_(0, 2**coding.bits - 1), coding.bits)
    fine = upsample_chroma(lowered, luma.shape[-2:]) * luma_span
    return rounded((luma.to(torch.float32) - fine).clamp_(0, 2**coding.bits - 1), coding.bits), made_chroma
