"""The matte is shaped: its edge by constants, its area by masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from vmatte.frames import MatteBatch
from vmatte.imaging.blur import gaussian_blur
from vmatte.imaging.edges import choked, leveled, without_holes, without_specks
from vmatte.options import Edges

MaskPlanes = Callable[[range], Tensor]
"""A mask (T or 1, 1, H, W) float32 in [0, 1] for the frames of these numbers: 1 where it acts."""


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Where nothing is kept, and where everything is; the former goes before the latter."""

    garbage: MaskPlanes | None = None
    hold_out: MaskPlanes | None = None


def shape(mattes: Iterable[MatteBatch], edges: Edges, masks: Masks) -> Iterator[MatteBatch]:
    """The same frames with another alpha."""
    for matte in mattes:
        alpha = shaped(matte.alpha, edges)
        if masks.hold_out is not None:
            alpha = alpha.maximum(masks.hold_out(matte.frames.index))
        if masks.garbage is not None:
            alpha = alpha * (1 - masks.garbage(matte.frames.index))
        yield replace(matte, alpha=alpha)


def shaped(alpha: Tensor, edges: Edges) -> Tensor:
    """Alpha (T, 1, H, W) after all that is set, in the order of the fields of Edges."""
    if edges.remove_specks:
        alpha = without_specks(alpha, edges.remove_specks)
    if edges.fill_holes:
        alpha = without_holes(alpha, edges.fill_holes)
    if (edges.black, edges.white, edges.gamma) != (0, 1, 1):
        alpha = leveled(alpha, edges.black, edges.white, edges.gamma)
    if edges.choke:
        alpha = choked(alpha, edges.choke)
    if edges.feather:
        alpha = gaussian_blur(alpha, edges.feather)
    return alpha
