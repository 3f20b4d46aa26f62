"""What is wrong with a job file, where, and which word was meant: collected, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches

from vmatte.errors import JobError, JobFileError


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands; line and column count from 1. Places sort as they stand in the file."""

    line: int
    column: int
    label: str
    """As it is printed: `jobs.yaml:12:5`, or `--set smooth.radius`."""


@dataclass(slots=True)
class Problems:
    found: set[tuple[Place, str]] = field(default_factory=set)

    def add(self, place: Place, what: str) -> None:
        """Note a problem; one that many clips share is noted once."""
        self.found.add((place, what))

    @contextmanager
    def noted(self, place: Place) -> Iterator[None]:
        """A JobError within becomes a problem at `place`."""
        try:
            yield
        except JobError as error:
            self.add(place, str(error))

    def check(self) -> None:
        """Raise JobFileError with all that was found, in the file's order."""
        if self.found:
            raise JobFileError(tuple(f"{place.label}: {what}" for place, what in sorted(self.found)))


def instead(word: str, known: Iterable[str]) -> str:
    """What to do about a word that is none of the known ones: the nearest, or all of them."""
    known = list(known)
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(word.lower().replace("_", "-"), known, n=1)), None)
