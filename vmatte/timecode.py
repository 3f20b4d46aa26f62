"""Timecodes, HH:MM:SS:FF (SMPTE ST 12-1); what is none stays as it is."""

from __future__ import annotations

import re
from fractions import Fraction

_TIMECODE = r"(\d+):(\d+):(\d+)([:;.])(\d+)"
"""Hours, minutes, seconds, what says whether frames are dropped, frames."""


def timecode_after(timecode: str, rate: Fraction, gone: int) -> str:
    """The timecode when `gone` frames have gone by, at `rate` a second; it begins anew after 24 hours."""
    parts = re.fullmatch(_TIMECODE, timecode)
    if parts is None:
        return timecode
    per_second = max(1, round(rate))
    dropped = _dropped(parts[4], per_second)
    hours, minutes, seconds, frames = (int(parts[group]) for group in (1, 2, 3, 5))
    minutes += 60 * hours
    number = (60 * minutes + seconds) * per_second + frames - dropped * (minutes - minutes // 10)
    number += gone
    per_ten = 600 * per_second - 9 * dropped
    number %= 144 * per_ten
    tens, rest = divmod(number, per_ten)
    per_minute = 60 * per_second - dropped
    number += dropped * (9 * tens + (max(rest - dropped, 0) // per_minute if dropped else 0))
    seconds, frames = divmod(number, per_second)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{parts[4]}{frames:02}"


def timecode_at(timecode: str, before: Fraction, rate: Fraction) -> str:
    """The timecode at another rate: the same second, and the frame that is on screen then.

    Drop-frame stays so where the new rate has it, which skips the same part of each minute; else it is left.
    """
    parts = re.fullmatch(_TIMECODE, timecode)
    of, to = (max(1, round(each)) for each in (before, rate))
    if parts is None or of == to:
        return timecode
    separator = parts[4] if _dropped(parts[4], of) and _dropped(parts[4], to) else ":"
    return f"{parts[1]}:{parts[2]}:{parts[3]}{separator}{int(parts[5]) * to // of:02}"


def _dropped(separator: str, per_second: int) -> int:
    """How many numbers drop-frame skips, never frames, at the beginning of each minute that is no multiple of ten: two
    of 30 a second, four of 60; 0 of a timecode that has no drop-frame."""
    return per_second // 15 if separator in ";." and per_second % 30 == 0 else 0
