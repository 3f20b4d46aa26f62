"""What the clip itself lets through stays so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vmatte.frames import SubjectBatch
from vmatte.imaging.compositing import alpha_of_codes


def multiply(subjects: Iterable[SubjectBatch]) -> Iterator[SubjectBatch]:
    """The same subjects, their alpha times that which the clip's frames have of their own.

    Behind `foreground`, for where it is the clip's own alpha that is soft, the clip's colours are straight already.
    """
    for subject in subjects:
        own = subject.source.frames.alpha
        yield subject if own is None else replace(subject, alpha=subject.alpha * alpha_of_codes(own))
