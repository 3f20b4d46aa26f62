"""Mattes of neighbouring frames, brought to one frame along the motion, become one matte."""

from __future__ import annotations

import torch
from torch import Tensor

from vmatte.imaging.blur import box_mean
from vmatte.imaging.motion import resize_flow, warp

_STANDS_PX = 0.75
"""What moves less stands still: interpolating it would only soften its edge."""
_NO_WORSE = 2.0
"""8-bit levels by which a neighbour may fit worse in place than along the flow, and yet have stood still: where the
picture is flat or noisy a flow wanders, and takes the matte along."""
_WANDERS_PX = 4.0
"""A flow that goes farther has found something."""
_SAME = 0.5 / 255
"""Neighbours that differ by no more say what the frame says."""
_TRIM = 0.35
"""Of the weight, cut off at either end: near 0.5 the middle one decides, at 0 it is the mean."""
_CERTAINTY = 1.0
"""A matte near 0 or 1 counts for up to 1 + this as much as one at 0.5, where a network is torn."""


def unsteadiness(there: Tensor, back: Tensor) -> Tensor:
    """Squared distance (1, 1, h, w), in pixels, between each pixel and where it ends after going there and back along
    two flows (1, 2, h, w): large where something is hidden in one of the two pictures, or where a flow is wrong."""
    return (there + warp(back, there)).square_().sum(dim=1, keepdim=True)


def mismatch(picture: Tensor, neighbour: Tensor) -> Tensor:
    """Mean difference (1, 1, h, w) of the colours round each pixel, 5 × 5, of two pictures (1, C, h, w)."""
    return box_mean((neighbour - picture).abs_().mean(dim=1, keepdim=True), 5)


def standing(flow: Tensor, in_place: Tensor, moved: Tensor) -> Tensor:
    """Where (1, 1, h, w), bool, a neighbour's pixels have stood still, whatever a flow says that fits no better.

    `in_place` and `moved` (1, 1, h, w) are the neighbour's mismatch without and with the flow, in 8-bit levels.
    """
    wanders = flow.square().sum(dim=1, keepdim=True) < _WANDERS_PX**2
    return wanders & (in_place <= moved + _NO_WORSE)


def along(alpha: Tensor, flow: Tensor) -> Tensor:
    """A neighbour's alpha (1, 1, h, w) where this frame's pixels are; the flow may be a coarser one."""
    size = int(alpha.shape[-2]), int(alpha.shape[-1])
    stands = _STANDS_PX * flow.shape[-1] / size[1]
    still = (flow[:, :1].abs() < stands) & (flow[:, 1:].abs() < stands)
    return warp(alpha, resize_flow(flow.masked_fill(still, 0), size), cubic=True).clamp_(0, 1)


def agree(mattes: Tensor, weights: Tensor, own_weight: float) -> Tensor:
    """The matte (1, 1, h, w) that a frame's own and its neighbours' make: mattes (1 + K, 1, h, w), own first.

    The neighbours' weights (K, 1, h/2, w/2) are between 0 and 1. A trimmed mean: what few say against many counts for
    nothing, what many say evenly is averaged. Where all agree, the frame keeps its own.
    """
    own, neighbours = mattes[:1], mattes[1:]
    differ = (neighbours.amax(dim=0, keepdim=True) > own + _SAME) | (neighbours.amin(dim=0, keepdim=True) < own - _SAME)
    height, width = own.shape[-2:]
    if own.device.type != "cpu":  # to know how many differ would make the host wait
        fine = weights.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)[..., :height, :width]
        every = torch.cat([torch.full_like(own, own_weight), fine]) * _certainty(mattes)
        return torch.where(differ, trimmed_mean(mattes, every, _TRIM), own)
    places = differ.flatten().nonzero().flatten()
    coarse = torch.div(places, 2 * width, rounding_mode="floor") * weights.shape[-1] + places % width // 2
    every = torch.cat([torch.full((1, len(places)), own_weight), weights.flatten(1)[:, coarse]])
    values = mattes.flatten(1)[:, places]
    agreed = own.clone()
    agreed.view(-1)[places] = trimmed_mean(values, every * _certainty(values), _TRIM)
    return agreed


def _certainty(alpha: Tensor) -> Tensor:
    return 1 + _CERTAINTY * (2 * alpha - 1).square()


def trimmed_mean(values: Tensor, weights: Tensor, trim: float) -> Tensor:
    """Weighted mean over the first dimension without the lowest and the highest `trim` of the weight.

    Between the mean (0) and the median (near 0.5): the L-estimators of Huber, "Robust Statistics", 1981.
    """
    # Sorting is several times quicker along a last dimension that lies in rows.
    values, order = values.movedim(0, -1).contiguous().sort(dim=-1)
    weights = weights.movedim(0, -1).gather(-1, order)
    reached = weights.cumsum(dim=-1)
    total = reached[..., -1:]
    kept = torch.minimum(reached, (1 - trim) * total) - torch.maximum(reached - weights, trim * total)
    kept.clamp_(min=0)
    return (kept * values).sum(dim=-1) / kept.sum(dim=-1)
