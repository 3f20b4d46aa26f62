"""Stacked alpha: a cutout's colour above its matte, in one picture, for players that know no alpha."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmatte.clip import Coding

_Plane = NDArray[np.generic]


def stack(colour: list[_Plane], alpha: _Plane, coding: Coding, half: int) -> list[_Plane]:
    """The planes [luma, Cb, Cr] of a picture 2 `half` high: the colour above, and from row `half` the matte as gray.

    `colour` has the codes of `coding`, luma (H, W) of even sides and chroma at half size; `alpha` (h, w) counts from 0
    to 2^bits - 1, and may be a row or a column smaller, as an odd picture is. The matte goes from black to white of the
    coding. Between the halves the colour's last row goes on, and the matte's first one begins early: so neither scaled
    chroma nor a codec that smooths the borders of its blocks carries one half into the other. Below the matte its last
    row goes on as far, then it is empty.
    """
    black, white = coding.luma_ends
    highest = (1 << coding.bits) - 1
    # A table, for there are no more codes than this.
    codes = np.rint(np.arange(highest + 1) * ((white - black) / highest) + black).astype(colour[0].dtype)
    height, width = colour[0].shape
    gray = np.pad(codes[alpha], ((0, height - alpha.shape[0]), (0, width - alpha.shape[1])), mode="edge")
    neutral = 1 << (coding.bits - 1)
    mattes = [gray, *(np.full_like(plane, neutral) for plane in colour[1:])]
    empty = (black, neutral, neutral)
    halves = (half, half // 2, half // 2)
    return [_above(*plane) for plane in zip(colour, mattes, empty, halves, strict=True)]


def _above(colour: _Plane, matte: _Plane, empty: int, half: int) -> _Plane:
    """One plane, with `half` rows for each of the two."""
    gap = half - colour.shape[0]
    on = gap // 2
    nothing = np.full_like(matte[:1], empty)
    rows = [(colour, 1), (colour[-1:], on), (matte[:1], gap - on), (matte, 1), (matte[-1:], on), (nothing, gap - on)]
    return np.concatenate([part.repeat(times, axis=0) for part, times in rows])
