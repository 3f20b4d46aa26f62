"""A look at frames here and there tells what is in the whole clip, at a small part of its cost."""

from __future__ import annotations

from pathlib import Path

import clips
import numpy as np
import pytest

from vmatte.models.catalogue import load_model
from vmatte.survey import Survey, sample_numbers, survey
from vmatte.video.probe import probe
from vmatte.video.read import decode, decode_samples


def disc_clip(path: Path, frames: int, *, cut: int | None = None, flash: int | None = None, keys: int = 250) -> Path:
    """A white disc that goes 2 pixels a frame on a dark ramp, which is turned upside down from frame `cut` on, and in
    frame `flash` lies on its side."""
    rows, columns = np.mgrid[:192, :320]
    pictures = []
    for number in range(frames):
        ramp = 20 + 140 * (rows if cut is None or number < cut else 191 - rows) / 191
        if number == flash:
            ramp = 20 + 140 * columns / 319
        disc = (rows - 96) ** 2 + (columns - 40 - 2 * number) ** 2 < 30**2
        pictures.append(clips.gray(np.where(disc, 235, ramp)))
    options = {"qp": "0", "preset": "ultrafast", "bf": "2", "g": str(keys), "sc_threshold": "0"}
    return clips.write_clip(path, pictures, options=options)


def test_samples_lie_in_equal_parts_of_the_clip_and_on_its_key_frames(tmp_path: Path) -> None:
    def numbers(frames: int, keys: int = 250, *, closely: bool = False) -> list[int]:
        black = {"qp": "0", "preset": "ultrafast", "bf": "0", "g": str(keys), "sc_threshold": "0"}
        return sample_numbers(probe(clips.black_clip(tmp_path / "clip.mp4", frames, options=black)), closely=closely)

    assert numbers(1) == [0]
    assert numbers(20) == [0, 9, 16]  # three, for a tenth of so few would be too little
    assert numbers(50) == [0, 15, 25, 35, 45]
    assert numbers(50, keys=8) == [8, 16, 24, 32, 48]
    assert len(numbers(100)) == 8  # of 4 seconds
    assert len(numbers(300)) == 12  # one a second
    assert len(numbers(300, closely=True)) == 30


@pytest.mark.parametrize("keys", [4, 250])
def test_sampled_frames_are_those_of_a_whole_decoding(keys: int, tmp_path: Path) -> None:
    clip = probe(disc_clip(tmp_path / "clip.mp4", 30, keys=keys))
    every = [batch.luma[0] for batch in decode(clip, range(30), batch=1)]
    sampled = list(decode_samples(clip, [0, 3, 4, 13, 14, 29]))
    assert [batch.index.start for batch in sampled] == [0, 3, 4, 13, 14, 29]
    for batch in sampled:
        assert np.array_equal(batch.luma[0], every[batch.index.start])


def test_a_survey_has_pictures_mattes_and_cuts(tmp_path: Path) -> None:
    seen = survey(probe(disc_clip(tmp_path / "clip.mp4", 60, cut=33)), load_model("luma-key"), closely=False)
    assert seen.numbers == (0, 15, 25, 35, 45, 55)
    assert seen.alphas.shape == (6, 1, 96, 160)
    assert seen.shots == (0, 33)
    assert seen.shot_of.tolist() == [0, 0, 0, 1, 1, 1]
    for number, picture, alpha in zip(seen.numbers, seen.pictures, seen.alphas, strict=True):
        # The middle of the disc, at half size.
        middle = 20 + number
        assert picture[:, 48, middle].tolist() == [255, 255, 255]
        columns = np.flatnonzero(alpha[0, 48] > 200)
        assert (columns[0], columns[-1]) == (middle - 14, middle + 14)
    again = Survey.from_bytes(seen.to_bytes())
    assert (again.numbers, again.shots) == (seen.numbers, seen.shots)
    assert np.array_equal(again.pictures, seen.pictures)
    assert np.array_equal(again.alphas, seen.alphas)
    packed = bytearray(seen.to_bytes())
    packed[len(packed) // 2] ^= 255
    for damaged in (bytes(packed), packed[:100], b""):
        with pytest.raises(ValueError, match="survey"):
            Survey.from_bytes(bytes(damaged))


def test_a_flash_that_is_sampled_is_no_cut(tmp_path: Path) -> None:
    seen = survey(probe(disc_clip(tmp_path / "clip.mp4", 60, cut=33, flash=25)), load_model("luma-key"), closely=False)
    assert 25 in seen.numbers
    assert seen.shots == (0, 33)
