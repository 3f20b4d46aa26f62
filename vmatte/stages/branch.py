"""One stream becomes several, read batch by batch in step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vmatte.frames import LayerBatch, RenderedBatch, SubjectBatch

T = TypeVar("T")
U = TypeVar("U")


class Shared(Generic[T]):
    """A stream for several readers that go in step, and streams that are made of it: each is made once.

    All readers are asked for before the first of them reads. An item is let go of when the last one has it: not so by
    `itertools.tee`, which holds up to 57 of them, and these are pictures.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._readers = 0
        self._first = 0
        """Number of the first item that is held."""
        self._held: deque[_Held[T]] = deque()
        self._made: dict[Hashable, Shared[Any]] = {}

    def read(self) -> Iterator[T]:
        """All items, for one more reader."""
        self._readers += 1
        return self._reading()

    def made(self, key: Hashable, make: Callable[[Iterator[T]], Iterable[U]]) -> Shared[U]:
        """What `make` makes of all items; for the same `key` the same again."""
        if key not in self._made:
            self._made[key] = Shared(make(self.read()))
        return self._made[key]

    def _reading(self) -> Iterator[T]:
        number = 0
        while self._has(number):
            yield self._taken(number)
            number += 1

    def _has(self, number: int) -> bool:
        if number == self._first + len(self._held):
            try:
                self._held.append(_Held(next(self._items), self._readers))
            except StopIteration:
                return False
        return True

    def _taken(self, number: int) -> T:
        held = self._held[number - self._first]
        held.readers -= 1
        if not held.readers:  # the first one: readers have all that came before
            self._held.popleft()
            self._first += 1
        return held.item


@dataclass(slots=True)
class _Held(Generic[T]):
    item: T
    readers: int
    """Who have not had it yet."""


def in_step(subjects: Iterator[SubjectBatch], layers: Sequence[Iterator[LayerBatch]]) -> Iterator[RenderedBatch]:
    """The layers that are made of the same subjects, one of each batch; none of them runs ahead."""
    for subject, *made in zip(subjects, *layers, strict=True):
        yield RenderedBatch(tuple(made), subject.source.codes)
