"""What comes of a picture, with the luma key: alpha is luma, so every pixel is known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

import vmatte
from vmatte.errors import JobError, SourceError
from vmatte.frames import FrameBatch
from vmatte.job import Words, make_job, make_runtime
from vmatte.models.catalogue import MODELS
from vmatte.models.choice import choose
from vmatte.models.contract import Prediction, State
from vmatte.stills.coding import as_clip, as_codes, as_frame
from vmatte.stills.matting import StillNetwork, matte_still
from vmatte.stills.picture import picture_of_codes

CPU = torch.device("cpu")


def made(picture: Any, **words: Any) -> NDArray[Any]:
    chosen: Words = {"model": "luma-key", "foreground": "source", **words}  # type: ignore[typeddict-item]
    return vmatte.matte_image(picture, **chosen)


def swapped_profile() -> bytes:
    """sRGB with red and green in each other's place, by the names in its table of tags."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = 132 + 12 * int.from_bytes(icc[128:132], "big")
    head = icc[:table].replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return head + icc[table:]


def test_every_colour_of_8_bits_comes_back_as_it_was() -> None:
    codes = np.random.default_rng(3).integers(0, 256, (600, 700, 3), np.uint8)
    codes[:2, :4] = [[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]] * 2
    frame = as_frame(picture_of_codes(codes), CPU)
    assert isinstance(frame, FrameBatch)
    assert np.array_equal(as_codes(frame.luma, frame.chroma, 8), codes)


def test_every_colour_of_16_bits_comes_back_to_two_codes() -> None:
    codes = np.random.default_rng(4).integers(0, 65536, (300, 700, 3), np.uint16)
    frame = as_frame(picture_of_codes(codes), CPU)
    back = as_codes(frame.luma, frame.chroma, 16).astype(np.int64)
    assert np.abs(back - codes).max() <= 2


@pytest.mark.parametrize("bits", [8, 16])
def test_a_cutout_is_the_pictures_colours_with_the_matte(bits: int) -> None:
    most = 2**bits - 1
    ramp = np.linspace(0, most, 512).round().astype(f"u{bits // 8}")
    picture = np.repeat(np.tile(ramp, (40, 1))[..., None], 3, axis=2)
    cut = made(picture)
    assert cut.shape == (40, 512, 4)
    assert cut.dtype == picture.dtype
    luma = picture[..., 0].astype(np.int64)  # of gray, luma is each of its colours
    assert np.abs(cut[..., 3].astype(np.int64) - luma).max() <= (0 if bits == 8 else 2)
    shown = cut[..., 3] > 0
    assert np.abs(cut[..., 0].astype(np.int64) - luma)[shown].max() <= (0 if bits == 8 else 2)


def test_colours_far_from_the_matte_are_black() -> None:
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:, :, 2] = 1  # too faint for an alpha of 8 bits, and of 15: 0.0722 / 255 is
    picture[:32, :32] = 255
    assert made(picture)[100, 100].tolist() == [0, 0, 1, 0]  # 0.0003 of alpha still counts in 15 bits
    picture[32:] = 0
    picture[32:, :, 0] = 0
    assert made(picture)[100, 100].tolist() == [0, 0, 0, 0]


def test_an_alpha_that_is_there_is_multiplied() -> None:
    picture = np.full((32, 48, 4), 255, np.uint8)
    picture[..., :3] = 204  # the key's alpha is 0.8
    picture[:, 24:, 3] = 102  # 0.4
    alpha = made(picture)[..., 3]
    assert set(alpha[:, :24].flat) == {204}
    assert set(alpha[:, 24:].flat) == {round(255 * 0.8 * 0.4)}
    assert set(made(picture, own_alpha="ignore")[..., 3].flat) == {204}


def test_a_composite_has_the_plate_where_nobody_is_and_the_picture_where_somebody_is() -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48] = 255
    composite = made(picture, background="#336699")
    assert composite.shape == (64, 96, 3)
    assert set(map(tuple, composite[:, 48:].reshape(-1, 3).tolist())) == {(0x33, 0x66, 0x99)}
    assert set(composite[:, :48].flat) == {255}


def test_soft_edges_are_mixed_as_light_by_the_curve_of_srgb() -> None:
    picture = np.full((16, 16, 3), 128, np.uint8)
    alpha = 128 / 255
    light = lambda code: ((code / 255 + 0.055) / 1.055) ** 2.4  # noqa: E731
    mixed = alpha * light(128) + (1 - alpha) * light(255)
    expected = 255 * (1.055 * mixed ** (1 / 2.4) - 0.055)
    assert np.abs(made(picture, background="white").astype(float) - expected).max() <= 1
    assert np.abs(made(picture, background="white", blend="display") - (alpha * 128 + (1 - alpha) * 255)).max() <= 1


