"""The subject's own colour, without the background that shines through its soft edge."""

from __future__ import annotations

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.clip import Coding
from vmatte.imaging.color import downsample_chroma, legal_codes, rounded, strips
from vmatte.imaging.resize import resize

_FAITH = 0.15
"""How much what larger windows say counts, against a window of this size."""
_LEAST_FAITH = 1e-4
"""The same for the frame's mean, which is all that stands behind the largest window: enough for float32 where alpha is
the same everywhere, and no telling F from B."""


def estimate_foreground(luma: Tensor, chroma: Tensor, alpha: Tensor, coding: Coding) -> tuple[Tensor, Tensor]:
    """The subject's straight colour in every pixel, as codes in the frame's type.

    Luma (T, 1, H, W) and chroma (T, 2, h, w), full or half size, are codes of `coding`; alpha (T, 1, H, W) float32 is
    in [0, 1]. Where alpha is full, to half a code, the frame's own codes stay; where it is soft the background is taken
    out; outside, the edge's colour goes on, and with distance becomes the subject's mean.

    A pixel is αF + (1 − α)B. F and B are fitted by least squares to windows of the frame, from all of it down to some
    twelve pixels, each held to what the larger one says. At last a pixel's own residual is added to F, as α² of it: no
    more than all of it, so that noise is not amplified, and least where the pixel tells least of the subject.
    Coarse to fine as Germer et al., "Fast Multi-Level Foreground Estimation", 2020; the last step as Forte,
    "Approximate Fast Foreground Colour Estimation", 2021, who adds α of it.
    """
    chroma_alpha = downsample_chroma(alpha, (int(chroma.shape[-2]), int(chroma.shape[-1])))
    fore, back = _fitted(_moments(luma, chroma, alpha), coding)
    luma_ends, chroma_ends = legal_codes(coding)
    tall, wide = (-(-luma.shape[side] // chroma.shape[side]) for side in (-2, -1))
    return (
        _own(luma, alpha, fore[:, :1], back[:, :1], (4, 4), luma_ends, coding.bits),
        _own(chroma, chroma_alpha, fore[:, 1:], back[:, 1:], (4 // tall, 4 // wide), chroma_ends, coding.bits),
    )


def _moments(luma: Tensor, chroma: Tensor, alpha: Tensor) -> Tensor:
    """Means over 4 × 4 pixels, (T, 8, ceil(H/4), ceil(W/4)): of α², α, α · (luma, Cb, Cr), and (luma, Cb, Cr)."""
    frames, _, height, width = luma.shape
    moments = alpha.new_empty((frames, 8, -(-height // 4), -(-width // 4)))
    step = -(-height // chroma.shape[-2])
    for _, rows, _ in strips(luma):
        lines = alpha[..., rows, :], luma[..., rows, :], chroma[..., rows.start // step : -(-rows.stop // step), :]
        # At half size all of them, where chroma mostly is.
        half = -(-int(lines[0].shape[-2]) // 2), -(-width // 2)
        part, *colours = (downsample_chroma(planes.to(torch.float32), half) for planes in lines)
        seen = torch.cat(colours, dim=1)
        moments[..., rows.start // 4 : -(-rows.stop // 4), :] = _halved(
            torch.cat([part * part, part, part * seen, seen], 1)
        )
    return moments


def _fitted(moments: Tensor, coding: Coding) -> tuple[Tensor, Tensor]:
    """F and B (T, 3, h, w) of moments (T, 8, h, w)."""
    levels = [moments]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(_halved(levels[-1]))
    fore = back = levels[-1][:, 5:]
    faith = _LEAST_FAITH
    for level in reversed(levels):
        height, width = level.shape[-2:]
        fore, back = (_enlarged(colours, (2, 2), slice(0, height), width) for colours in (fore, back))
        fore, back = _fit(_blurred(level), fore, back, faith)
        for colours in (fore, back):
            for planes, ends in zip((colours[:, :1], colours[:, 1:]), legal_codes(coding), strict=True):
                planes.clamp_(*ends)
        faith = _FAITH
    return fore, back


def _fit(moments: Tensor, fore: Tensor, back: Tensor, faith: float) -> tuple[Tensor, Tensor]:
    """The F and B that minimise Σ (αF + (1 − α)B − I)² + faith · ((F − fore)² + (B − back)²), in closed form."""
    square, mean, seen_fore, seen = moments[:, :1], moments[:, 1:2], moments[:, 2:5], moments[:, 5:]
    cross = mean - square
    fore_weight, back_weight = square + faith, 1 - mean - cross + faith
    fore_sum, back_sum = seen_fore + faith * fore, seen - seen_fore + faith * back
    scale = 1 / (fore_weight * back_weight - cross * cross)
    return scale * (back_weight * fore_sum - cross * back_sum), scale * (fore_weight * back_sum - cross * fore_sum)


def _own(
    codes: Tensor, alpha: Tensor, fore: Tensor, back: Tensor, scale: tuple[int, int], ends: tuple[int, int], bits: int
) -> Tensor:
    """The codes (T, C, H, W) of each pixel's own F, from a smooth F and B (T, C, h, w) that are `scale` smaller."""
    made = torch.empty_like(codes, memory_format=torch.contiguous_format)
    full = 1 - 0.5 / (2**bits - 1)
    for rows in strips(codes):
        seen, part = codes[rows].to(torch.float32), alpha[rows]
        lines = slice(rows[1].start, rows[1].start + seen.shape[-2])
        near, behind = (_enlarged(planes, scale, lines, seen.shape[-1]) for planes in (fore, back))
        residual = torch.lerp(behind, near, part).neg_().add_(seen)
        values = near.addcmul_(residual, part * part).clamp_(*ends)
        made[rows] = rounded(torch.where(part > full, seen, values), bits)
    return made


def _halved(planes: Tensor) -> Tensor:
    """Means of 2 × 2; the border goes on where a side is odd."""
    height, width = planes.shape[-2:]
    planes = F.pad(planes, (0, width % 2, 0, height % 2), mode="replicate") if height % 2 or width % 2 else planes
    return resize(planes, ((height + 1) // 2, (width + 1) // 2))


def _enlarged(planes: Tensor, scale: tuple[int, int], rows: slice, width: int) -> Tensor:
    """These rows and `width` columns of planes (T, C, h, w) made `scale` times as large."""
    tall, wide = scale
    # A row more either side, for the rows at the ends lie between two.
    top = max(rows.start // tall - 1, 0)
    part = planes[..., top : -(-rows.stop // tall) + 1, :]
    large = resize(part, (tall * part.shape[-2], wide * part.shape[-1]))
    return large[..., rows.start - top * tall : rows.stop - top * tall, :width]


def _blurred(planes: Tensor) -> Tensor:
    """Filtered 1-2-1 across and down; the border goes on."""
    return _blurred_on_cpu(planes) if planes.device.type == "cpu" else _blurred_on_device(planes)


def _blurred_on_cpu(planes: Tensor) -> Tensor:
    blurred = torch.empty_like(planes)
    for plane, target in zip(planes.flatten(0, 1).numpy(), blurred.flatten(0, 1).numpy(), strict=True):
        cv2.GaussianBlur(plane, (3, 3), 0, dst=target, borderType=cv2.BORDER_REPLICATE)
    return blurred


def _blurred_on_device(planes: Tensor) -> Tensor:
    pairs = F.avg_pool2d(F.pad(planes, (1, 1, 1, 1), mode="replicate"), 2, stride=1)
    return F.avg_pool2d(pairs, 2, stride=1)
