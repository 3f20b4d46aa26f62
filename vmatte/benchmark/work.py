"""How much a network has to compute."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from vmatte.models.birefnet.load import BACKBONES
from vmatte.models.birefnet.network import BiRefNet
from vmatte.models.contract import ModelSpec

PUBLISHED_GFLOP = {
    ("birefnet", (1024, 1024)): 2534.9,
    ("birefnet", (2048, 2048)): 9772.7,
    ("birefnet-lite", (1024, 1024)): 642.0,
}
"""Work of the published network for a frame, two for each multiplication with its addition. It stays the measure
whatever a rewrite saves, so that saved work shows as speed."""


@lru_cache
def gflop_of(spec: ModelSpec, size: tuple[int, int]) -> float | None:
    """GFLOP for a frame of (height, width): published, or counted in the network as it is here. None for networks that
    are not made of PyTorch."""
    if spec.architecture not in BACKBONES or spec.patch_order is None:
        return None
    if (spec.architecture, size) in PUBLISHED_GFLOP:
        return PUBLISHED_GFLOP[spec.architecture, size]
    with torch.device("meta"):
        network = BiRefNet(BACKBONES[spec.architecture], spec.patch_order).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *size, device="meta"))
    return float(counter.get_total_flops() / 1e9)
