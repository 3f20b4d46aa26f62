"""The clip's frames become those of an output with another rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vmatte.frames import SubjectBatch


def retime(subjects: Iterable[SubjectBatch], shows: NDArray[np.int64]) -> Iterator[SubjectBatch]:
    """The subject in each frame of the output, one at a time and with the output's numbers.

    `shows` (N,), which never falls, has for each of the output's frames the number of the clip's frame that it shows.
    """
    for subject in subjects:
        for t, frame in enumerate(subject.index):
            own = slice(t, t + 1)
            source = subject.source.part(range(frame, frame + 1))
            first, stop = np.searchsorted(shows, [frame, frame + 1])
            for number in range(first, stop):
                numbers = range(number, number + 1)
                yield SubjectBatch(subject.luma[own], subject.chroma[own], subject.alpha[own], source, numbers)
