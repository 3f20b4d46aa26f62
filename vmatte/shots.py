"""Where the shots of a clip begin."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vmatte.clip import ClipInfo
from vmatte.imaging.shots import SAME_SHOT, agreement, thumbnail
from vmatte.video.read import decode


def find_shots(clip: ClipInfo) -> tuple[int, ...]:
    """The first frame of every shot, of which the first is 0. Decodes the whole clip."""
    numbers, pictures = [], []
    for frames in decode(clip, range(clip.frames), batch=1):
        numbers.append(frames.index.start)
        pictures.append(thumbnail(torch.from_numpy(frames.luma), torch.from_numpy(frames.chroma), frames.coding.bits))
    return (0, *(numbers[place] for place in cuts(pictures)))


def cuts(pictures: Iterable[Tensor]) -> list[int]:
    """The places in a row of thumbnails where another shot begins: not at a flash, with one shot on both sides."""
    row = list(pictures)

    def same(one: int, other: int) -> bool:
        return one >= 0 and other < len(row) and float(agreement(row[one], row[other])) > SAME_SHOT

    return [
        place
        for place in range(1, len(row))
        if not (same(place - 1, place) or same(place - 2, place) or same(place - 1, place + 1))
    ]
