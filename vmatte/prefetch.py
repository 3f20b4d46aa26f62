"""The one place where threads are started."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


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

    def put(item: object) -> bool:
        """False once the consumer has left."""
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        last: object = _END
        try:
            _put_all(iter(items))
        except BaseException as error:
            last = _Failed(error)
        put(last)
        # The error knows this frame: kept here, it would never be given up, nor would what the failed frames hold.
        del last

    def _put_all(source: Iterator[T]) -> None:
        try:
            for item in source:
                if not put(item):
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
