"""The screen's light is taken off the subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vmatte.analysis import Hue
from vmatte.frames import SubjectBatch
from vmatte.imaging import despill as imaging


def despill(subjects: Iterable[SubjectBatch], hue: Hue, strength: float) -> Iterator[SubjectBatch]:
    """The same subjects, with `strength` (0 to 1) of the screen's light gone from their colours."""
    for subject in subjects:
        luma, chroma = imaging.despill(subject.luma, subject.chroma, subject.coding, hue, strength)
        yield replace(subject, luma=luma, chroma=chroma)
