"""The subject is moved and scaled on the output's picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

import torch
from torch import Tensor

from vmatte.canvas import Placement
from vmatte.frames import SubjectBatch
from vmatte.imaging.color import LUMA_SITES, Sites, black, chroma_sites, downsample_chroma, rounded
from vmatte.imaging.resample import CUBIC, TENT, Kernel, Taps, resample, taps

_FAINT = 1e-4
"""What a colour counts where alpha is 0: nothing beside the subject's own, all where there is none of that."""


def place(subjects: Iterable[SubjectBatch], placement: Placement) -> Iterator[SubjectBatch]:
    """The same subjects in a picture of the placement's size; beyond the clip's own picture alpha is 0."""
    grids: _Grids | None = None
    for subject in subjects:
        if grids is None:
            grids = _grids(subject, placement)
        yield _placed(subject, grids)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of the canvas: `pixels` of it, on which those of the clip, scaled, begin at `start`."""

    pixels: int
    clip_pixels: int
    scale: Fraction
    start: Fraction

    @property
    def seen(self) -> slice:
        """Where there is something of the clip; from an even pixel on, at which there is a sample of chroma too."""
        stop = ceil(self.start + self.scale * self.clip_pixels)
        return slice(max(0, floor(self.start) // 2 * 2), min(self.pixels, stop))

    def covered(self) -> Tensor:
        """How much of each of these pixels the clip covers, in [0, 1]."""
        ends = float(self.start), float(self.start + self.scale * self.clip_pixels)
        edges = torch.arange(self.seen.start, self.seen.stop + 1, dtype=torch.float64)
        return edges.clamp(*ends).diff().to(torch.float32)

    def part(self, sites: Sites) -> slice:
        """The samples of a plane that lie there."""
        return slice(self.seen.start // sites.step, ceil(self.seen.stop / sites.step))

    def taps(self, kernel: Kernel, sites: Sites, clip_samples: int, device: torch.device) -> Taps:
        part = self.part(sites)
        # Half a pixel lies between a pixel's edge, by which pictures are placed, and its middle.
        pixel = (part.start * sites.step + sites.first + 0.5 - self.start) / self.scale - 0.5
        first = (pixel - sites.first) / sites.step
        return taps(kernel, part.stop - part.start, clip_samples, float(first), float(1 / self.scale), device)


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """How a plane of the clip becomes the `part`, in rows and columns, of one of the canvas, which is of `size`."""

    size: tuple[int, int]
    part: tuple[slice, slice]
    smooth: tuple[Taps, Taps]
    sharp: tuple[Taps, Taps]


@dataclass(frozen=True, slots=True, eq=False)
class _Grids:
    luma: _Plane
    chroma: _Plane
    covered: Tensor
    """(1, rows, columns) of luma's part: how much of a pixel the clip covers."""


def _grids(subject: SubjectBatch, placement: Placement) -> _Grids:
    sides = [
        _Side(pixels, clip_pixels, placement.scale, start)
        for pixels, clip_pixels, start in zip(
            placement.size, subject.size, (placement.top, placement.left), strict=True
        )
    ]
    rows, columns = (side.covered().to(subject.luma.device) for side in sides)
    return _Grids(
        _plane(sides, subject.luma, (LUMA_SITES, LUMA_SITES)),
        _plane(sides, subject.chroma, chroma_sites(subject.size, subject.chroma_size)),
        rows[:, None] * columns,
    )


def _plane(sides: list[_Side], planes: Tensor, sites: tuple[Sites, Sites]) -> _Plane:
    """Of `planes` (T, C, H, W) of the clip, whose samples lie at `sites` of rows and columns."""
    along = list(zip(sides, sites, planes.shape[-2:], strict=True))
    smooth, sharp = (
        tuple(side.taps(kernel, own, samples, planes.device) for side, own, samples in along)
        for kernel in (TENT, CUBIC)
    )
    size = tuple(ceil(side.pixels / own.step) for side, own, _ in along)
    part = tuple(side.part(own) for side, own, _ in along)
    return _Plane(size, part, smooth, sharp)  # type: ignore[arg-type]


def _placed(subject: SubjectBatch, grids: _Grids) -> SubjectBatch:
    frames, device = len(subject.index), subject.luma.device
    bits = subject.coding.bits
    black_luma, black_chroma = black(subject.coding)
    luma = torch.full((frames, 1, *grids.luma.size), black_luma, dtype=subject.luma.dtype, device=device)
    chroma = torch.full((frames, 2, *grids.chroma.size), black_chroma, dtype=subject.chroma.dtype, device=device)
    alpha = torch.zeros((frames, 1, *grids.luma.size), device=device)
    # One by one: in a larger tensor the same sums may be rounded otherwise.
    for t in range(frames):
        own = subject.alpha[t]
        chroma_own = downsample_chroma(subject.alpha[t : t + 1], subject.chroma_size)[0]
        values, shown = _moved(subject.luma[t], own, grids.luma, bits)
        luma[t, :, *grids.luma.part] = rounded(values, bits)
        alpha[t, :, *grids.luma.part] = shown * grids.covered
        values, _ = _moved(subject.chroma[t], chroma_own, grids.chroma, bits)
        chroma[t, :, *grids.chroma.part] = rounded(values, bits)
    return replace(subject, luma=luma, chroma=chroma, alpha=alpha)


def _moved(codes: Tensor, alpha: Tensor, plane: _Plane, bits: int) -> tuple[Tensor, Tensor]:
    """A frame's straight colour (C, h, w), in codes, and its alpha (1, h, w) on the canvas.

    Colours are weighted by alpha on the way, or those of the old background would come into the edge. Where the sharp
    kernel's mean is hardly one, for alpha is low or its negative weights lie on the subject, the smooth one's counts.
    """
    weighted = torch.cat([codes.to(torch.float32) * (alpha + _FAINT), alpha])
    smooth, sharp = resample(weighted, *plane.smooth), resample(weighted, *plane.sharp)
    shown = sharp[-1:]
    color = torch.where(shown > 0.5, sharp[:-1] / (shown + _FAINT), smooth[:-1] / (smooth[-1:] + _FAINT))
    return color.clamp_(0, 2**bits - 1), shown.clamp(0, 1)
