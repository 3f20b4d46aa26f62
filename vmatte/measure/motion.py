"""Where each pixel came from: the motion of `vmatte.imaging` for pictures that are arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.imaging import motion

Flow = NDArray[np.float32]
"""(2, h, w) in pixels, x before y: pixel p of this picture lay at p + flow[:, p] in the last one."""


def flow(previous: NDArray[np.uint8], luma: NDArray[np.uint8]) -> Flow:
    """Where the pixels of `luma` lay in `previous`; both (h, w), 8-bit codes."""
    return np.ascontiguousarray(motion.find_flow(_planes(luma), _planes(previous))[0].numpy())


def warp(plane: NDArray[np.float32], came_from: Flow) -> NDArray[np.float32]:
    """`plane` (h, w) as it looks after the motion, cubic; the border is repeated outwards."""
    return np.asarray(motion.warp(_planes(plane), _planes(came_from), cubic=True)[0, 0].numpy())


def resize_flow(came_from: Flow, size: tuple[int, int]) -> Flow:
    """The flow for pictures of another (height, width)."""
    return np.asarray(motion.resize_flow(_planes(came_from), size)[0].numpy())


def _planes(parts: NDArray[Any]) -> Tensor:
    """(1, C, h, w) of (C, h, w) or (h, w)."""
    # torch warns of memory that it could not write to.
    return torch.from_numpy(np.require(parts, requirements=["C", "W"])).reshape(1, -1, *parts.shape[-2:])
