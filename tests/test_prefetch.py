import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from vmatte.prefetch import prefetch, share


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vmatte-prefetch"]


def test_items_come_in_order_through_two_threads() -> None:
    assert list(prefetch(prefetch(range(1000), 3), 2)) == list(range(1000))
    assert not workers()


def test_an_empty_stream_stays_empty() -> None:
    assert list(prefetch(iter([]), 1)) == []


def test_no_more_than_depth_items_wait() -> None:
    made = 0

    def count() -> Iterator[int]:
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    stream = prefetch(count(), 3)
    assert next(stream) == 0
    deadline = time.monotonic() + 2
    while made < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    # One is with the consumer, three wait, one is in the worker's hand.
    assert made == 5
    stream.close()


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    started = threading.Event()

    def source() -> Iterator[int]:
        started.set()
        yield 1

    stream = prefetch(source(), 1)
    assert not started.wait(0.1)
    assert next(stream) == 1
    assert started.is_set()


def test_an_error_reaches_the_consumer_through_two_threads() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("frame 2")

    stream = prefetch(prefetch(failing(), 1), 1)
    assert next(stream) == 1
    with pytest.raises(KeyError, match="frame 2"):
        next(stream)
    assert not workers()


def test_what_a_failed_frame_held_goes_with_its_error_and_not_with_the_collector() -> None:
    class Batch:
        pass

    held: list[weakref.ref[Batch]] = []

    def failing() -> Iterator[int]:
        batch = Batch()
        held.append(weakref.ref(batch))
        yield 1
        raise MemoryError

    gc.disable()
    try:
        try:
            list(prefetch(prefetch(failing(), 1), 1))
        except MemoryError:
            assert held[0]() is not None  # the traceback shows the frame
        assert held[0]() is None
    finally:
        gc.enable()


def test_leaving_early_closes_upstream_and_ends_all_threads() -> None:
    closed_on: list[str] = []

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed_on.append(threading.current_thread().name)

    stream = prefetch(prefetch(endless(), 2), 2)
    assert next(stream) == 0
    stream.close()
    assert closed_on == ["vmatte-prefetch"]
    assert not workers()


def test_room_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(prefetch(range(3), 0))


# One stream for several consumers


def test_every_consumer_gets_all_items_in_order() -> None:
    assert share(range(500), [list, sum, lambda items: max(items)], 2) == [list(range(500)), 124750, 499]
    assert share(iter([]), [list, list], 1) == [[], []]
    assert share(iter([1, 2]), [list], 1) == [[1, 2]]


def test_a_slow_consumer_holds_the_stream_back() -> None:
    made = 0

    def count() -> Iterator[int]:
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    ahead = []

    def slow(items: Iterator[int]) -> None:
        for number in items:
            ahead.append(made - number)
            time.sleep(0.001)

    share(count(), [list, slow], 3)
    # Three wait, one is in the feeder's hand, one with the consumer.
    assert max(ahead) <= 5


def test_a_consumers_error_ends_the_others_before_their_end_and_closes_the_source() -> None:
    closed, believed_the_end = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    def failing(items: Iterator[int]) -> None:
        next(items)
        raise RuntimeError("this one fails")

    def waiting(items: Iterator[int]) -> None:
        for _ in items:
            pass
        believed_the_end.set()

    with pytest.raises(RuntimeError, match="this one fails"):
        share(source(), [waiting, failing], 2)
    assert closed.is_set()
    assert not believed_the_end.is_set()


def test_an_error_of_the_stream_ends_all_consumers_before_their_end() -> None:
    ended = []

    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError("the source fails")

    def consumer(items: Iterator[int]) -> None:
        list(items)
        ended.append(True)

    with pytest.raises(RuntimeError, match="the source fails"):
        share(failing(), [consumer, consumer], 2)
    assert ended == []
    assert not [thread for thread in threading.enumerate() if thread.name == "vmatte-share"]
