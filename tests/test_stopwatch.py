from collections.abc import Iterator

import pytest

from vmatte.stopwatch import Stopwatch


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_is_booked_without_the_steps_inside_it() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def decode() -> Iterator[int]:
        for number in range(3):
            clock.now += 2
            yield number

    def matte(frames: Iterator[int]) -> Iterator[int]:
        for frame in frames:
            with stopwatch.step("network"):
                clock.now += 10
            clock.now += 1
            yield frame

    chain = stopwatch.around("matte", matte(stopwatch.around("decode", decode())))
    for _ in chain:
        clock.now += 100
    assert dict(stopwatch.seconds) == pytest.approx({"decode": 6, "network": 30, "matte": 3})


def test_leaving_early_closes_the_steps_own_source() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    stream = Stopwatch().around("source", source())
    next(stream)
    stream.close()
    assert closed == [True]
