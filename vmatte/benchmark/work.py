"""How much a network has to compute."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from vmatte.models.birefnet.load import BACKBONES
from vmatte.models.birefnet.network import BiRefNet
from vmatte.models.contract import Architecture, ModelSpec

PUBLISHED_GFLOP = {
    ("birefnet", (1024, 1024)): 2534.9,
    ("birefnet", (2048, 2048)): 9772.7,
    ("birefnet-lite", (1024, 1024)): 642.0,
}
"""Work of the published network for a frame, two for each multiplication with its addition. It stays the measure
whatever a rewrite saves, so that saved work shows as speed."""


def gflop_of(spec: ModelSpec, size: tuple[int, int]) -> float | None:
    """GFLOP for a frame of (height, width): published, or counted in the network as it is here. None for networks that
    are not made of PyTorch."""
    if spec.patch_order is None:
        return None
    published = PUBLISHED_GFLOP.get((spec.architecture, size))
    return counted_gflop(spec.architecture, size) if published is None else published


@lru_cache
def counted_gflop(architecture: Architecture, size: tuple[int, int]) -> float:
    """GFLOP of the matrix products, convolutions and attention of a frame; nothing is computed for it."""
    with torch.device("meta"):
        network = BiRefNet(BACKBONES[architecture], "wghgc").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *size, device="meta"))
    return float(counter.get_total_flops() / 1e9)
