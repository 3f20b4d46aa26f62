"""The loop that published examples of these networks show and that many pipelines run: what vmatte is compared with.

One frame at a time: Pillow scales it to the network's size, the CPU normalises it, the network runs in float32 with its
layers as they were trained, `.cpu()` waits for the matte, and Pillow scales that back to the frame. The network is
vmatte's own code without its preparation (norms are not folded, nothing is in half precision or compiled), and its
weights are random, for they cost the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from vmatte.models.birefnet.load import BACKBONES
from vmatte.models.birefnet.network import BiRefNet
from vmatte.models.contract import ModelSpec

if TYPE_CHECKING:
    from PIL import Image


class PlainBiRefNetLoop:
    """A frame (H, W, 3) uint8 to its matte (H, W)."""

    def __init__(self, spec: ModelSpec, size: tuple[int, int], device: torch.device) -> None:
        assert spec.patch_order is not None
        self.network = BiRefNet(BACKBONES[spec.architecture], spec.patch_order).eval().to(device)
        self.size, self.device = size, device
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))

    def __call__(self, frame: np.ndarray) -> Image.Image:
        from PIL import Image  # the rest of a bench does without

        picture = Image.fromarray(frame)
        small = np.array(picture.resize(self.size[::-1], Image.Resampling.BILINEAR))
        rgb = torch.from_numpy(small).permute(2, 0, 1).float().div(255)
        with torch.no_grad():
            logits = self.network(((rgb - self.mean) / self.std)[None].to(self.device))
        alpha = torch.sigmoid(logits).cpu()[0, 0]
        return Image.fromarray((alpha * 255).byte().numpy()).resize(picture.size)


def frame_1080p() -> np.ndarray:
    """A gradient with grain, (1080, 1920, 3) uint8."""
    ramp = np.linspace(30, 220, 1920)[None, :, None] + np.zeros((1080, 1, 3))
    return (ramp + np.random.default_rng(0).normal(0, 5, ramp.shape)).clip(0, 255).astype(np.uint8)
