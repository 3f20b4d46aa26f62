"""The subject of an HDR clip becomes SDR."""

from __future__ import annotations

from dataclasses import replace

import torch

from vmatte.frames import SubjectBatch
from vmatte.imaging.color import black
from vmatte.imaging.compositing import BLOCK, shown_part
from vmatte.imaging.tonemap import ToneMap, tone_mapped

_BESIDE = 2 * BLOCK
"""Pixels round what is shown whose colour a cutout keeps, for codecs to smear."""


def tonemapped(subject: SubjectBatch, tone: ToneMap) -> SubjectBatch:
    """The same subject in the SDR coding `tone.target`; its source's frames stay what they are.

    Far from what is shown of it, which would cost most of the time for nothing, it is black.
    """
    planes = tuple(
        torch.full_like(codes, blank, memory_format=torch.contiguous_format)
        for codes, blank in zip((subject.luma, subject.chroma), black(tone.target), strict=True)
    )
    down, across = (-(-side // small) for side, small in zip(subject.size, subject.chroma_size, strict=True))
    for t, frame in enumerate(subject.alpha):
        top, bottom, left, right = shown_part(frame[0])
        if top == bottom:
            continue
        top, left = max(top - _BESIDE, 0), max(left - _BESIDE, 0)
        bottom, right = (min(end + _BESIDE, side) for end, side in zip((bottom, right), subject.size, strict=True))
        fine = (slice(t, t + 1), slice(None), slice(top, bottom), slice(left, right))
        coarse = (*fine[:2], slice(top // down, -(-bottom // down)), slice(left // across, -(-right // across)))
        mapped = tone_mapped(subject.luma[fine], subject.chroma[coarse], tone)
        for whole, where, part in zip(planes, (fine, coarse), mapped, strict=True):
            whole[where] = part
    return replace(subject, luma=planes[0], chroma=planes[1], recoded=tone.target)
