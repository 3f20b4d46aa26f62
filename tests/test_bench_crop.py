"""The bench of crops: a matte that is coarse for want of pixels is finer with a crop, and one that is not stays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import clips
import numpy as np
import pytest
from scripts_loaded import load_script

from vmatte.models.catalogue import load_model
from vmatte.models.contract import InputSize, MattingModel

script = load_script("bench_crop")


def truth_folder(folder: Path) -> Path:
    """A white disc on black, of a fifth of the frame's lines."""
    rows, columns = np.mgrid[:120, :160]
    alpha = np.hypot(rows - 60, columns - 80) < 12
    folder.mkdir()
    clips.write_clip(folder / "source.mp4", [clips.gray(np.where(alpha, 235, 16))] * 8)
    alphas = [clips.gray(np.where(alpha, 255, 0))] * 8
    clips.write_clip(folder / "alpha.mkv", alphas, codec="ffv1", coding=clips.BT601_FULL)
    return folder


def luma_key(size: InputSize) -> MattingModel:
    model = load_model("luma-key")
    model.spec = dataclasses.replace(model.spec, architecture="modnet", input_size=size)
    return model


def test_a_crop_is_measured_against_the_whole_frame(tmp_path: Path) -> None:
    words, figures = script.bench_folder(truth_folder(tmp_path / "disc"), luma_key(InputSize("short_side", 30)), 4)
    width, height = map(int, words.split(" of ")[0].split("×"))
    assert words.endswith(" of 160×120")
    assert 24 < height <= width < 48
    # The disc is found within a pixel of so many for each of the network's: with the crop nearly one to one.
    assert figures["auto"]["boundary_mad"] < 0.5 * figures["off"]["boundary_mad"]
    assert figures["auto"]["survey_s"] > 0


def test_without_a_crop_there_is_one_row(tmp_path: Path) -> None:
    words, figures = script.bench_folder(truth_folder(tmp_path / "disc"), luma_key(InputSize("full")), 4)
    assert (words, list(figures)) == ("none", ["off"])
    assert figures["off"]["mad"] == pytest.approx(0, abs=1e-6)
