"""Mattes are rounded to what can be kept of them, so that a kept one makes the same picture as a new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vmatte.frames import MatteBatch
from vmatte.imaging.compositing import settled


def settle(mattes: Iterable[MatteBatch]) -> Iterator[MatteBatch]:
    """The same mattes in steps of 1/65535."""
    for matte in mattes:
        alpha, codes = settled(matte.alpha)
        yield replace(matte, alpha=alpha, codes=codes)