def test_a_plate_is_brought_into_the_pictures_own_space(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 30))  # black: the plate alone is seen
    image.save(tmp_path / "swapped.png", icc_profile=swapped_profile())
    composite = made(tmp_path / "swapped.png", background="#c02060")
    assert np.abs(composite.astype(int) - [0x20, 0xC0, 0x60]).max() <= 2
    blurred = made(tmp_path / "swapped.png", background="blur")
    assert blurred.max() == 0


def test_a_picture_of_pillows_and_a_path_give_the_same(tmp_path: Path) -> None:
    codes = np.random.default_rng(5).integers(0, 256, (33, 47, 3), np.uint8)
    image = Image.fromarray(codes)
    image.save(tmp_path / "picture.png")
    by_path = made(tmp_path / "picture.png")
    assert np.array_equal(by_path, made(image))
    assert np.array_equal(by_path, made(codes))


def test_a_shifted_and_scaled_subject_lies_where_it_is_asked_to() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:48, 16:48] = 255  # a white square
    composite = made(picture, background="black", size="128x64", subject_x="right", subject_y="top", subject_scale=0.5)
    seen = np.argwhere(composite[..., 0] > 127)
    assert seen.min(0).tolist() == [8, 104]
    assert seen.max(0).tolist() == [23, 119]


def test_a_green_screen_is_keyed_out_of_a_picture() -> None:
    picture = np.full((240, 320, 3), (20, 200, 40), np.uint8)
    picture[60:, 110:210] = (200, 150, 120)
    cut = made(picture, model="chroma-key", screen="green")
    assert cut[:50, :, 3].max() == 0
    assert cut[80:, 120:200, 3].min() == 255
    spilt = np.where((picture == (200, 150, 120)).all(-1)[..., None], np.uint8((120, 190, 110)), picture)
    for screen in ("green", None):  # green light on the subject goes: it becomes no greener than its other colours
        despilled = made(spilt, model="chroma-key", screen=screen)[150, 150]
        assert despilled[1] <= max(despilled[0], despilled[2]) + 2
    with pytest.raises(JobError, match="no green screen is seen"):
        made(np.zeros((240, 320, 3), np.uint8), model="chroma-key", screen="green")


def test_what_a_picture_cannot_have_is_refused() -> None:
    with pytest.raises(TypeError, match="'smooth'"):
        made(np.zeros((16, 16, 3), np.uint8), smooth="motion")
    with pytest.raises(SourceError, match="no picture"):
        made(io.__file__)
    with pytest.raises(SourceError, match="4000×10, which no network can see"):
        made(np.zeros((10, 4000, 3), np.uint8), model="u2netp")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (300, 2)])
def test_the_smallest_pictures_have_every_layer(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 255, np.uint8)
    assert (made(picture, foreground="estimate") == 255).all()
    assert (made(picture, background="navy", light_wrap=0.5) >= 250).all()


class Looker:
    """A network for frames of full size that remembers what it was shown, and sees its upper half as solid."""

    def __init__(self, name: str) -> None:
        self.spec = MODELS[name]
        self.device = CPU
        self.seen: list[tuple[int, ...]] = []

    def predict(self, rgb: torch.Tensor, state: State = ()) -> Prediction:
        self.seen.append((*rgb.shape[-2:], len(state)))
        alpha = torch.zeros(1, 1, *rgb.shape[-2:])
        alpha[:, :, : rgb.shape[-2] // 2] = 1
        return Prediction(alpha, state=(*state, alpha))


def test_a_network_for_video_sees_a_large_picture_in_small_and_some_times() -> None:
    picture = picture_of_codes(np.zeros((1500, 4000, 3), np.uint8))
    network, looker = StillNetwork(choose("rvm", None, make_runtime(device="cpu"))), Looker("rvm")
    network.load = lambda: looker  # type: ignore[method-assign]
    matted, _ = matte_still(as_frame(picture, CPU), as_clip(picture), make_job("picture", crop="off"), network)
    assert looker.seen == [(720, 1920, 0), (720, 1920, 1), (720, 1920, 2)]
    assert matted.alpha.shape == (1, 1, 1500, 4000)
    assert matted.alpha[..., :745, :].min() == 1
    assert matted.alpha[..., 755:, :].max() == 0
