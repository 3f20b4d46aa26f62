"""The subject on a picture of another size: judged by Pillow, by centroids, and by what is seen in the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vmatte.canvas import Placement, place_on
from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch, SubjectBatch
from vmatte.options import Subject
from vmatte.stages.compose import Look, compose
from vmatte.stages.place import place

Array = NDArray[np.float64]
LAYOUTS = {"444": (1, 1), "422": (1, 2), "420": (2, 2)}
"""Rows and columns of luma for one of chroma."""


def subject_of(luma: Array, chroma: Array, alpha: Array, bits: int = 8) -> SubjectBatch:
    """One frame: luma (H, W), chroma (2, h, w) in codes, alpha (H, W)."""
    dtype = torch.uint8 if bits == 8 else torch.uint16
    planes = [torch.from_numpy(np.rint(each).astype(np.int32)).to(dtype) for each in (luma[None, None], chroma[None])]
    matte = torch.from_numpy(alpha[None, None]).to(torch.float32)
    frames = FrameBatch(range(1), planes[0], planes[1], Coding(BT709, bits))
    return SubjectBatch(planes[0], planes[1], matte, MatteBatch(frames, matte))


def flat_chroma(size: tuple[int, int], layout: str, codes: tuple[int, int] = (128, 128)) -> Array:
    steps = LAYOUTS[layout]
    shape = tuple(-(-side // step) for side, step in zip(size, steps, strict=True))
    return np.stack([np.full(shape, float(code)) for code in codes])


def placed(subject: SubjectBatch, canvas: tuple[int, int], **how: object) -> SubjectBatch:
    """On a canvas of (height, width)."""
    height, width = subject.size
    placement = place_on(Subject.model_validate(how), (width, height), (canvas[1], canvas[0]))
    assert placement is not None
    (moved,) = place([subject], placement)
    assert moved.size == canvas
    return moved


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> Array:
    """A soft disc in [0, 1] round (y, x), which count from the picture's edge."""
    y, x = np.indices(size) + 0.5
    return np.clip(radius + 0.5 - np.hypot(y - centre[0], x - centre[1]), 0, 1)


def centroid(weight: Array | Tensor) -> tuple[float, float]:
    """(y, x) from the picture's edge."""
    weight = np.asarray(weight, float)
    y, x = np.indices(weight.shape) + 0.5
    return float((y * weight).sum() / weight.sum()), float((x * weight).sum() / weight.sum())


def noise(size: tuple[int, int]) -> Array:
    """Codes of a picture with detail, but none that two resamplers may differ about at its edge."""
    return np.random.default_rng(3).integers(30, 220, size).astype(float)


@pytest.mark.parametrize(
    ("canvas", "how", "box"),
    [
        ((60, 80), {"scale": 1.0, "y": "50%"}, (0, 0, 64, 48)),
        ((60, 40), {"scale": 1.0}, (16, 0, 48, 48)),
        ((24, 32), {"scale": 1.0}, (0, 0, 64, 48)),
        ((30, 30), {"scale": 2.0, "x": "left", "y": "top"}, (0, 0, 24, 24)),
        # 1.5 canvas pixels for one: the middle, at 64 · 0.3 of the canvas, is 32 of the clip.
        ((36, 64), {"scale": 2.0, "x": "30%", "y": "bottom"}, (32 - 64 * 0.3 / 1.5, 24, 32 + 64 * 0.7 / 1.5, 48)),
    ],
)
@pytest.mark.parametrize("bits", [8, 10])
def test_what_is_solid_is_resampled_as_pillow_does_by_cubics(
    canvas: tuple[int, int], how: dict[str, object], box: tuple[float, ...], bits: int
) -> None:
    codes = noise((48, 64)) * 2 ** (bits - 8)
    subject = subject_of(codes, flat_chroma((48, 64), "444"), np.ones((48, 64)), bits)
    found = placed(subject, canvas, **how)
    pillow = Image.fromarray(codes.astype(np.float32), "F").resize(canvas[::-1], Image.Resampling.BICUBIC, box=box)
    # Pillow sees what lies beyond the box no more than the picture's end; two pixels inside they agree.
    inside = (slice(3, -3), slice(3, -3))
    wanted = np.asarray(pillow).clip(0, 2**bits - 1)
    assert np.abs(found.luma[0, 0].to(torch.float32).numpy() - wanted)[inside].max() <= 0.51
    assert found.alpha.min() > 0.9999


