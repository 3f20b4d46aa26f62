"""A picture as a frame: the stages know frames of Y'CbCr codes, and a clip that they are of.

The coding is BT.709's matrix with sRGB's transfer at 16 bits and full size: every 8-bit colour comes back as it was,
one of 16 bits to two of its codes.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmatte.clip import BT709, SRGB, ClipInfo, Coding, ColorTags, Orientation
from vmatte.frames import FrameBatch
from vmatte.imaging.color import rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.stills.picture import Codes, Picture

CODING = Coding(ColorTags(BT709.matrix, BT709.primaries, SRGB, full_range=False), bits=16)
"""Limited range, like every delivery."""
_STRIP = 256
"""Rows that are converted at once: what lies between two steps stays small, whatever the picture's size."""


def as_clip(picture: Picture) -> ClipInfo:
    """A clip of one frame, of a second."""
    height, width = picture.size
    moment = np.zeros(1, np.int64)
    return ClipInfo(
        path=Path(picture.name),
        stream=0,
        codec="still",
        width=width,
        height=height,
        time_base=Fraction(1),
        pts=moment,
        key_pts=moment,
        last_duration=1,
        promised_frames=1,
        counted=False,
        clock_start=Fraction(0),
        rate=Fraction(1),
        pixel_format="",
        coding=CODING,
        orientation=Orientation(),
        sample_aspect=Fraction(1),
        interlaced=False,
        audio=(),
        timecode=None,
        metadata={},
        language=None,
    )


def as_frame(picture: Picture, device: torch.device) -> FrameBatch:
    """The picture's codes in CODING, with its own alpha."""
    height, width = picture.size
    luma = torch.empty((1, 1, height, width), dtype=torch.uint16)
    chroma = torch.empty((1, 2, height, width), dtype=torch.uint16)
    for top in range(0, height, _STRIP):
        rows = slice(top, top + _STRIP)
        rgb = torch.from_numpy(picture.rgb[rows].astype(np.float32)).permute(2, 0, 1)[None] / (2**picture.bits - 1)
        fine, coarse = rgb_to_ycbcr(rgb, CODING, (rgb.shape[2], width))
        luma[:, :, rows], chroma[:, :, rows] = rounded(fine, CODING.bits), rounded(coarse, CODING.bits)
    alpha = None
    if picture.alpha is not None:
        codes = picture.alpha if picture.bits == 16 else picture.alpha.astype(np.uint16) * 257
        alpha = torch.from_numpy(codes)[None, None].to(device)
    return FrameBatch(range(1), luma.to(device), chroma.to(device), CODING, alpha)


def as_codes(luma: Tensor, chroma: Tensor, bits: int) -> Codes:
    """(H, W, 3) codes of 8 or 16 bits, of full range, of planes in CODING."""
    height, width = luma.shape[-2:]
    codes = np.empty((height, width, 3), np.uint8 if bits == 8 else np.uint16)
    for top in range(0, height, _STRIP):
        rows = slice(top, top + _STRIP)
        rgb = ycbcr_to_rgb(luma[:, :, rows], chroma[:, :, rows], CODING).mul_(2**bits - 1)
        codes[rows] = rgb[0].permute(1, 2, 0).round_().cpu().numpy()
    return codes
