"""Frames and their mattes become the layer that is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from vmatte.frames import LayerBatch, MatteBatch
from vmatte.imaging.color import black, downsample_chroma
from vmatte.imaging.compositing import alpha_codes, blank_hidden, near_matte, over, recolored

PlatePlanes = Callable[[MatteBatch], tuple[Tensor, Tensor]]
"""Luma (T or 1, 1, H, W) and chroma (T or 1, 2, h, w) of the plate behind these frames: float32, in their codes."""


def compose(mattes: Iterable[MatteBatch], plate: PlatePlanes) -> Iterator[LayerBatch]:
    """The subject over the plate, blended in display space."""
    for matte in mattes:
        frames = matte.frames
        own_luma, own_chroma = _colors(matte)
        luma, chroma = plate(matte)
        chroma_alpha = downsample_chroma(matte.alpha, (int(frames.chroma.shape[2]), int(frames.chroma.shape[3])))
        yield LayerBatch(
            frames.index,
            over(own_luma, luma, matte.alpha),
            over(own_chroma, chroma, chroma_alpha),
            alpha=None,
            matte=matte.codes,
        )


def cut_out(mattes: Iterable[MatteBatch], alpha_bits: int) -> Iterator[LayerBatch]:
    """The subject in straight colour with its alpha; far outside the matte the colour is black, and costs no bytes."""
    for matte in mattes:
        frames = matte.frames
        luma, chroma = _colors(matte)
        alpha = alpha_codes(matte.alpha, alpha_bits)
        near = near_matte(alpha)
        black_luma, black_chroma = black(frames.coding)
        yield LayerBatch(
            frames.index,
            blank_hidden(luma, near, black_luma, frames.size),
            blank_hidden(chroma, near, black_chroma, frames.size),
            alpha,
            matte=matte.codes,
        )


def _colors(matte: MatteBatch) -> tuple[Tensor, Tensor]:
    """Codes of the subject's luma and chroma: the frame's own, and at soft edges those of a known foreground."""
    frames = matte.frames
    if matte.foreground is None:
        return frames.luma, frames.chroma
    return recolored(frames.luma, frames.chroma, matte.foreground, matte.alpha, frames.coding)
