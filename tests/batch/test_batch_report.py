"""The pictures and numbers in a batch's report."""

from __future__ import annotations

import base64
import io
from itertools import islice
from pathlib import Path

import clips
import numpy as np
import pytest
from PIL import Image

import vmatte
from vmatte.batch.report import flicker_of, poster
from vmatte.job import make_job
from vmatte.measure.measurement import measure
from vmatte.measure.read import open_mattes


def test_a_poster_shows_a_cutout_over_checkers_and_is_small(tmp_path: Path) -> None:
    luma = np.full((480, 640), 16, np.uint8)
    luma[:, 320:] = 235
    noise = np.random.default_rng(0).integers(16, 236, (480, 640), np.uint8)
    clip = clips.write_clip(tmp_path / "clip.mp4", [clips.gray(noise)] * 24 + [clips.gray(luma)] * 2)
    job = make_job(clip, output=tmp_path / "pictures", encoding="png", model="luma-key")
    vmatte.render_job(job, vmatte.Runtime())
    address = poster(job)
    assert address is not None
    kind, _, coded = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert len(address) <= 20_000
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(coded))))
    assert shown.shape == (180, 240, 3)
    assert shown[:, 130:].min() > 245  # opaque white
    squares = shown[4:180:8, 4:112:8].astype(int)
    dark = np.add.outer(np.arange(22), np.arange(14)) % 2 == 0
    assert abs(squares[dark] - 102).max() < 12
    assert abs(squares[~dark] - 153).max() < 12


def test_a_poster_of_noise_is_small_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(noise).save(tmp_path / "pictures" / "0.png")
    job = make_job(tmp_path / "clip.mp4", background="navy", output=tmp_path / "pictures", encoding="png")
    address = poster(job)
    assert address is not None
    assert len(address) <= 20_000


def test_an_output_that_is_gone_has_no_poster_and_no_flicker(tmp_path: Path) -> None:
    job = make_job(tmp_path / "clip.mp4", output=tmp_path / "gone.mov")
    assert poster(job) is None
    assert flicker_of(job, None) is None


def test_flicker_is_what_measure_gives_and_a_composite_has_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    picture = np.clip(np.add.outer(np.zeros(96), np.linspace(-60, 300, 128)), 16, 235)
    frames = [clips.gray(np.clip(picture + rng.normal(0, 3, picture.shape), 16, 235)) for _ in range(4)]
    clip = clips.write_clip(tmp_path / "clip.mp4", frames)
    job = make_job(clip, output=tmp_path / "a.mov", model="luma-key")
    vmatte.render_job(job, vmatte.Runtime())
    steadiness = measure(job.output, source=clip).steadiness
    assert steadiness is not None
    assert steadiness.flicker is not None
    assert flicker_of(job, None) == steadiness.flicker
    assert flicker_of(make_job(clip, output=tmp_path / "b.mp4", background="navy"), None) is None


def test_a_composites_flicker_is_that_of_its_kept_matte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cutout's alpha stands in for what was kept; one frame less, and nothing is said of any."""
    rng = np.random.default_rng(1)
    picture = np.clip(np.add.outer(np.zeros(96), np.linspace(-60, 300, 128)), 16, 235)
    frames = [clips.gray(np.clip(picture + rng.normal(0, 3, picture.shape), 16, 235)) for _ in range(4)]
    clip = clips.write_clip(tmp_path / "clip.mp4", frames)
    job = make_job(clip, output=tmp_path / "a.mov", model="luma-key")
    vmatte.render_job(job, vmatte.Runtime())
    composite = make_job(clip, output=tmp_path / "b.mp4", background="navy")
    for kept, expected in ((4, flicker_of(job, None)), (3, None)):
        monkeypatch.setattr(
            "vmatte.batch.report.alphas_of", lambda _, kept=kept: islice(enumerate(open_mattes(job.output)), kept)
        )
        assert flicker_of(composite, "some matte") == expected
