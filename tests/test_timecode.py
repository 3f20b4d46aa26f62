"""Timecodes at another rate, against values worked by hand (SMPTE ST 12-1)."""

from __future__ import annotations

from fractions import Fraction

import pytest

from vmatte.timecode import timecode_after, timecode_at

NTSC_30, NTSC_60 = Fraction(30000, 1001), Fraction(60000, 1001)


@pytest.mark.parametrize(
    ("timecode", "before", "rate", "due"),
    [
        ("00:00:59;29", NTSC_30, NTSC_60, "00:00:59;58"),
        ("00:01:00;02", NTSC_30, NTSC_60, "00:01:00;04"),  # frame 1800, and 3600: the first of their minutes
        ("00:10:00;00", NTSC_30, NTSC_60, "00:10:00;00"),  # frame 17982, and 35964
        ("00:01:00;05", NTSC_60, NTSC_30, "00:01:00;02"),  # frame 3601, and 1800
        ("00:01:00:00", NTSC_30, NTSC_60, "00:01:00:00"),
        ("00:01:00;02", NTSC_30, Fraction(24000, 1001), "00:01:00:01"),  # 24 a second have no drop-frame
        ("00:01:00;12", Fraction(25), Fraction(60), "00:01:00:28"),  # nor had 25, whatever stands there
    ],
)
def test_drop_frame_stays_where_both_rates_have_it(timecode: str, before: Fraction, rate: Fraction, due: str) -> None:
    assert timecode_at(timecode, before, rate) == due


def test_at_twice_the_rate_twice_as_many_frames_have_gone() -> None:
    for gone in (*range(1795, 1805), *range(17977, 17987), 19782, 107892, 2589407):
        doubled = timecode_at(timecode_after("00:00:00;00", NTSC_30, gone), NTSC_30, NTSC_60)
        assert doubled == timecode_after("00:00:00;00", NTSC_60, 2 * gone)
