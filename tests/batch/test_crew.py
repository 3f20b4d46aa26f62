"""How many workers there are, and why."""

from __future__ import annotations

import os

import pytest

from vmatte.batch.crew import crew_size, free_memory, usable_cores

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "free_gib", "cuda", "groups", "workers", "threads", "why"),
    [
        (2, 16, False, 500, 1, 2, "one for 4 cores, and this process has 2"),
        (16, 64, False, 500, 4, 4, "one for 4 cores"),
        (16, 7, False, 500, 2, 8, "one for 3 GiB of memory, and 7.0 are free"),
        (16, 1, False, 500, 1, 16, "one for 3 GiB of memory"),
        (16, 64, False, 3, 3, 5, "3 jobs that can run at the same time"),
        (64, 256, True, 500, 1, 64, "one GPU"),
    ],
)
def test_auto_goes_by_cores_memory_and_devices(
    cores: int, free_gib: int, cuda: bool, groups: int, workers: int, threads: int, why: str
) -> None:
    size = crew_size(None, groups=groups, cores=cores, free_bytes=free_gib * GIB, cuda=cuda)
    assert (size.workers, size.threads) == (workers, threads)
    assert why in size.why


def test_a_number_that_is_asked_for_is_taken_and_the_cores_are_divided() -> None:
    size = crew_size(6, groups=500, cores=8, free_bytes=1, cuda=True)
    assert (size.workers, size.threads, size.why) == (6, 1, "6 workers, 1 thread each (as asked for)")


def test_what_nobody_knows_of_memory_limits_nothing() -> None:
    assert crew_size(None, groups=9, cores=16, free_bytes=None, cuda=False).workers == 4


def test_cores_and_memory_are_this_machines() -> None:
    free = free_memory()
    if free is None:
        pytest.skip("there is no /proc/meminfo")
    assert 0 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_cores() == len(os.sched_getaffinity(0))
