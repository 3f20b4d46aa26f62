"""Of several people in the picture one is kept, and stays the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.analysis import SubjectTrack
from vmatte.frames import MatteBatch
from vmatte.imaging.people import part_of_subject, places_between
from vmatte.imaging.resize import resize

Picture = NDArray[np.float32]

_SCALE = 3
"""Lines in which a matte is taken apart for each one of the track's."""


def hold(mattes: Iterable[MatteBatch], subject: SubjectTrack, shots: tuple[int, ...]) -> Iterator[MatteBatch]:
    """The same mattes without the others in them. `shots` has the number of the first frame of each shot.

    A frame's matte depends on the frame's own and on the track, on no other frame. Where nobody was looked at in a
    frame's shot, all of it is kept.
    """
    people = _People(subject, shots)
    for matte in mattes:
        # In small, for on a device this has to be waited for: what hangs together is found on the CPU alone.
        small = resize(matte.alpha, people.size)[:, 0].cpu().numpy()
        parts = [people.part_of_subject(number, small[t]) for t, number in enumerate(matte.frames.index)]
        yield matte if all(part is None for part in parts) else replace(matte, alpha=_kept(matte.alpha, parts))


def _kept(alpha: Tensor, parts: list[Picture | None]) -> Tensor:
    size = int(alpha.shape[2]), int(alpha.shape[3])
    kept = alpha.clone()
    for t, part in enumerate(parts):
        if part is not None:
            kept[t] *= resize(torch.from_numpy(part)[None, None].to(alpha.device), size)[0]
    return kept


class _People:
    """Where a track has people in any frame."""

    def __init__(self, subject: SubjectTrack, shots: tuple[int, ...]) -> None:
        self.size = _SCALE * subject.height, _SCALE * subject.width
        self._labels, self._numbers, self._shots = subject.labels(), np.array(subject.frames), np.array(shots)
        self._shot_of = np.searchsorted(self._shots, self._numbers, side="right")

    def part_of_subject(self, number: int, alpha: Picture) -> Picture | None:
        """How much of frame `number`'s matte (h, w) is the subject's; None where all of it is."""
        samples = np.flatnonzero(self._shot_of == np.searchsorted(self._shots, number, side="right"))
        if not len(samples):
            return None
        numbers = self._numbers[samples]
        behind = min(int(np.searchsorted(numbers, number)), len(samples) - 1)
        before = max(behind - 1, 0) if numbers[behind] > number else behind
        way = int(numbers[behind] - numbers[before])
        part = (number - int(numbers[before])) / way if way else 0.0
        first, last = (self._large(samples[place]) for place in (before, behind))
        return part_of_subject(alpha, places_between(first, last, part))

    def _large(self, sample: int) -> NDArray[np.uint8]:
        large: NDArray[np.uint8] = self._labels[sample].repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
        return large
