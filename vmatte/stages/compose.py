"""The subject becomes the layer that is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from vmatte.frames import LayerBatch, SubjectBatch
from vmatte.imaging.color import black, downsample_chroma
from vmatte.imaging.compositing import alpha_codes, blank_hidden, near_matte, over

PlatePlanes = Callable[[SubjectBatch], tuple[Tensor, Tensor]]
"""Luma (T or 1, 1, H, W) and chroma (T or 1, 2, h, w) of the plate behind these frames: float32, in their codes."""


def compose(subjects: Iterable[SubjectBatch], plate: PlatePlanes) -> Iterator[LayerBatch]:
    """The subject over the plate, blended in display space."""
    for subject in subjects:
        luma, chroma = plate(subject)
        chroma_alpha = downsample_chroma(subject.alpha, subject.chroma_size)
        yield LayerBatch(
            subject.index,
            over(subject.luma, luma, subject.alpha),
            over(subject.chroma, chroma, chroma_alpha),
            alpha=None,
            matte=subject.source.codes,
        )


def cut_out(subjects: Iterable[SubjectBatch], alpha_bits: int) -> Iterator[LayerBatch]:
    """The subject in straight colour with its alpha; far outside the matte the colour is black, and costs no bytes."""
    for subject in subjects:
        alpha = alpha_codes(subject.alpha, alpha_bits)
        near = near_matte(alpha)
        black_luma, black_chroma = black(subject.coding)
        yield LayerBatch(
            subject.index,
            blank_hidden(subject.luma, near, black_luma, subject.size),
            blank_hidden(subject.chroma, near, black_chroma, subject.size),
            alpha,
            matte=subject.source.codes,
        )
