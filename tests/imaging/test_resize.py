import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vmatte.imaging import resize as resizing
from vmatte.imaging.resize import cover, covered_part, resize, resize_like_pillow


def noise(*shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(3))
    return (values / 255).to(dtype) if dtype.is_floating_point else values.to(dtype)


def test_enlarging_is_torchs_bilinear() -> None:
    alpha = noise(2, 1, 32, 48, dtype=torch.float32)
    torch.testing.assert_close(resize(alpha, (90, 131)), F.interpolate(alpha, size=(90, 131), mode="bilinear"))


def test_shrinking_averages_pairs_first() -> None:
    plane = noise(1, 1, 64, 96)
    halved = cv2.resize(plane[0, 0].numpy(), (48, 32), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(halved, (40, 20), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize(plane, (20, 40))[0, 0].numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("size", [(33, 47), (16, 20), (128, 200), (64, 96)])
def test_the_processors_and_the_devices_way_agree(dtype: torch.dtype, size: tuple[int, int]) -> None:
    planes = noise(2, 3, 64, 96, dtype=dtype)
    on_cpu = resizing._resize_on_cpu(planes, size).to(torch.float32)
    on_device = resizing._resize_on_device(planes, size).to(torch.float32)
    # Integers are rounded after halving on the processor: half a code more of difference.
    assert float((on_cpu - on_device).abs().max()) <= (1.0 if not dtype.is_floating_point else 1e-5)


def test_a_flat_plane_stays_what_it_is() -> None:
    assert torch.equal(
        resize(torch.full((1, 2, 37, 53), 201, dtype=torch.uint8), (18, 91)),
        torch.full((1, 2, 18, 91), 201, dtype=torch.uint8),
    )


@pytest.mark.parametrize(
    ("shape", "kept"), [((10, 40), (slice(None), slice(10, 30))), ((40, 20), (slice(15, 25), slice(None)))]
)
def test_cover_cuts_the_overhang_off_on_both_sides(shape: tuple[int, int], kept: tuple[slice, slice]) -> None:
    planes = noise(1, 1, *shape, dtype=torch.float32)
    torch.testing.assert_close(cover(planes, (10, 20), covered_part(shape, (10, 20))), planes[(..., *kept)])


@pytest.mark.parametrize("size", [(24, 40), (64, 96), (17, 130), (150, 200)])
def test_the_published_preprocessors_way_is_pillows(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    pillows = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
    ours = resize_like_pillow(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255, size)
    # Pillow rounds to whole levels after each of the two directions.
    assert np.abs(ours[0].permute(1, 2, 0).numpy() * 255 - pillows).max() <= 1.01
