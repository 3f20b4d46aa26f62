"""What the whole clip tells is found once, and every part of a render goes by it."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import clips
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import vmatte
from vmatte.models.catalogue import MODELS, load_model
from vmatte.models.contract import InputSize, Prediction, State

HEIGHT, WIDTH, FRAMES = 96, 160, 24


def picture(number: int) -> NDArray[np.float64]:
    """A large white disc stands on black while a small one walks by above it."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    speaker = np.hypot(rows - 66, columns - 60) < 20
    walker = np.hypot(rows - 16, columns - 8 - 6 * number) < 9
    return np.where(speaker | walker, 235, 16)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.write_clip(tmp_path / "clip.mp4", [clips.gray(picture(number)) for number in range(FRAMES)])


class Coarse:
    """Luma is alpha, at a third of the clip's lines; it counts what it is given."""

    def __init__(self) -> None:
        self.key = load_model("luma-key")
        size = InputSize("short_side", 32)
        self.spec = dataclasses.replace(self.key.spec, architecture="modnet", input_size=size)
        self.device = self.key.device
        self.seen: list[tuple[int, ...]] = []

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        self.seen.append(tuple(rgb.shape[2:]))
        return Prediction(self.key.predict(rgb).alpha, state=state)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Coarse:
    coarse = Coarse()
    monkeypatch.setattr("vmatte.render.build_model", lambda *_: coarse)
    monkeypatch.setitem(MODELS, "luma-key", coarse.spec)
    return coarse


def alphas(clip: Path, name: str, **words: object) -> NDArray[np.float64]:
    """(T, H, W) in [0, 1] of a render as pictures."""
    folder = clip.parent / name
    vmatte.run(clip, output=folder, encoding="png", model="luma-key", device="cpu", smooth="off", **words)  # type: ignore[arg-type]
    pictures = [Image.open(path) for path in sorted(folder.iterdir())]
    return np.stack([np.asarray(one)[..., 3] for one in pictures]) / 255


@pytest.mark.usefixtures("network")
def test_a_crop_makes_edges_finer_and_loses_nothing(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = np.stack([picture(number) == 235 for number in range(FRAMES)])
    with caplog.at_level(logging.INFO, "vmatte"):
        cropped = alphas(clip, "cropped", subject="largest")
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("crop ")]
    assert len(lines) == 1
    whole = alphas(clip, "whole", subject="largest", crop="off")
    speaker = truth[12] & (np.mgrid[:HEIGHT, :WIDTH][0] > 40)
    near = [number for number in range(FRAMES) if number not in range(5, 14)]  # else the two are close
    error = [np.abs(found[near] - speaker).mean() for found in (cropped, whole)]
    assert error[0] < 0.7 * error[1]


def test_a_crop_and_a_kept_subject_do_not_depend_on_segments(clip: Path, network: Coarse) -> None:
    whole = alphas(clip, "whole", subject="largest", segment_frames=240, cache=False)
    looked = len(network.seen) - FRAMES
    assert looked <= 3  # of 24 frames
    assert np.array_equal(alphas(clip, "cut", subject="largest", segment_frames=5, cache=False), whole)
    assert len(network.seen) == 2 * (FRAMES + looked)  # one survey a job, not one a segment
    assert len(set(network.seen)) == 2


def test_kept_mattes_need_no_network_though_one_of_two_people_is_kept(clip: Path, network: Coarse) -> None:
    first = alphas(clip, "first", subject="largest")
    before = len(network.seen)
    assert np.array_equal(alphas(clip, "second", subject="largest"), first)
    assert len(network.seen) == before


def test_everybody_is_kept_where_nothing_else_is_asked_and_nothing_is_surveyed_in_vain(
    clip: Path, network: Coarse
) -> None:
    found = alphas(clip, "all", crop="off")
    assert len(network.seen) == FRAMES
    assert found[0][16, 8] == 1
    assert found[0][66, 60] == 1
    assert torch.tensor(alphas(clip, "largest", crop="off", subject="largest"))[0][16, 8] == 0
