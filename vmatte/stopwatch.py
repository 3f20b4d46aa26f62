"""Where the time of a render goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Seconds spent inside each named step, less the steps that it called on the same thread.

    `clock` is wall time by default; `time.process_time` makes it CPU time of the whole process, which is right only
    when all steps run on one thread.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = threading.local()

    def around(self, step: str, items: Iterable[T]) -> Generator[T, None, None]:
        """The same items; the time that making each one takes is booked under `step`."""
        source = iter(items)
        try:
            while True:
                try:
                    with self.step(step):
                        item = next(source)
                except StopIteration:
                    return
                yield item
        finally:
            if isinstance(source, Generator):
                source.close()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The time spent inside is booked under `name`."""
        outer = getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        started = self.clock()
        try:
            yield
        finally:
            spent = self.clock() - started
            self.seconds[name] += spent - self._inner.seconds
            self._inner.seconds = outer + spent