PLACES = [
    ((90, 160), {"scale": 1.0, "x": "70%"}, (1.25, 160 * 0.7 - 1.25 * 48, 0.0)),
    ((90, 160), {"scale": 0.5, "x": "right", "y": "bottom"}, (0.625, 160 - 60.0, 90 - 45.0)),
    ((90, 160), {"scale": 0.43, "x": "33.3%", "y": "41.7%"}, (0.5375, 53.28 - 25.8, 37.53 - 19.35)),
    ((160, 90), {"scale": 1.0}, (160 / 72, 45 - 48 * 160 / 72, 0.0)),
    ((72, 96), {"scale": 1.0, "x": "52%"}, (1.0, 1.92, 0.0)),
]
"""Canvas, words, and by hand: scale, left and top of a clip of 72 × 96 (height × width)."""


@pytest.mark.parametrize(("canvas", "how", "where"), PLACES)
def test_a_matte_comes_to_where_it_is_placed(
    canvas: tuple[int, int], how: dict[str, object], where: tuple[float, float, float]
) -> None:
    alpha = disc((72, 96), (40.2, 50.7), 8)
    moved = placed(subject_of(np.full((72, 96), 200.0), flat_chroma((72, 96), "420"), alpha), canvas, **how)
    scale, left, top = where
    y, x = centroid(moved.alpha[0, 0])
    assert (y, x) == (pytest.approx(top + 40.2 * scale, abs=0.1), pytest.approx(left + 50.7 * scale, abs=0.1))
    assert float(moved.alpha.sum()) == pytest.approx(alpha.sum() * scale**2, rel=0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("canvas", "how", "where"), PLACES)
