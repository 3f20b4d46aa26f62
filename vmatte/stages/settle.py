"""Mattes are rounded to what can be kept of them, so that a kept one makes the same picture as a new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vmatte.frames import MatteBatch, MatteCodes
from vmatte.imaging.compositing import foreground_codes, foreground_of_codes, settled


def settle(mattes: Iterable[MatteBatch]) -> Iterator[MatteBatch]:
    """The same mattes in steps of 1/65535, foregrounds in those of the frames' depth and only where alpha is soft."""
    for matte in mattes:
        bits = matte.frames.coding.bits
        alpha, codes = settled(matte.alpha)
        foreground = None if matte.foreground is None else foreground_codes(matte.foreground, codes, bits)
        yield replace(
            matte,
            alpha=alpha,
            foreground=None if foreground is None else foreground_of_codes(foreground, bits),
            codes=MatteCodes(codes, foreground),
        )
