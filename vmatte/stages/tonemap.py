"""The subject of an HDR clip becomes SDR."""

from __future__ import annotations

from dataclasses import replace

import torch

from vmatte.frames import SubjectBatch
from vmatte.imaging.color import black
from vmatte.imaging.compositing import shown_part
from vmatte.imaging.tonemap import ToneMap, tone_mapped


def tonemapped(subject: SubjectBatch, tone: ToneMap) -> SubjectBatch:
    """The same subject in the SDR coding `tone.target`; its source's frames stay what they are.

    Where nothing of it is shown, which costs most of a picture's time for nothing, it is black.
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
        fine = (slice(t, t + 1), slice(None), slice(top, bottom), slice(left, right))
        coarse = (*fine[:2], slice(top // down, -(-bottom // down)), slice(left // across, -(-right // across)))
        mapped = tone_mapped(subject.luma[fine], subject.chroma[coarse], tone)
        for whole, where, part in zip(planes, (fine, coarse), mapped, strict=True):
            whole[where] = part
    return replace(subject, luma=planes[0], chroma=planes[1], recoded=tone.target)
