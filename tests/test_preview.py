"""The contact sheet, of a clip whose luma is its alpha."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import clips
import numpy as np
import pytest
from conftest import Ended
from numpy.typing import NDArray
from PIL import Image

from vmatte.errors import JobError
from vmatte.job import Runtime, make_job
from vmatte.preview import preview

HEIGHT, WIDTH, GAP, TITLE = 48, 64, 8, 24


def rising_clip(folder: Path, frames: int = 10) -> Path:
    """Gray, brighter with every frame: frame n has luma 16 + 20 n."""
    rising = [clips.gray(np.full((HEIGHT, WIDTH), 16 + 20 * number, np.uint8)) for number in range(frames)]
    return clips.write_clip(folder / "rising.mp4", rising)


def tiles(sheet: Path, rows: int) -> list[list[NDArray[np.uint8]]]:
    """Source, matte and result of each row, cut out of the sheet."""
    picture = np.asarray(Image.open(sheet))
    assert picture.shape == (GAP + rows * (TITLE + HEIGHT + GAP), 3 * WIDTH + 4 * GAP, 3)
    tops = [GAP + TITLE + row * (TITLE + HEIGHT + GAP) for row in range(rows)]
    lefts = [GAP + column * (WIDTH + GAP) for column in range(3)]
    return [[picture[top : top + HEIGHT, left : left + WIDTH] for left in lefts] for top in tops]


def test_a_sheet_shows_source_matte_and_composite_of_frames_spread_over_the_clip(tmp_path: Path) -> None:
    job = make_job(rising_clip(tmp_path), model="luma-key", background="#3c78b4", blend="display")
    sheet = preview(job, Runtime(), 2)
    assert sheet == tmp_path / "rising_composite_preview.png"
    for number, (source, matte, result) in zip((2, 7), tiles(sheet, 2), strict=True):
        level = 20 * number / 219
        assert np.abs(source - 255 * level).max() <= 2
        assert np.abs(matte - 255 * level).max() <= 2
        wanted = 255 * level * level + np.array([60, 120, 180]) * (1 - level)
        assert np.abs(result - wanted).max() <= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rising.mp4", "rising_composite_preview.png"]


def test_the_matte_on_the_sheet_is_the_shaped_one(tmp_path: Path) -> None:
    sheet = preview(make_job(rising_clip(tmp_path), model="luma-key", white=0.3, fill_holes=3), Runtime(), 1)
    ((_, matte, _),) = tiles(sheet, 1)
    assert (matte == 255).all()


def test_a_cutout_lies_on_a_board(tmp_path: Path) -> None:
    black = clips.black_clip(tmp_path / "black.mp4", width=WIDTH, height=HEIGHT)
    ((_, matte, result),) = tiles(preview(make_job(black, model="luma-key"), Runtime(), 1), 1)
    assert (matte == 0).all()
    assert set(np.unique(result)) == {106, 150}


def test_the_command_prints_where_the_sheet_is_and_leaves_the_output_alone(
    vmatte_command: Callable[..., Ended], tmp_path: Path
) -> None:
    clip, output = rising_clip(tmp_path), tmp_path / "o.mp4"
    output.write_bytes(b"an earlier render")
    ended = vmatte_command("run", clip, "--bg", "navy", "--model", "luma-key", "-o", output, "--preview", 3, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"preview": str(tmp_path / "o_preview.png")}
    assert output.read_bytes() == b"an earlier render"
    assert (tmp_path / "o_preview.png").exists()


@pytest.mark.parametrize("frames", [0, 25])
def test_the_number_of_frames_has_bounds(tmp_path: Path, frames: int) -> None:
    with pytest.raises(JobError, match=f"1 to 24 frames, not {frames}"):
        preview(make_job(rising_clip(tmp_path), model="luma-key"), Runtime(), frames)
