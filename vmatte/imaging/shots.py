"""Where one shot ends and the next begins, told from small pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vmatte.imaging.resize import resize

THUMBNAIL = (18, 32)
"""(height, width)."""
SAME_SHOT = 0.5
"""Pictures that agree by more are of one shot."""
_NOISE = 100.0
"""Squared levels of 255: contrast below this, as in a fade to black, says nothing."""


def thumbnail(luma: Tensor, chroma: Tensor, bits: int) -> Tensor:
    """A picture (1, 3, 18, 32) float32, in 8-bit levels, of codes: luma (1, 1, H, W), chroma (1, 2, h, w)."""
    planes = [resize(part.to(torch.float32), THUMBNAIL) for part in (luma, chroma)]
    return torch.cat(planes, dim=1) * 2.0 ** (8 - bits)


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """How much two thumbnails have in common: 1 for one picture, brighter or darker, about 0 for two unlike ones.

    The structure term of the SSIM index (Wang et al. 2004), over the whole picture and its three planes at once.
    """
    one, other = (picture - picture.mean(dim=(2, 3), keepdim=True) for picture in (one, other))
    pixels = THUMBNAIL[0] * THUMBNAIL[1]
    shared, own, others = ((a * b).sum() / pixels for a, b in ((one, other), (one, one), (other, other)))
    return (2 * shared + _NOISE) / (own + others + _NOISE)


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two thumbnails are of one shot."""
    return float(agreement(one, other)) > SAME_SHOT


def cuts(pictures: Iterable[tuple[int, Tensor]]) -> Iterator[int]:
    """The numbers of those thumbnails in a row with which another shot begins: not at a flash, with one shot on both
    sides. It is known of each once the next one is seen; no more than three are held."""
    # smooth asks the same of any two in its window, both ways, and of frames with lost ones between: it keeps its own.
    before: list[Tensor] = []
    strange: int | None = None
    for number, picture in pictures:
        if strange is not None and not agree(before[0], picture):
            yield strange
        strange = number if before and not any(agree(each, picture) for each in before) else None
        before = [*before[-1:], picture]
    if strange is not None:
        yield strange
