"""The planes of a PyAV frame as numpy arrays."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray


def plane_views(frame: VideoFrame) -> list[NDArray[np.generic]]:
    """The visible codes (height, width) of each plane of a planar frame, in place: uint8, or uint16 above 8 bits."""
    dtype = np.dtype("u1") if frame.format.components[0].bits <= 8 else np.dtype("<u2")
    views = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        views.append(rows[:, : plane.width])
    return views


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame has alpha, be it that of a palette."""
    return any(component.is_alpha for component in frame.format.components)


def is_float(frame: VideoFrame) -> bool:
    """Whether a frame's numbers are floating point."""
    return "f16" in frame.format.name or "f32" in frame.format.name


def float_planes(frame: VideoFrame) -> list[NDArray[np.float32]]:
    """Copies of the visible numbers (height, width) of each plane of a planar frame in floating point."""
    dtype = np.dtype("<f2" if "f16" in frame.format.name else "<f4")
    views = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        views.append(rows[:, : plane.width].astype(np.float32))
    return views
