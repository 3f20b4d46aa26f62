"""Garbage and hold-out mattes."""

from __future__ import annotations

from math import erf
from pathlib import Path

import clips
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import vmatte
from vmatte.errors import JobError
from vmatte.job import JobWords
from vmatte.masks import draw
from vmatte.options import FileMask, PolygonMask

HEIGHT, WIDTH = 48, 64


def alphas(folder: Path, luma: int = 128, frames: int = 3, **words: object) -> list[NDArray[np.uint8]]:
    """The alphas of a gray clip's cutout: without a mask its luma."""
    codes = np.full((HEIGHT, WIDTH), luma, np.uint8)
    clip = clips.write_clip(folder / "gray.mp4", [clips.gray(codes)] * frames)
    out = vmatte.run(clip, output=folder / "out", encoding="png", model="luma-key", overwrite=True, **words).output
    return [np.asarray(Image.open(path))[..., 3] for path in sorted(out.iterdir())]


LUMA = round((128 - 16) / 219 * 255)


def half_mask(path: Path) -> Path:
    """White on the left, black on the right, at twice the clip's size."""
    picture = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
    picture[:, :WIDTH] = 255
    Image.fromarray(picture).save(path)
    return path


def test_a_polygon_covers_what_lies_inside_it() -> None:
    # A triangle over half of a square, and a rectangle whose edges cross pixels in the middle.
    half = draw((((0, 0), (1, 0), (0, 1)),), (100, 100))
    assert half.mean() == pytest.approx(0.5, abs=1e-4)
    assert half[10, 10] == 1
    assert half[90, 90] == 0
    box = draw((((0.105, 0.2), (0.305, 0.2), (0.305, 0.5), (0.105, 0.5)),), (10, 100))
    assert box[3, 9:12].tolist() == pytest.approx([0, 0.5, 1], abs=1e-5)
    assert box.sum() == pytest.approx(20 * 3, abs=1e-3)


def test_garbage_drops_and_a_hold_out_keeps(tmp_path: Path) -> None:
    mask = half_mask(tmp_path / "mask.png")
    dropped = alphas(tmp_path, garbage=mask)
    assert all(
        (alpha[:, : WIDTH // 2 - 1] == 0).all() and (alpha[:, WIDTH // 2 + 1 :] == LUMA).all() for alpha in dropped
    )
    kept = alphas(tmp_path, hold_out=mask)
    assert all(
        (alpha[:, : WIDTH // 2 - 1] == 255).all() and (alpha[:, WIDTH // 2 + 1 :] == LUMA).all() for alpha in kept
    )


def test_garbage_goes_before_a_hold_out(tmp_path: Path) -> None:
    mask = half_mask(tmp_path / "mask.png")
    assert (alphas(tmp_path, garbage=mask, hold_out=mask)[0][:, : WIDTH // 2 - 1] == 0).all()


def test_a_mask_with_alpha_acts_where_it_is_opaque(tmp_path: Path) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    picture[:24, :, 3] = 255
    Image.fromarray(picture).save(tmp_path / "mask.png")
    alpha = alphas(tmp_path, garbage=str(tmp_path / "mask.png"))[0]
    assert (alpha[:24] == 0).all()
    assert (alpha[24:] == LUMA).all()


def test_polygons_are_parts_of_the_picture(tmp_path: Path) -> None:
    square = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    alpha = alphas(tmp_path, hold_out=PolygonMask(polygons=(square,)))[0]
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[12:36, 16:48] = True
    assert (alpha[inside] == 255).all()
    assert (alpha[~inside] == LUMA).all()


def test_a_mask_that_plays_is_followed_frame_by_frame_and_its_last_one_stays(tmp_path: Path) -> None:
    levels = [16, 235, 126]
    played = [clips.gray(np.full((HEIGHT, WIDTH), level, np.uint8)) for level in levels]
    mask = clips.write_clip(tmp_path / "mask.mp4", played)
    found = [int(alpha[20, 20]) for alpha in alphas(tmp_path, frames=5, garbage=FileMask(path=mask))]
    wanted = [LUMA * (1 - (level - 16) / 219) for level in (16, 235, 126, 126, 126)]
    assert found == pytest.approx(wanted, abs=1)


def test_segments_do_not_move_a_mask_that_plays(tmp_path: Path) -> None:
    played = [clips.gray(np.full((HEIGHT, WIDTH), 16 + 20 * number, np.uint8)) for number in range(8)]
    mask = clips.write_clip(tmp_path / "mask.mp4", played)
    whole, parts = (alphas(tmp_path, frames=8, garbage=str(mask), segment_frames=length) for length in (240, 3))
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_feathering_a_mask_softens_its_edge(tmp_path: Path) -> None:
    mask = FileMask(path=half_mask(tmp_path / "mask.png"), feather=0.05)
    row = alphas(tmp_path, luma=235, garbage=mask)[0][20].astype(float) / 255
    # The integral of a Gaussian whose deviation is 0.05 of 48 lines.
    x = np.arange(WIDTH) + 0.5 - WIDTH / 2
    assert row == pytest.approx(np.array([0.5 * (1 + erf(each / (2.4 * 2**0.5))) for each in x]), abs=0.03)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"garbage": "nothing.png"}, "garbage matte nothing.png cannot be used"),
        ({"hold_out": "tall.png"}, "hold-out matte tall.png is 48×64, which is not the shape of"),
        ({"garbage": "red.png"}, "in colour"),
        ({"garbage": "red.mp4"}, "red.mp4 is in colour; give a gray clip"),
        ({"black": 0.6, "white": 0.5}, r"black \(0.6\) is not below white"),
        ({"choke": 1000.0}, "choke cannot be 1000.0"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: JobWords, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (48, 64)).save("tall.png")
    Image.new("RGB", (64, 48), (200, 0, 0)).save("red.png")
    clips.write_clip(tmp_path / "red.mp4", [clips.flat(clips.codes_of((200, 0, 0)), 64, 48)])
    with pytest.raises(JobError, match=said):
        alphas(tmp_path, **words)
    assert not (tmp_path / "out").exists()


def test_edge_controls_work_in_their_order(tmp_path: Path) -> None:
    # Levels first: 0.514 over white 0.4 is solid, and a choke of the whole frame's solid alpha moves nothing.
    assert (alphas(tmp_path, white=0.4, choke=3.0)[0] == 255).all()
    assert alphas(tmp_path, gamma=2.0)[0][5, 5] == pytest.approx(255 * (112 / 219) ** 0.5, abs=1)
