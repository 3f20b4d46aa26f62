"""The bench of smoothing: its comparisons are what their names say, and a matte that is right costs nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scripts_loaded import load_script

from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch

WIDTH, HEIGHT, FRAMES = 64, 48, 12
LEVELS = 219
"""Steps of luma between black and white."""

script = load_script("bench_quality")


def mattes(*values: float) -> list[MatteBatch]:
    """One frame of 2×2 pixels for each value of alpha, two in each batch."""
    batches = []
    for first in range(0, len(values), 2):
        alpha = torch.tensor(values[first : first + 2], dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2)
        count = len(alpha)
        codes = torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.zeros(count, 2, 1, 1, dtype=torch.uint8)
        batches.append(MatteBatch(FrameBatch(range(first, first + count), *codes, Coding(BT709, 8)), alpha))
    return batches


def smoothed(name: str, *values: float) -> list[float]:
    batches = list(script.find_method(name)(mattes(*values)))
    assert [number for batch in batches for number in batch.frames.index] == list(range(len(values)))
    return [float(alpha[0, 0, 0]) for batch in batches for alpha in batch.alpha]


def disc(number: int) -> NDArray[np.float64]:
    """A soft disc that goes two pixels to the right in each frame, as alpha in steps that luma has."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    alpha = np.clip((14.5 - np.hypot(x - 20 - 2 * number, y - 24)) / 3, 0, 1)
    return np.rint(alpha * LEVELS) / LEVELS


