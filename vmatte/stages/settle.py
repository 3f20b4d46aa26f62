"""Mattes are rounded to what can be kept of them, so that a kept one makes the same picture as a new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vmatte.frames import MatteBatch, MatteCodes
from vmatte.imaging.compositing import alpha_codes, alpha_of_codes, foreground_codes, foreground_of_codes


def settle(mattes: Iterable[MatteBatch]) -> Iterator[MatteBatch]:
    """The same mattes in steps of 1/65535, foregrounds in those of the frames' depth and only where alpha is soft."""
    for matte in mattes:
        bits = matte.frames.coding.bits
        alpha = alpha_codes(matte.alpha, 16)
        foreground = None if matte.foreground is None else foreground_codes(matte.foreground, alpha, bits)
        yield replace(
            matte,
            alpha=alpha_of_codes(alpha),
            foreground=None if foreground is None else foreground_of_codes(foreground, bits),
            codes=MatteCodes(alpha, foreground),
        )
