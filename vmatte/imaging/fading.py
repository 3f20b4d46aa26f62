"""A matte that ends with a part of the picture ends softly."""

from __future__ import annotations

import torch
from torch import Tensor

from vmatte.analysis import Box

FADE = 0.04
"""How long it takes, as a part of the shorter side."""


def fade_out(alpha: Tensor, box: Box) -> None:
    """Let alpha (..., H, W), which is 0 outside the box, rise from 0 along those of the box's borders that lie inside
    the picture, in place."""
    height, width = alpha.shape[-2:]
    inside = alpha[..., box.top : box.bottom, box.left : box.right]
    length = max(1, round(FADE * min(box.height, box.width)))
    steps = (torch.arange(length, device=alpha.device) + 0.5) / length
    rising = steps * steps * (3 - 2 * steps)
    if box.top > 0:
        inside[..., :length, :] *= rising[:, None]
    if box.bottom < height:
        inside[..., -length:, :] *= rising.flip(0)[:, None]
    if box.left > 0:
        inside[..., :length] *= rising
    if box.right < width:
        inside[..., -length:] *= rising.flip(0)
