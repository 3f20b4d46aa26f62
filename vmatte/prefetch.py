"""The one place where threads are started."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same items in the same order, made on a thread of their own, at most `depth` of them waiting.

    The thread starts with the first item asked for. An error in `items` is raised here, in the consumer. When the
    consumer leaves early, the thread stops and `items`, if it is a generator, is closed on the thread that ran it.
    """
    if depth < 1:
        raise ValueError(f"prefetch needs room for at least one item, not {depth}")
    waiting: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        last: object = _END
        try:
            _put_all(iter(items))
        except BaseException as error:
            last = _Failed(error)
        _put(waiting, last, stop)
        # The error knows this frame: kept here, it would never be given up, nor would what the failed frames hold.
        del last

    def _put_all(source: Iterator[T]) -> None:
        try:
            for item in source:
                if not _put(waiting, item, stop):
                    return
        finally:
            if isinstance(source, Generator):
                source.close()

    thread = threading.Thread(target=work, name="vmatte-prefetch", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failed):
                error = item.error
                del item
                try:
                    raise error
                finally:
                    del error  # it knows this frame too
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def _put(waiting: queue.Queue[object], item: object, stop: threading.Event) -> bool:
    """False once whoever takes from the queue has left."""
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            waiting.put(item, timeout=0.1)
            return True
    return False


def share(items: Iterable[T], consumers: Sequence[Callable[[Iterator[T]], R]], depth: int) -> list[R]:
    """What each consumer makes of the same items.

    A single one works on this thread; several on a thread each, with at most `depth` items waiting for it. An error,
    of the items or of a consumer, ends all of them and is raised here.
    """
    if len(consumers) == 1:
        return [consumers[0](iter(items))]
    stop = threading.Event()
    shares = [_Share(consumer, depth, stop) for consumer in consumers]
    try:
        for item in items:
            if not all(_put(each.waiting, item, stop) for each in shares):
                break
        for each in shares:
            _put(each.waiting, _END, stop)
    except BaseException:
        stop.set()
        raise
    finally:
        if isinstance(items, Generator):
            items.close()
        for each in shares:
            each.thread.join()
    failed = next((each.error for each in shares if not isinstance(each.error, _Stopped | None)), None)
    if failed is not None:
        raise failed
    return [each.made[0] for each in shares]


class _Stopped(BaseException):
    """Ends a consumer whose items do not come any more: it must not take that for their end."""


class _Share(Generic[T, R]):
    """One consumer on its thread."""

    def __init__(self, consumer: Callable[[Iterator[T]], R], depth: int, stop: threading.Event) -> None:
        self.waiting: queue.Queue[object] = queue.Queue(depth)
        self.made: list[R] = []
        self.error: BaseException | None = None
        self._consumer, self._stop = consumer, stop
        self.thread = threading.Thread(target=self._work, name="vmatte-share", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.made.append(self._consumer(self._items()))
        except BaseException as error:
            self.error = error
            self._stop.set()

    def _items(self) -> Iterator[T]:
        while True:
            try:
                item = self.waiting.get(timeout=0.1)
            except queue.Empty:
                if self._stop.is_set():
                    raise _Stopped from None
                continue
            if item is _END:
                return
            yield item  # type: ignore[misc]
