"""Streams that several read."""

import gc
import weakref
from collections.abc import Iterator

from vmatte.stages.branch import Shared


class Item:
    pass


def test_what_several_readers_share_is_made_once() -> None:
    made = []

    def doubled(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            made.append(number)
            yield 2 * number

    numbers = Shared(range(4))
    one, two = numbers.made("doubled", doubled).read(), numbers.made("doubled", doubled).read()
    of_doubled = numbers.made("doubled", doubled).made("doubled", lambda twice: (2 * number for number in twice)).read()
    assert list(zip(numbers.read(), one, two, of_doubled, strict=True)) == [(n, 2 * n, 2 * n, 4 * n) for n in range(4)]
    assert made == [0, 1, 2, 3]


def test_nothing_runs_ahead_and_nothing_is_held_that_all_have_read() -> None:
    alive: list[weakref.ref[Item]] = []

    def items() -> Iterator[Item]:
        for _ in range(300):
            item = Item()
            alive.append(weakref.ref(item))
            yield item

    def readers() -> Iterator[tuple[Item, Item]]:
        whole = Shared(items())
        return zip(whole.read(), whole.made("same", lambda of: (each for each in of)).read(), strict=True)

    most = 0
    for number, pair in enumerate(readers()):
        assert len(alive) == number + 1
        del pair
        gc.collect(0)
        most = max(most, sum(ref() is not None for ref in alive))
    # The pair that was handed out last may still be known to the loop.
    assert most <= 2
