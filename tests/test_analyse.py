"""What a survey tells of a clip, and what is asked of its plate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clips
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vmatte.analyse
from vmatte.analyse import analyse
from vmatte.analysis import Grade
from vmatte.canvas import Canvas, plan_canvas
from vmatte.imaging.grade import match_of
from vmatte.job import RenderJob, make_job
from vmatte.models.catalogue import MODELS
from vmatte.plates import open_plate
from vmatte.stages.compose import PlatePlanes
from vmatte.survey import Survey
from vmatte.video.probe import probe

GRAY, RED = (110, 110, 110), (230, 20, 20)


def job_and_canvas(folder: Path, frames: int, size: str) -> tuple[RenderJob, Canvas]:
    """A clip of 160 × 96 on a plate that is gray in the middle third, red beside it."""
    clip = clips.black_clip(folder / "clip.mp4", frames, width=160, height=96)
    plate = np.full((300, 600, 3), RED, np.uint8)
    plate[:, 200:400] = GRAY
    Image.fromarray(plate).save(folder / "plate.png")
    job = make_job(clip, background=folder / "plate.png", size=size, color_match=0.8, crop="off")
    return job, plan_canvas(job, probe(clip), None)


def seen(numbers: range, shots: tuple[int, ...]) -> Survey:
    """Samples of one colour each, all solid."""
    levels = np.arange(len(numbers), dtype=np.uint8)[:, None, None, None]
    pictures = np.broadcast_to(60 + levels, (len(numbers), 3, 6, 10)).copy()
    return Survey(tuple(numbers), pictures, np.full((len(numbers), 1, 6, 10), 255, np.uint8), shots)


def test_a_subject_is_matched_to_what_its_output_shows_of_the_plate(tmp_path: Path) -> None:
    # 54 × 96 of a plate of 600 × 300 shows its middle 169 columns: gray alone.
    job, canvas = job_and_canvas(tmp_path, 4, "54x96")
    samples = seen(range(4), (0,))
    found = analyse(job, canvas, MODELS["luma-key"], lambda _: samples)
    gray = torch.full((1, 3, 8, 8), 110 / 255)
    rgb = torch.from_numpy(samples.pictures) / 255
    expected = match_of(rgb, torch.ones(4, 1, 6, 10), gray, 0.8)
    assert found.grades is not None
    (grade,) = found.grades
    assert grade.gain == pytest.approx(expected.gain, abs=0.01)
    assert (grade.lift, *grade.tint) == pytest.approx((expected.lift, *expected.tint), abs=0.003)


def test_many_samples_are_matched_by_a_few_and_the_plate_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, canvas = job_and_canvas(tmp_path, 100, "clip")
    opened, taken = [], []

    @contextmanager
    def counted(background: object, small: Canvas, device: torch.device) -> Iterator[PlatePlanes]:
        opened.append((small.output.height, small.output.width))
        with open_plate(background, small, device) as planes:  # type: ignore[arg-type]
            yield planes

    def noted(rgb: Tensor, alpha: Tensor, plate: Tensor, strength: float) -> Grade:
        taken.append((rgb[:, 0, 0, 0].mul(255).round().tolist(), len(plate)))
        return match_of(rgb, alpha, plate, strength)

    monkeypatch.setattr(vmatte.analyse, "open_plate", counted)
    monkeypatch.setattr(vmatte.analyse, "match_of", noted)
    found = analyse(job, canvas, MODELS["luma-key"], lambda _: seen(range(100), (0, 90)))
    assert found.grades is not None
    assert len(found.grades) == 2
    assert opened == [(96, 160)]
    (long, plates), (short, _) = taken
    assert (len(long), long[0], long[-1], plates) == (64, 60, 149, 4)
    assert max(np.diff(long)) == 2
    assert short == list(range(150, 160))
