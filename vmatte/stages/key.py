"""Frames get their matte, or its edge, from the screen that they were shot before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vmatte.analysis import Screens
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.imaging.keying import edge_keyed, key
from vmatte.models.contract import ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class ScreenKey:
    """What keys a clip's frames: the screens of its shots, found before."""

    spec: ModelSpec
    device: torch.device
    screens: Screens
    shade: Tensor | None
    """(1, 1, H, W) of a clean plate, on the device."""

    def alpha(self, frames: FrameBatch) -> Tensor:
        """(T, 1, H, W) in [0, 1]; 0 beside the picture."""
        screens, alphas = self.screens, []
        picture = screens.rows, screens.columns
        for t, number in enumerate(frames.index):
            luma, chroma = frames.luma[t : t + 1], frames.chroma[t : t + 1]
            alphas.append(key(luma, chroma, frames.coding, screens.hue, screens.at(number), self.shade, picture))
        alpha = alphas[0] if len(alphas) == 1 else torch.cat(alphas)
        (top, below), (left, beside) = screens.rows, screens.columns
        for bar in (alpha[..., :top, :], alpha[..., below:, :], alpha[..., :left], alpha[..., beside:]):
            bar.zero_()
        return alpha


def matte_by_key(batches: Iterable[FrameBatch], screen: ScreenKey) -> Iterator[MatteBatch]:
    """The frames with the key's matte."""
    for frames in batches:
        yield MatteBatch(frames, screen.alpha(frames))


def key_edges(mattes: Iterable[MatteBatch], screen: ScreenKey) -> Iterator[MatteBatch]:
    """The same mattes, what is near their edge from the key."""
    for matte in mattes:
        yield replace(matte, alpha=edge_keyed(matte.alpha, screen.alpha(matte.frames)))
