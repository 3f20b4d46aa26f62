"""Frames of RGB and gray pictures, made without swscale, in which opaque alpha and 16-bit colour come out a little off,
and what FFmpeg leaves out of their files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vmatte.clip import BT709, CHROMATICITIES

Plane = NDArray[Any]

_PLANAR = {"gbrpf32le": (0, 1, 2), "gbrapf32le": (0, 1, 2, 3), "grayf32le": (0,)}
_PACKED = {
    "rgb24": (2, 0, 1),
    "rgba": (2, 0, 1, 3),
    "argb": (3, 2, 0, 1),
    "bgra": (1, 0, 2, 3),
    "rgb48be": (2, 0, 1),
    "rgb48le": (2, 0, 1),
    "rgba64be": (2, 0, 1, 3),
    "rgba64le": (2, 0, 1, 3),
    "gray": (0,),
    "gray16be": (0,),
    "gray16le": (0,),
}
"""Which of G, B, R and alpha stand where."""


def rgb_frame(planes: Sequence[Plane], pix_fmt: str) -> VideoFrame:
    """A frame of G, B, R and, if the format has it, alpha, or of gray: planes (H, W) of the format's own depth."""
    height, width = planes[0].shape
    frame = VideoFrame(width, height, pix_fmt)
    if pix_fmt in _PLANAR:
        for plane, place in zip(frame.planes, _PLANAR[pix_fmt], strict=True):
            _rows(memoryview(plane), np.dtype("<f4"), height)[:, :width] = planes[place]
        return frame
    chosen = [np.ascontiguousarray(planes[place]) for place in _PACKED[pix_fmt]]
    packed = cv2.merge(chosen) if len(chosen) > 1 else chosen[0]
    order = np.dtype(">u2") if pix_fmt.endswith("be") else packed.dtype
    _rows(memoryview(frame.planes[0]), order, height)[:, : width * len(chosen)] = packed.reshape(height, -1)
    return frame


def _rows(plane: memoryview, dtype: np.dtype[np.generic], height: int) -> Plane:
    return np.frombuffer(plane, dtype).reshape(height, -1)


_COMPRESSION, _EXTRA_SAMPLES = 259, 338
_ADOBE_DEFLATE, _ASSOCIATED = 8, 1


def relabelled_tiff(picture: bytes, *, premultiplied: bool) -> bytes:
    """FFmpeg's TIFF with the names that readers know: of the same compression its newer number, and of alpha whether
    colour is multiplied with it (TIFF 6.0, ExtraSamples)."""
    changes = {_COMPRESSION: _ADOBE_DEFLATE} | ({_EXTRA_SAMPLES: _ASSOCIATED} if premultiplied else {})
    changed = bytearray(picture)
    (directory,) = struct.unpack_from("<I", changed, 4)
    (entries,) = struct.unpack_from("<H", changed, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", changed, entry)
        if tag in changes:
            struct.pack_into("<H", changed, entry + 8, changes[tag])
    return bytes(changed)


_HEADER = 8


def with_chromaticities(picture: bytes, primaries: int) -> bytes:
    """FFmpeg's OpenEXR picture, saying what its primaries (ITU-T H.273) are where they are not BT.709's, which readers
    take for granted."""
    if primaries == BT709.primaries or primaries not in CHROMATICITIES:
        return picture
    attribute = b"chromaticities\0chromaticities\0" + struct.pack("<i8f", 32, *chain(*CHROMATICITIES[primaries]))
    end = _HEADER
    while picture[end]:
        end = picture.index(b"\0", picture.index(b"\0", end) + 1) + 1
        end += 4 + struct.unpack_from("<i", picture, end)[0]
    # Where each block of rows lies is counted from the file's beginning.
    (first,) = struct.unpack_from("<Q", picture, end + 1)
    places = np.frombuffer(picture[end + 1 : first], "<u8") + np.uint64(len(attribute))
    return picture[:_HEADER] + attribute + picture[_HEADER : end + 1] + places.tobytes() + picture[first:]
