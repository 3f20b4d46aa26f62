"""BiRefNet's decoder: from coarse to fine, each stage sees the backbone's features and the image's own pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vmatte.models.birefnet.deformable import DeformableConv
from vmatte.models.contract import PatchOrder

INNER = 64
"""Channels inside a decoder block."""
BRANCH = 256
"""Channels of each branch of the pyramid."""
GRIDS = {5: 32, 4: 16, 3: 8, 2: 4, 1: 1}
"""Patches along each side of the image that `ipt_blk{k}` sees."""


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with corners aligned, as everywhere inside this network."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def size_of(maps: Tensor) -> tuple[int, int]:
    """(height, width) of maps."""
    return int(maps.shape[-2]), int(maps.shape[-1])


class DeformableBranch(nn.Module):
    """One kernel size of the pyramid."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.atrous_conv = DeformableConv(INNER, BRANCH, kernel)
        self.bn: nn.Module = nn.BatchNorm2d(BRANCH)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu_(self.bn(self.atrous_conv(features)))

    def fold(self) -> None:
        """Fold the norm into the convolution before it."""
        self.atrous_conv.regular_conv, self.bn = folded(self.atrous_conv.regular_conv, self.bn)


class DeformablePyramid(nn.Module):
    """Four deformable convolutions and the mean of the map, side by side (ASPP with deformable kernels)."""

    def __init__(self) -> None:
        super().__init__()
        self.aspp1 = DeformableBranch(1)
        self.aspp_deforms = nn.ModuleList(DeformableBranch(kernel) for kernel in (1, 3, 7))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(INNER, BRANCH, 1, bias=False), nn.BatchNorm2d(BRANCH), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(5 * BRANCH, INNER, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(INNER)

    def forward(self, features: Tensor) -> Tensor:
        # conv1 of the concatenation is the sum of its parts: no branch is copied, and the mean stays one pixel.
        shares = torch.split(self.conv1.weight, BRANCH, dim=1)
        mixed = F.conv2d(self.aspp1(features), shares[0], self.conv1.bias)
        for branch, share in zip(self.aspp_deforms, shares[1:4], strict=True):
            mixed += F.conv2d(branch(features), share)
        mixed += F.conv2d(self.global_avg_pool(features), shares[4])
        return F.relu_(self.bn1(mixed))

    def fold(self) -> None:
        """Fold each norm into the convolution before it."""
        pool = self.global_avg_pool
        pool[1], pool[2] = folded(pool[1], pool[2])
        self.conv1, self.bn1 = folded(self.conv1, self.bn1)


class DecoderBlock(nn.Module):
    """Squeeze to 64 channels, look around with the pyramid, and widen again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, INNER, 3, padding=1)
        self.bn_in: nn.Module = nn.BatchNorm2d(INNER)
        self.dec_att = DeformablePyramid()
        self.conv_out = nn.Conv2d(INNER, outputs, 3, padding=1)
        self.bn_out: nn.Module = nn.BatchNorm2d(outputs)

    def inner(self, features: Tensor) -> Tensor:
        """The 64 channels that `conv_out` widens."""
        attended: Tensor = self.dec_att(F.relu_(self.bn_in(self.conv_in(features))))
        return attended

    def forward(self, features: Tensor) -> Tensor:
        widened: Tensor = self.bn_out(self.conv_out(self.inner(features)))
        return widened

    def fold(self) -> None:
        """Fold each norm into the convolution before it."""
        self.conv_in, self.bn_in = folded(self.conv_in, self.bn_in)
        self.conv_out, self.bn_out = folded(self.conv_out, self.bn_out)


class PatchBlock(nn.Module):
    """Two convolutions over the image cut into patches that lie above each other."""

    def __init__(self, grid: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3 * grid**2, INNER, 3, padding=1)
        self.conv_out = nn.Conv2d(INNER, outputs, 3, padding=1)

    def forward(self, patches: Tensor) -> Tensor:
        seen: Tensor = self.conv_out(self.conv1(patches))
        return seen


def stack_patches(image: Tensor, grid: int, order: PatchOrder) -> Tensor:
    """An image (B, 3, H, W) cut into grid × grid blocks that become channels: (B, 3·grid², H/grid, W/grid)."""
    batch, _, height, width = image.shape
    blocks = image.reshape(batch, 3, grid, height // grid, grid, width // grid)
    letters = (0, 4, 2, 1, 3, 5) if order == "wghgc" else (0, 1, 2, 4, 3, 5)
    return blocks.permute(letters).reshape(batch, 3 * grid**2, height // grid, width // grid)


class Lateral(nn.Module):
    """A 1 × 1 convolution of a stage's features: the full pass's beside those of the half pass, scaled up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, full: Tensor, half: Tensor) -> Tensor:
        # A 1 × 1 convolution and a resize may change places, so half of the work is done on a quarter of the pixels.
        for_full, for_half = torch.split(self.conv.weight, full.shape[1], dim=1)
        return F.conv2d(full, for_full, self.conv.bias) + resize(F.conv2d(half, for_half), size_of(full))