def truth_folder(folder: Path, *, shift: float = 0.0) -> Path:
    """The disc, white on black, so that luma-key is right; its truth is brighter by `shift` where there is any."""
    folder.mkdir()
    frames = [clips.gray(16 + LEVELS * disc(number)) for number in range(FRAMES)]
    clips.write_clip(folder / "source.mp4", frames, rate=Fraction(30))
    alphas = [np.rint(np.clip(disc(number) + shift * (disc(number) > 0), 0, 1) * 255) for number in range(FRAMES)]
    clips.write_clip(
        folder / "alpha.mkv", [clips.gray(alpha) for alpha in alphas], codec="ffv1", coding=clips.BT601_FULL
    )
    return folder


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the script with luma-key; returns what it wrote as JSON."""

    def run(*arguments: object) -> dict[str, Any]:
        words = ["bench_quality.py", *arguments, "--model", "luma-key", "--json", tmp_path / "figures.json"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        script.main()
        numbers: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text())
        return numbers

    return run


def test_an_exponential_mean_keeps_its_part_of_what_came_before() -> None:
    assert smoothed("ema-0.8", 0, 1, 1, 0) == pytest.approx([0, 0.2, 0.36, 0.288])
    assert smoothed("ema-0.2", 0, 1, 1, 0) == pytest.approx([0, 0.8, 0.96, 0.192])


def test_a_median_drops_what_lasts_one_frame() -> None:
    assert smoothed("median-3", 0, 1, 0, 0.5, 1) == [0, 0, 0.5, 0.5, 1]
    assert smoothed("median-5", 0, 1, 1, 0, 0) == [0, 0, 0, 0, 0]


def test_off_changes_nothing() -> None:
    assert smoothed("off", 0.25, 0.5, 1) == [0.25, 0.5, 1]


def test_a_matte_that_is_right_costs_nothing_and_an_exponential_mean_lags(
    bench: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures = bench(truth_folder(tmp_path / "right"))["figures"]["right"]
    assert list(figures) == ["off", "gaussian", "motion", "ema-0.2", "ema-0.8", "median-3"]
    # What is left is the truth's own rounding to 255ths.
    assert figures["off"]["mad"] < 0.5
    assert figures["off"]["dtssd"] < 0.2
    assert figures["ema-0.8"]["mad"] > 20 * figures["off"]["mad"]
    assert figures["ema-0.2"]["boundary_mad"] < figures["ema-0.8"]["boundary_mad"]


def test_flicker_is_what_changes_where_nothing_moves(bench: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    folder = truth_folder(tmp_path / "still")
    gray = 16 + np.rint(LEVELS * 0.9 * disc(0))
    clips.write_clip(folder / "source.mp4", [clips.gray(gray + number % 2) for number in range(FRAMES)])
    alpha = np.rint(255 * 0.9 * disc(0))
    still = [clips.gray(alpha)] * FRAMES
    clips.write_clip(folder / "alpha.mkv", still, codec="ffv1", coding=clips.BT601_FULL)
    row = bench(folder, "--methods", "off,median-3,ema-0.2")["figures"]["still"]
    # Every pixel goes up and down by a step of luma.
    assert row["off"]["flicker"] == pytest.approx(255 / LEVELS, rel=1e-3)
    # So does its median, but for the last of the nine frames that have stood still long enough.
    assert row["median-3"]["flicker"] == pytest.approx(255 / LEVELS * 8 / 9, rel=1e-3)
    # Once it has settled, an exponential mean passes (1 − w) / (1 + w) of what alternates.
    assert row["ema-0.2"]["flicker"] == pytest.approx(255 / LEVELS * 0.8 / 1.2, rel=0.02)


def test_figures_are_those_of_numpy_and_ratios_are_to_off(bench: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    folders = [truth_folder(tmp_path / "bright", shift=0.1), truth_folder(tmp_path / "dim", shift=-0.2)]
    numbers = bench(*folders, "--methods", "off,median-3")
    for name, shift in (("bright", 0.1), ("dim", -0.2)):
        alphas = np.stack([disc(number) for number in range(FRAMES)])
        truths = np.rint(np.clip(alphas + shift * (alphas > 0), 0, 1) * 255) / 255
        row = numbers["figures"][name]["off"]
        assert row["mad"] == pytest.approx(1e3 * np.abs(alphas - truths).mean(), rel=0.02)
        assert row["mse"] == pytest.approx(1e3 * ((alphas - truths) ** 2).mean(), rel=0.02)
        change = (np.diff(alphas, axis=0) - np.diff(truths, axis=0)) ** 2
        assert row["dtssd"] == pytest.approx(1e2 * np.sqrt(change.mean(axis=(1, 2))).mean(), rel=0.02)
        ratios = numbers["ratios"][name]
        assert ratios["off"]["mad"] == 1
        median = numbers["figures"][name]["median-3"]
        assert ratios["median-3"]["dtssd"] == pytest.approx(median["dtssd"] / row["dtssd"])


def test_kept_mattes_give_the_same_figures(
    bench: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, kept = truth_folder(tmp_path / "right"), tmp_path / "kept"
    first = bench(folder, "--cache", kept, "--methods", "off")
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(load_script("truth_folder"), "matte", lambda *_: pytest.fail("the network ran again"))
    again = bench(folder, "--cache", kept, "--methods", "off")
    for name in ("mad", "dtssd", "boundary_mad"):
        assert again["figures"]["right"]["off"][name] == first["figures"]["right"]["off"][name] > 0


def test_means_leave_out_what_is_not_there() -> None:
    folders = [{"off": {"mad": 1.0, "flicker": None}}, {"off": {"mad": 3.0, "flicker": 2.0}}]
    assert script.mean_rows(folders) == {"off": {"mad": 2.0, "flicker": 2.0}}


@pytest.mark.parametrize("name", ["mean-3", "median-4", "ema-1", ""])
def test_an_unknown_method_is_refused(
    name: str, bench: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        bench(tmp_path, "--methods", name)
    assert leaving.value.code == 2
    assert "no method is called" in capsys.readouterr().err


def test_a_folder_whose_parts_do_not_fit_is_refused(
    bench: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = truth_folder(tmp_path / "short")
    clips.write_clip(folder / "alpha.mkv", [clips.gray(disc(0) * 255)], codec="ffv1", coding=clips.BT601_FULL)
    with pytest.raises(SystemExit):
        bench(folder)
    assert "does not fit" in capsys.readouterr().err
