"""Flow and warping, against translations that are known because they were made."""

import threading
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.imaging.motion import (
    _warp_on_cpu,
    _warp_on_device,
    find_flow,
    find_flow_on_device,
    resize_flow,
    warp,
)

FindFlow = Callable[[Tensor, Tensor], Tensor]
EITHER_WAY = pytest.mark.parametrize("find", [find_flow, find_flow_on_device], ids=["dis", "torch"])
MARGIN = 24


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """A luma (1, 1, height, width) uint8 with detail at several scales."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    grain = sum(sigma * cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (1.5, 4, 10))
    return torch.from_numpy((128 + 45 * grain / grain.std()).clip(0, 255).astype(np.uint8))[None, None]


def moved(height: int, width: int, dx: float, dy: float) -> tuple[Tensor, Tensor]:
    """A picture, and the same one after everything in it has gone by (dx, dy): OpenCV cuts both out of a larger one."""
    large = texture(height + 80, width + 80)[0, 0].numpy()
    cuts = (
        cv2.getRectSubPix(large, (width, height), (large.shape[1] / 2 - x, large.shape[0] / 2 - y))
        for x, y in ((0, 0), (dx, dy))
    )
    first, second = (torch.from_numpy(cut)[None, None] for cut in cuts)
    return first, second


@pytest.mark.parametrize(("find", "tolerance"), [(find_flow, 0.3), (find_flow_on_device, 0.1)], ids=["dis", "torch"])
@pytest.mark.parametrize("arrow", [(0, 0), (3, 0), (0, -5), (6.5, 2.25), (-0.4, 0.6), (-9, 7)])
def test_the_flow_of_a_picture_that_was_moved_is_the_move(
    find: FindFlow, tolerance: float, arrow: tuple[float, float]
) -> None:
    flow = find(*moved(120, 160, *arrow))
    assert (flow.shape, flow.dtype) == ((1, 2, 120, 160), torch.float32)
    inside = flow[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    off = (inside - torch.tensor(arrow)[:, None, None]).norm(dim=1)
    assert float(off.max()) < tolerance


@EITHER_WAY
def test_two_flat_pictures_stand_still(find: FindFlow) -> None:
    flow = find(*[torch.full((1, 1, 64, 64), 90, dtype=torch.uint8)] * 2)
    assert float(flow.abs().max()) < 0.01


@EITHER_WAY
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (1, 40), (40, 1), (20, 512), (512, 8), (31, 33)])
def test_a_picture_may_be_tiny_or_narrow(find: FindFlow, size: tuple[int, int]) -> None:
    luma = texture(*size) if min(size) > 1 else torch.full((1, 1, *size), 90, dtype=torch.uint8)
    flow = find(luma, luma)
    assert flow.shape == (1, 2, *size)
    assert float(flow.abs().max()) < 0.01


def test_threads_find_the_flows_that_one_alone_finds() -> None:
    pairs = [moved(160, 200 + 40 * number, number, -2) for number in range(3)]
    alone = [find_flow(*pair) for pair in pairs]
    differ: list[int] = []

    def search(number: int) -> None:
        for _ in range(10):
            if not torch.equal(find_flow(*pairs[number]), alone[number]):
                differ.append(number)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differ == []


@pytest.mark.parametrize("way", [_warp_on_cpu, _warp_on_device], ids=["opencv", "torch"])
@pytest.mark.parametrize("cubic", [False, True])
def test_warping_by_whole_pixels_is_slicing(way: Callable[[Tensor, Tensor, bool], Tensor], cubic: bool) -> None:
    planes = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    flow = torch.tensor([4.0, -3.0])[None, :, None, None].expand(1, 2, 20, 30).contiguous()
    expected = planes[..., 0:17, 4:30]
    torch.testing.assert_close(way(planes, flow, cubic)[..., 3:20, 0:26], expected, atol=1e-4, rtol=0)


def test_beyond_the_border_the_border_goes_on() -> None:
    planes = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(1))
    flow = torch.zeros(1, 2, 20, 30)
    flow[:, 0] = 100
    assert torch.equal(warp(planes, flow), planes[..., -1:].expand(-1, -1, -1, 30))


@pytest.mark.parametrize("cubic", [False, True])
def test_both_ways_of_warping_agree(cubic: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    planes = texture(40, 60).to(torch.float32).expand(1, 2, -1, -1).contiguous() / 255
    flow = 6 * torch.rand(1, 2, 40, 60, generator=generator) - 3
    # OpenCV knows a place to 1/32 pixel; away from the border the two kernels see the same pixels.
    difference = (_warp_on_cpu(planes, flow, cubic) - _warp_on_device(planes, flow, cubic)).abs()[..., 6:-6, 6:-6]
    assert float(difference.max()) < 1e-2


def test_a_linear_ramp_warps_to_itself_plus_the_flow() -> None:
    ramp = torch.arange(50.0).expand(1, 1, 12, 50).contiguous()
    flow = torch.zeros(1, 2, 12, 50)
    flow[:, 0] = 2.25
    torch.testing.assert_close(warp(ramp, flow)[..., :40], ramp[..., :40] + 2.25)


def test_a_flows_arrows_grow_with_its_picture() -> None:
    flow = torch.tensor([3.0, -2.0])[None, :, None, None].expand(1, 2, 24, 32).contiguous()
    resized = resize_flow(flow, (36, 128))
    assert resized.shape == (1, 2, 36, 128)
    torch.testing.assert_close(resized[:, 0], torch.full((1, 36, 128), 12.0))
    torch.testing.assert_close(resized[:, 1], torch.full((1, 36, 128), -3.0))