class Decoder(nn.Module):
    """Features of both passes of the backbone to logits."""

    def __init__(self, width: int, order: PatchOrder) -> None:
        super().__init__()
        self.order = order
        self.ipt_blk5 = PatchBlock(GRIDS[5], 2 * width)
        self.ipt_blk4 = PatchBlock(GRIDS[4], 2 * width)
        self.ipt_blk3 = PatchBlock(GRIDS[3], width)
        self.ipt_blk2 = PatchBlock(GRIDS[2], width // 2)
        self.ipt_blk1 = PatchBlock(GRIDS[1], width // 4)
        self.decoder_block4 = DecoderBlock(18 * width, 8 * width)
        self.decoder_block3 = DecoderBlock(10 * width, 4 * width)
        self.decoder_block2 = DecoderBlock(5 * width, 2 * width)
        self.decoder_block1 = DecoderBlock(2 * width + width // 2, width)
        self.lateral_block4, self.lateral_block3, self.lateral_block2 = (Lateral(n * width) for n in (8, 4, 2))
        for k, channels in {4: 8 * width, 3: 4 * width, 2: 2 * width}.items():
            gate = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
            self.add_module(f"gdt_convs_{k}", gate)
            self.add_module(f"gdt_convs_attn_{k}", nn.Sequential(nn.Conv2d(16, 1, 1)))
            # Heads that only training looks at; the published files hold them.
            self.add_module(f"gdt_convs_pred_{k}", nn.Sequential(nn.Conv2d(16, 1, 1)))
            self.add_module(f"conv_ms_spvn_{k}", nn.Conv2d(channels, 1, 1))
        self.conv_out1 = nn.Sequential(nn.Conv2d(width + width // 4, 1, 1))
        self.tail: nn.ModuleList | None = None

    def forward(self, image: Tensor, full: Sequence[Tensor], half: Sequence[Tensor], squeezed: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of the image (B, 3, H, W), the four maps of both passes, and the squeezed last ones."""
        coarse = self._gated(4, self.decoder_block4(torch.cat([squeezed, self._patches(5, image)], dim=1)))
        for k, block in ((3, self.decoder_block3), (2, self.decoder_block2)):
            coarse = self._gated(k, block(self._joined(k, coarse, image, full, half)))
        return self._logits(self.decoder_block1.inner(self._joined(1, coarse, image, full, half)), image)

    def _patches(self, k: int, image: Tensor) -> Tensor:
        patches = stack_patches(image, GRIDS[k], self.order).contiguous(memory_format=torch.channels_last)
        seen: Tensor = getattr(self, f"ipt_blk{k}")(patches)
        return seen

    def _gated(self, k: int, features: Tensor) -> Tensor:
        gate: Tensor = getattr(self, f"gdt_convs_attn_{k}")(getattr(self, f"gdt_convs_{k}")(features))
        return features * torch.sigmoid(gate)

    def _joined(self, k: int, coarse: Tensor, image: Tensor, full: Sequence[Tensor], half: Sequence[Tensor]) -> Tensor:
        """What stage k reads: the stage above with its lateral, and the image's patches."""
        lateral: Tensor = getattr(self, f"lateral_block{k + 1}")(full[k - 1], half[k - 1])
        lateral += resize(coarse, size_of(lateral))
        return torch.cat([lateral, self._patches(k + 1, image)], dim=1)

    def _logits(self, inner: Tensor, image: Tensor) -> Tensor:
        """conv_out1 of the last stage, scaled up, and of `ipt_blk1`."""
        of_last, of_pixels = self._tail() if self.tail is None else self.tail
        logits: Tensor = of_pixels(self.ipt_blk1.conv1(image))
        return logits + resize(of_last(inner), size_of(image))

    def _tail(self) -> nn.ModuleList:
        """With no activation before it, each 1 × 1 share of conv_out1 folds into the 3 × 3 convolution before it, and
        one channel is scaled up instead of all."""
        last, pixels, out = self.decoder_block1, self.ipt_blk1, self.conv_out1[0]
        assert isinstance(out, nn.Conv2d)
        assert out.bias is not None
        outputs = [last.conv_out.out_channels, pixels.conv_out.out_channels]
        for_last, for_pixels = torch.split(out.weight.flatten(1), outputs, dim=1)
        widen = last.conv_out if isinstance(last.bn_out, nn.Identity) else folded(last.conv_out, last.bn_out)[0]
        return nn.ModuleList([_then(widen, for_last, out.bias), _then(pixels.conv_out, for_pixels)])

    def fold(self) -> None:
        """Fold each norm into the convolution before it."""
        for k in (4, 3, 2):
            gate = getattr(self, f"gdt_convs_{k}")
            gate[0], gate[1] = folded(gate[0], gate[1])
        self.tail = self._tail()


def _then(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """`conv`, then a 1 × 1 convolution to one channel with a weight (1, channels), as one convolution."""
    assert conv.bias is not None
    both = nn.Conv2d(conv.in_channels, 1, 3, padding=1, device="meta")
    kernel, offset = torch.einsum("io,ochw->ichw", weight, conv.weight), weight @ conv.bias
    both.weight = nn.Parameter(kernel, requires_grad=False)
    both.bias = nn.Parameter(offset if bias is None else offset + bias, requires_grad=False)
    return both


def folded(conv: nn.Module, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """A convolution that does what `conv` and then `norm` did, and what to put in the norm's place."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm), nn.Identity()
