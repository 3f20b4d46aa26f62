"""What whoever started vmatte is told, in plain lines."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print, to standard output where no stream is given.

    Whoever does not listen (a closed pipe, a full disk) must not change what a finished render ends with.
    """
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def logs_shown(show: Callable[[str], None]) -> Iterator[None]:
    """What vmatte logs, from INFO on, is shown."""
    logger, handler = logging.getLogger("vmatte"), _Shown(show)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


def fetch_lines(show: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """What is told of a file's name, the bytes of it that are there, and all of them: a line for each tenth."""
    told: dict[str, int] = {}

    def fetching(name: str, done: int, total: int) -> None:
        tenths = 10 * done // max(total, 1)
        if tenths > told.get(name, -1):
            told[name] = tenths
            show(f"fetching {name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    return fetching