def test_luma_and_chroma_come_to_the_same_place(
    canvas: tuple[int, int], how: dict[str, object], where: tuple[float, float, float], layout: str
) -> None:
    def bump(y: Array, x: Array) -> Array:
        return np.exp(-((y - 40.2) ** 2 + (x - 50.7) ** 2) / (2 * 5**2))

    rows, columns = LAYOUTS[layout]
    # Left-sited: half-size chroma lies on every second column, and between two rows.
    y, x = np.meshgrid(np.arange(72) + 0.5, np.arange(96) + 0.5, indexing="ij")
    chroma_y, chroma_x = np.meshgrid(np.arange(0, 72, rows) + rows / 2, np.arange(0, 96, columns) + 0.5, indexing="ij")
    red = 512 + 300 * bump(chroma_y, chroma_x)
    subject = subject_of(64 + 700 * bump(y, x), np.stack([np.full_like(red, 512), red]), np.ones((72, 96)), bits=10)
    moved = placed(subject, canvas, **how)
    scale, left, top = where
    wanted = (pytest.approx(top + 40.2 * scale, abs=0.1), pytest.approx(left + 50.7 * scale, abs=0.1))
    assert centroid(moved.luma[0, 0].to(torch.float32) - 64) == wanted
    index_y, index_x = centroid((moved.chroma[0, 1].to(torch.float32) - 512).clamp(min=0))
    assert ((index_y - 0.5) * rows + rows / 2, (index_x - 0.5) * columns + 0.5) == wanted


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", [0.31, 0.5, 0.97, 1.0, 1.83])
@pytest.mark.parametrize(("own", "behind"), [(235, 16), (16, 235)])
def test_no_old_background_comes_into_the_edge(own: int, behind: int, scale: float, layout: str) -> None:
    """White before black, placed on white, is white all over; black before white on black is black."""
    alpha = disc((72, 96), (36, 48), 20)
    luma = np.where(alpha > 0, own, behind).astype(float)
    steps = LAYOUTS[layout]
    # A sample of half-size chroma is of its own columns and of the one before.
    wide = np.maximum(alpha, np.roll(alpha, 1, axis=1)) if steps[1] == 2 else alpha
    near = wide.reshape(72 // steps[0], steps[0], 96 // steps[1], steps[1]).max(axis=(1, 3)) > 0
    chroma = np.stack([np.where(near, 128, 240), np.where(near, 128, 20)]).astype(float)
    moved = placed(subject_of(luma, chroma, alpha), (91, 133), scale=scale, x="47%", y="51.3%")

    def plate(_: SubjectBatch) -> tuple[Tensor, Tensor]:
        return torch.full((1, 1, 91, 133), float(own)), torch.full((1, 2, *moved.chroma_size), 128.0)

    (layer,) = compose([moved], plate, Look("display"))
    assert (layer.luma.to(torch.int16) - own).abs().max() <= 1
    assert (layer.chroma.to(torch.int16) - 128).abs().max() <= 2


def test_a_step_of_whole_pixels_keeps_every_code() -> None:
    codes = noise((48, 64))
    chroma = np.random.default_rng(5).integers(20, 230, (2, 24, 32)).astype(float)
    alpha = np.random.default_rng(4).random((48, 64))
    moved = placed(subject_of(codes, chroma, alpha), (48, 72), x="right")
    assert (moved.luma[0, 0, :, 8:].numpy() == codes).all()
    assert (moved.chroma[0, :, :, 4:].numpy() == chroma).all()
    assert np.abs(moved.alpha[0, 0, :, 8:].numpy() - alpha).max() < 1e-6
    assert float(moved.alpha[..., :8].max()) == 0


def test_nothing_is_done_where_nothing_changes() -> None:
    for how in ({}, {"x": "center", "y": "50%"}, {"x": "left", "y": "top", "scale": 1.0}):
        assert place_on(Subject.model_validate(how), (64, 48), (64, 48)) is None


def test_a_picture_that_ends_at_the_canvas_is_solid_to_the_last_row() -> None:
    subject = subject_of(np.full((48, 64), 90.0), flat_chroma((48, 64), "420"), np.ones((48, 64)))
    for canvas in ((108, 192), (30, 80), (48, 128)):
        assert placed(subject, canvas).alpha[0, 0, :, canvas[1] // 2].min() > 0.9999


def test_the_clips_own_edge_covers_parts_of_pixels() -> None:
    subject = subject_of(np.full((48, 64), 90.0), flat_chroma((48, 64), "444"), np.ones((48, 64)))
    placement = place_on(Subject(x="50%"), (64, 48), (101, 48))
    assert placement == Placement((48, 101), scale=1, left=18.5, top=0)  # type: ignore[arg-type]
    (moved,) = place([subject], placement)
    row = moved.alpha[0, 0, 20]
    assert row[[17, 18, 19, 81, 82, 83]].tolist() == pytest.approx([0, 0.5, 1, 1, 0.5, 0], abs=1e-4)


def test_frames_are_placed_alike_whatever_the_batch() -> None:
    rng = np.random.default_rng(9)
    luma = torch.from_numpy(rng.integers(16, 236, (5, 1, 37, 53)).astype(np.uint8))
    chroma = torch.from_numpy(rng.integers(16, 240, (5, 2, 19, 27)).astype(np.uint8))
    alpha = torch.from_numpy(rng.random((5, 1, 37, 53)).astype(np.float32))
    placement = place_on(Subject(scale=0.83, x="40%"), (53, 37), (61, 40))
    assert placement is not None

    def moved(batch: int) -> list[bytes]:
        parts = [range(first, min(first + batch, 5)) for first in range(0, 5, batch)]
        made = []
        for part in parts:
            own = slice(part.start, part.stop)
            frames = FrameBatch(part, luma[own], chroma[own], Coding(BT709, 8))
            subject = SubjectBatch(luma[own], chroma[own], alpha[own], MatteBatch(frames, alpha[own]))
            (each,) = place([subject], placement)
            planes = (each.luma, each.chroma, each.alpha)
            made += [b"".join(plane[t].numpy().tobytes() for plane in planes) for t in range(len(part))]
        return made

    assert moved(1) == moved(2) == moved(5)
