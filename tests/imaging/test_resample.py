"""Resampling, beside Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image

from vmatte.imaging.resample import CUBIC, TENT, Kernel, resample, taps

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kernel", "pillow"), [(TENT, Image.Resampling.BILINEAR), (CUBIC, Image.Resampling.BICUBIC)])
@pytest.mark.parametrize("size", [(31, 47), (90, 64), (7, 200), (40, 11), (1, 1)])
def test_planes_are_scaled_as_pillow_scales_them(
    kernel: Kernel, pillow: Image.Resampling, size: tuple[int, int]
) -> None:
    planes = np.random.default_rng(0).random((2, 40, 64)).astype(np.float32)
    rows, columns = (
        taps(kernel, count, source, 0.5 * source / count - 0.5, source / count, CPU)
        for count, source in zip(size, (40, 64), strict=True)
    )
    found = resample(torch.from_numpy(planes), rows, columns)
    assert tuple(found.shape) == (2, *size)
    for plane, own in zip(planes, found, strict=True):
        wanted = np.asarray(Image.fromarray(plane, "F").resize(size[::-1], pillow))
        np.testing.assert_allclose(own.numpy(), wanted, atol=1e-5)


def test_a_ramp_is_read_between_its_samples() -> None:
    ramp = torch.arange(20.0).view(1, 1, 20)
    row = taps(TENT, 1, 1, 0.0, 1.0, CPU)
    for kernel in (TENT, CUBIC):
        found = resample(ramp, row, taps(kernel, 15, 20, 2.3, 1.0, CPU))
        np.testing.assert_allclose(found[0, 0].numpy(), 2.3 + np.arange(15), atol=1e-5)
