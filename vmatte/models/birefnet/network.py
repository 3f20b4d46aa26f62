"""The whole network: one backbone, run at full and at half size, a squeeze module, and the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vmatte.models.birefnet.decoder import (
    Decoder,
    DecoderBlock,
    DeformableBranch,
    DeformablePyramid,
    resize,
    size_of,
)
from vmatte.models.birefnet.deformable import DeformableConv
from vmatte.models.birefnet.swin import SwinTransformer, WindowAttention
from vmatte.models.contract import PatchOrder

SIDE_MULTIPLE = 32
"""Both sides of the input are multiples of this: the image is cut into 32 × 32 patches."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A size of Swin Transformer."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int


SWIN_L = Backbone(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12)
SWIN_T = Backbone(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)


class BiRefNet(nn.Module):
    """Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", 2024.

    Parameters and buffers have the names and shapes of the published files.
    """

    def __init__(self, backbone: Backbone, order: PatchOrder) -> None:
        super().__init__()
        width = backbone.width
        self.bb = SwinTransformer(width, backbone.depths, backbone.heads, backbone.window)
        self.squeeze_module = nn.Sequential(DecoderBlock(30 * width, 16 * width))
        self.decoder = Decoder(width, order)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of images (B, 3, H, W), normalised by ImageNet's mean and deviation; alpha is their
        sigmoid. H and W are multiples of 32, else ValueError."""
        return segment(self.bb, self.squeeze_module, self.decoder, image)

    def prepare(self) -> None:
        """Ready for inference, for good: norms are folded into convolutions, position biases are computed, and what
        only training needs is dropped. From here on the names are no longer the published ones."""
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, WindowAttention):
                module.keep_bias()
        for module in list(self.modules()):
            if isinstance(module, (DeformableConv, DeformableBranch, DeformablePyramid, DecoderBlock, Decoder)):
                module.fold()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # unknown to torch's stubs
        for k in (4, 3, 2):
            delattr(self.decoder, f"gdt_convs_pred_{k}")
            delattr(self.decoder, f"conv_ms_spvn_{k}")


def segment(bb: nn.Module, squeeze_module: nn.Module, decoder: nn.Module, image: Tensor) -> Tensor:
    """The forward pass through the network's three parts; see `BiRefNet.forward`."""
    height, width = size_of(image)
    if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise ValueError(f"both sides must be multiples of {SIDE_MULTIPLE}, not {height} × {width}")
    image = image.contiguous(memory_format=torch.channels_last)
    full = bb(image)
    half = bb(resize(image, (height // 2, width // 2)))
    squeezed = squeeze_module(context(full, half))
    logits: Tensor = decoder(image, full, half, squeezed)
    return logits


def context(full: Sequence[Tensor], half: Sequence[Tensor]) -> Tensor:
    """All maps of both passes, at the size of the coarsest of the full pass: (B, 30 · width, H/32, W/32)."""
    coarsest = size_of(full[-1])
    maps = []
    for of_full, of_half in zip(full, half, strict=True):
        maps += [resize(of_full, coarsest), resize(resize(of_half, size_of(of_full)), coarsest)]
    return torch.cat(maps, dim=1)
