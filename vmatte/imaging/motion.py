"""Dense optical flow between two pictures, and warping by it.

A flow (1, 2, h, w) is in pixels, x before y: the pixel at (x, y) of the one picture lies at (x, y) + flow in the other.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vmatte.imaging.resize import resize

_DIS_SIDE = 32
"""DIS refuses smaller pictures, or chooses its levels by their width alone and crashes where they are wide and low."""
_COARSEST_SIDE = 16
_STEPS = 4
"""Refinements at each level of the pyramid."""
_WINDOW = 9
"""Side of the window in which motion is taken to be constant."""
_STIFFNESS = 25.0
"""Keeps the flow where the picture is flat: squared levels of 255, against the gradients' energy in the window."""


def flow_method(device: torch.device) -> str:
    """How motion is found on a device: the ways differ in more than last bits."""
    return "DIS" if device.type == "cpu" else "Lucas-Kanade"


def find_flow(source: Tensor, target: Tensor) -> Tensor:
    """Flow (1, 2, h, w) float32 from luma `source` to `target`, both (1, 1, h, w) uint8.

    On a CPU OpenCV's DIS (Kroeger et al. 2016); elsewhere pyramidal Lucas–Kanade (Bouguet 2001) on the device.
    """
    if flow_method(source.device) != "DIS":
        return find_flow_on_device(source, target)
    height, width = source.shape[-2:]
    pictures = (_padded(luma[0, 0].numpy()) for luma in (source, target))
    # A new one each time: it works in arrays of its own, which two threads must not share, and costs nothing.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    # The stubs do not know it, but without None it would start from what lies in the array it is given.
    flow = dis.calc(*pictures, None)[:height, :width]  # type: ignore[call-overload]
    return torch.from_numpy(np.ascontiguousarray(flow)).permute(2, 0, 1)[None]


def _padded(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    below, right = (max(0, _DIS_SIDE - side) for side in luma.shape)
    return np.pad(luma, ((0, below), (0, right)), mode="edge") if below or right else luma


def find_flow_on_device(source: Tensor, target: Tensor) -> Tensor:
    """The same by torch alone, from coarse to fine, without leaving the device."""
    pyramid = [(source.to(torch.float32), target.to(torch.float32))]
    while min(pyramid[-1][0].shape[-2:]) >= 2 * _COARSEST_SIDE:
        fixed, moving = pyramid[-1]
        pyramid.append((F.avg_pool2d(fixed, 2, ceil_mode=True), F.avg_pool2d(moving, 2, ceil_mode=True)))
    flow = torch.zeros(1, 2, *pyramid[-1][0].shape[-2:], device=source.device)
    for fixed, moving in reversed(pyramid):
        size = (int(fixed.shape[-2]), int(fixed.shape[-1]))
        if flow.shape[-2:] != fixed.shape[-2:]:
            flow = resize_flow(flow, size)
        for _ in range(_STEPS):
            flow = flow + _refinement(fixed, warp(moving, flow))
            flow = _window_mean(flow, 5)
    return flow


def _refinement(fixed: Tensor, warped: Tensor) -> Tensor:
    """What has to be added to the flow, by least squares over each window."""
    along_x = F.pad(warped, (1, 1, 0, 0), mode="replicate")
    along_y = F.pad(warped, (0, 0, 1, 1), mode="replicate")
    gx = (along_x[..., 2:] - along_x[..., :-2]) / 2
    gy = (along_y[..., 2:, :] - along_y[..., :-2, :]) / 2
    change = fixed - warped
    products = torch.cat([gx * gx, gx * gy, gy * gy, gx * change, gy * change], dim=1)
    xx, xy, yy, xt, yt = torch.split(_window_mean(products, _WINDOW), 1, dim=1)
    xx, yy = xx + _STIFFNESS / _WINDOW, yy + _STIFFNESS / _WINDOW
    determinant = xx * yy - xy * xy
    step = torch.cat([yy * xt - xy * yt, xx * yt - xy * xt], dim=1) / determinant
    return torch.clamp(step, -2, 2)


def _window_mean(planes: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(planes, side, stride=1, padding=side // 2, count_include_pad=False)


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow at another (height, width): its arrows grow with the picture."""
    height, width = flow.shape[-2:]
    if (height, width) == size:
        return flow
    resized = resize(flow, size)
    resized[:, :1] *= size[1] / width
    resized[:, 1:] *= size[0] / height
    return resized


def warp(planes: Tensor, flow: Tensor, *, cubic: bool = False) -> Tensor:
    """Planes (1, C, h, w) float32 as seen along a flow (1, 2, h, w): what lies at each arrow's end; the border goes on.

    Linear, or cubic where a soft edge must not become softer each time (it may overshoot).
    """
    if planes.device.type == "cpu":
        return _warp_on_cpu(planes, flow, cubic)
    return _warp_on_device(planes, flow, cubic)


def _warp_on_cpu(planes: Tensor, flow: Tensor, cubic: bool) -> Tensor:
    height, width = flow.shape[-2:]
    x, y = _grid(height, width)
    arrows = flow[0].numpy()
    kernel = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    warped = torch.empty(1, planes.shape[1], height, width)
    ends = x + arrows[0], y + arrows[1]
    for source, seen in zip(planes[0].numpy(), warped[0].numpy(), strict=True):
        cv2.remap(source, *ends, kernel, dst=seen, borderMode=cv2.BORDER_REPLICATE)
    return warped


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _warp_on_device(planes: Tensor, flow: Tensor, cubic: bool) -> Tensor:
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[:, 1]
    ends = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    mode = "bicubic" if cubic else "bilinear"
    return F.grid_sample(planes, ends, mode=mode, padding_mode="border", align_corners=False)
