"""The bench of edges: each figure is what its formula gives where that can be worked out by hand."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from scripts_loaded import load_script

from vmatte.errors import JobError, SourceError
from vmatte.models.catalogue import load_model

Bench = Callable[..., dict[str, Any]]
Plane = NDArray[np.float32]
WIDTH, HEIGHT, FRAMES = 64, 36, 3
FOREGROUND, BEHIND = 200, 40
"""Grey levels, so that chroma at half size costs nothing."""

script = load_script("bench_edges")
tables = load_script("bench_tables")


def soft_alpha() -> Plane:
    """Soft everywhere, so that the band is the whole picture: the columns go from 0.1 to 0.9, in 255ths."""
    return np.broadcast_to(np.rint(np.linspace(0.1, 0.9, WIDTH) * 255) / 255, (HEIGHT, WIDTH)).astype(np.float32)


def grey(path: Path, level: int) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT), (level,) * 3).save(path)
    return path


def step(column: int, height: int = 16, width: int = 32) -> Plane:
    """1 from this column on."""
    alpha = np.zeros((height, width), np.float32)
    alpha[:, column:] = 1
    return alpha


def as_tensor(plane: Plane) -> torch.Tensor:
    return torch.from_numpy(plane)[None, None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A truth folder of a grey subject with that alpha over a grey plate, without noise and loss."""
    subject = tmp_path / "subject"
    subject.mkdir()
    rgba = np.full((HEIGHT, WIDTH, 4), FOREGROUND, np.uint8)
    rgba[..., 3] = np.rint(soft_alpha() * 255)
    for number in range(FRAMES):
        Image.fromarray(rgba).save(subject / f"{number}.png")
    sizes = ["--width", WIDTH, "--frames", FRAMES, "--noise", 0, "--crf", 0]
    words = ["make_truth.py", subject, grey(tmp_path / "behind.png", BEHIND), tmp_path / "greys", *sizes]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    load_script("make_truth").main()
    return tmp_path / "greys"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs scripts/bench_quality.py with luma-key; returns what it wrote as JSON."""

    def run(*arguments: object) -> dict[str, Any]:
        words = ["bench_quality.py", *arguments, "--model", "luma-key", "--json", tmp_path / "figures.json"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        load_script("bench_quality").main()
        numbers: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text())
        return numbers

    return run


def test_a_perfect_matte_through_bilinear_is_off_by_what_the_weights_say() -> None:
    frame = script.frame_of(torch.zeros(1, 3, 16, 32))
    methods = {**script.UPSAMPLERS, "right": lambda *_: as_tensor(step(9))}
    rows = script.measure_upsampling([("noisy", frame, step(9))], methods)
    # At half the size the column of the edge is 0.5. Bilinear weights of 3 to 1 give columns 7 to 10 back as 1/8, 3/8,
    # 5/8 and 7/8; they are the band as well.
    assert rows["bilinear"]["noisy ×2"] == pytest.approx(1000 * (1 / 8 + 3 / 8 + 3 / 8 + 1 / 8) / 4)
    assert rows["right"] == {**dict.fromkeys(rows["right"]), "noisy ×2": 0, "noisy ×4": 0, "noisy ×8": 0}


def test_an_answer_at_half_the_size_is_measured_at_the_full_one(folder: Path) -> None:
    truth = load_script("truth_folder").read_truth_folder(folder)
    flat = torch.full((FRAMES, 1, HEIGHT // 2, WIDTH // 2), 0.5)
    rows = script.measure_network(truth, flat, script.UPSAMPLERS, 0)
    assert rows["bilinear"]["boundary_mad"] == pytest.approx(1000 * np.abs(soft_alpha() - 0.5).mean(), rel=1e-3)


def test_a_foregrounds_error_is_weighted_by_how_soft_alpha_is() -> None:
    true, alpha = torch.zeros(1, 3, 1, 3), torch.tensor([0.5, 0.1, 1.0]).view(1, 1, 1, 3)
    found = torch.tensor([[30, 0, 0], [3, 3, 3], [99, 99, 99]], dtype=torch.float32).T.reshape(1, 3, 1, 3) / 255
    error, weight = script.foreground_error(found, true, alpha)
    assert weight == pytest.approx(0.25 + 0.09)
    assert error == pytest.approx((0.25 * 10 + 0.09 * 3) / (0.25 + 0.09))
    assert script.foreground_error(found, true, torch.ones(1, 1, 1, 3)) == (0, 0)


@pytest.mark.parametrize("column", ["steady", "steady soft"])
def test_steadiness_is_what_the_colour_changes_where_all_stands_still(column: str) -> None:
    changes, alpha = script.Changes(), step(16) * np.float32(0.75)
    weight = script.STEADY[column](as_tensor(alpha))
    picture = np.linspace(0, 1, 32, dtype=np.float32) * np.ones((16, 1), np.float32)
    for number in range(6):
        red_blinks = torch.tensor([0.5 + 0.02 * (number % 2), 0.5, 0.5]).view(1, 3, 1, 1).expand(1, 3, 16, 32)
        changes.follow(red_blinks, weight, picture, alpha)
    # All of 0.75 is soft, and the column before it is where alpha crosses one half: with one more they are the band.
    share = 0.75 if column == "steady" else 0.75 * 0.25
    assert changes.mean() == pytest.approx(255 * 0.02 / 3 * share * 16 / 18, rel=1e-4)


def test_where_the_truth_changes_nothing_is_steady() -> None:
    changes, picture = script.Changes(), np.zeros((16, 32), np.float32)
    for number in range(6):
        alpha = np.full((16, 32), 0.3 + 0.05 * number, np.float32)
        changes.follow(torch.rand(1, 3, 16, 32), as_tensor(alpha), picture, alpha)
    assert changes.mean() is None


def test_a_folder_of_greys_has_the_errors_of_its_formulas(bench: Bench, folder: Path, tmp_path: Path) -> None:
    plates = [grey(tmp_path / f"{level}.png", level) for level in (0, 120, 255)]
    numbers = bench("--edges", folder, "--plates", *plates)
    alpha, apart = soft_alpha().astype(np.float64), FOREGROUND - BEHIND
    weight = alpha * (1 - alpha)
    # The source shows alpha F + (1 − alpha) B, off F by (1 − alpha)(F − B); its codes round by a quarter level.
    colours = numbers["foreground"]["figures"]["greys"]
    assert colours["source"]["true alpha"] == pytest.approx(
        (weight * (1 - alpha)).sum() / weight.sum() * apart, rel=5e-3
    )
    # Where that is taken for F, a composite onto any plate is off by alpha times as much.
    composite = numbers["composite"]["figures"]["greys"]
    assert composite["plain"]["true matte"] == pytest.approx(weight.mean() * apart, rel=5e-3)
    assert composite["truth"]["true matte"] < 0.5
    # luma-key takes what is seen for alpha, and for the subject's colour too.
    seen = (alpha * FOREGROUND + (1 - alpha) * BEHIND) / 255
    off = [
        np.abs(seen * 255 * seen + (1 - seen) * q - alpha * FOREGROUND - (1 - alpha) * q).mean() for q in (0, 120, 255)
    ]
    assert composite["plain"]["network"] == pytest.approx(np.mean(off), rel=5e-3)
    network = numbers["network"]["figures"]["greys"]
    assert network["bilinear"]["boundary_mad"] == pytest.approx(1000 * np.abs(seen - alpha).mean(), rel=5e-3)
    ratio = numbers["foreground"]["ratios"]["greys"]["blur fusion"]["true alpha"]
    assert ratio == pytest.approx(colours["blur fusion"]["true alpha"] / colours["source"]["true alpha"])
    assert numbers["foreground"]["mean"]["blur fusion"]["true alpha"] == pytest.approx(ratio)


@pytest.mark.parametrize("name", ["blur fusion", "pymatting ml", "ours"])
def test_an_estimate_takes_most_of_the_background_out(name: str) -> None:
    if name == "pymatting ml" and find_spec("pymatting") is None:
        pytest.skip("pymatting is not installed; it is only compared with")
    y, x = np.mgrid[:96, :96] - 47.5
    alpha = as_tensor(np.clip((30 - np.hypot(x, y)) / 6, 0, 1).astype(np.float32))
    true = torch.tensor([0.8, 0.5, 0.3]).view(1, 3, 1, 1).expand(1, 3, 96, 96)
    frame = script.frame_of(torch.lerp(torch.full((1, 3, 96, 96), 0.1), true, alpha))
    errors = [
        script.foreground_error(script.rgb_of(script.FOREGROUNDS[method](frame, alpha), frame), true, alpha)[0]
        for method in ("source", name)
    ]
    assert errors[1] < 0.2 * errors[0]


def test_without_pymatting_its_row_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "find_spec", lambda _: None)
    said = io.StringIO()
    assert list(script.available(Console(file=said))) == [name for name in script.FOREGROUNDS if name != "pymatting ml"]
    assert "pymatting cannot be imported" in said.getvalue()


def test_a_chain_is_measured_once_both_of_its_methods_are_there(folder: Path, tmp_path: Path) -> None:
    truth = load_script("truth_folder").read_truth_folder(folder)
    answers = torch.from_numpy(np.stack(truth.alphas))[:, None]
    right = torch.full((1, 3, HEIGHT, WIDTH), FOREGROUND / 255)
    upsamplers = {"bilinear": script.UPSAMPLERS["bilinear"], "guided": script.UPSAMPLERS["bilinear"]}
    foregrounds = {"source": script.FOREGROUNDS["source"], "ours": lambda *_: codes(script.frame_of(right))}
    plates = [grey(tmp_path / "plate.png", 120)]
    rows = script.measure_composite(truth, answers, plates, upsamplers, foregrounds, 0)
    assert list(rows) == ["plain", "guided alone", "vmatte", "truth"]
    assert rows["vmatte"]["network"] < 0.5 < rows["plain"]["network"] == rows["guided alone"]["network"]
    alone = script.measure_composite(truth, answers, plates, script.UPSAMPLERS, {"source": foregrounds["source"]}, 0)
    assert list(alone) == ["plain", "guided alone", "truth"]


def codes(frame: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return frame.luma, frame.chroma


def test_a_still_stands_over_every_plate_and_as_it_was_photographed(tmp_path: Path) -> None:
    alpha = tmp_path / "alpha.png"
    Image.new("L", (WIDTH, HEIGHT), 51).save(alpha)
    paths = [grey(tmp_path / "photograph.png", 90), alpha, grey(tmp_path / "colours.png", 250)]
    plates = [grey(tmp_path / f"{level}.png", level) for level in (0, 150)]
    shown = [
        (kind, int(frame.luma[0, 0, 5, 5])) for kind, frame in script.still_pictures(script.read_stills(paths), plates)
    ]
    clean = [luma for kind, luma in shown if kind == "clean"]
    assert clean == [clips.codes_of((level,) * 3)[0] for level in (50, 170, 90)]
    assert [kind for kind, _ in shown] == ["clean", "noisy"] * 3
    # Without a file of straight colours, the picture's own are taken.
    (_, own), *_ = script.still_pictures(script.read_stills(paths[:2]), plates)
    assert int(own.luma[0, 0, 5, 5]) == clips.codes_of((18,) * 3)[0]
    with pytest.raises(JobError, match="--stills"):
        script.read_stills(paths[:1])
    Image.new("RGB", (WIDTH, HEIGHT + 2)).save(paths[2])
    with pytest.raises(SourceError, match="give one size"):
        script.read_stills(paths)


def test_noise_has_its_strength_in_each_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "JPEG_QUALITY", 100)  # which keeps luma as it is, but for rounding
    noisy = 255 * script.compressed(torch.full((1, 3, 256, 256), 0.5), np.random.default_rng(1))[0].numpy()
    luma = np.tensordot([0.299, 0.587, 0.114], noisy, axes=1)
    assert luma.mean() == pytest.approx(127.5, abs=0.2)
    assert luma.std() == pytest.approx(4 * math.sqrt(0.299**2 + 0.587**2 + 0.114**2), rel=0.03)


def test_a_tally_weights_its_means_and_tells_what_is_not_there() -> None:
    tally = tables.Tally(["one"], ("mad", "grad"))
    tally.add("one", "mad", 4.0, 3.0)
    tally.add("one", "mad", 8.0, 1.0)
    assert tally.rows() == {"one": {"mad": 5.0, "grad": None}}


def test_the_highest_over_folders_leaves_out_what_is_not_there() -> None:
    folders = [{"guided": {"mad": 0.8, "grad": None}}, {"guided": {"mad": 0.9, "grad": 0.5}}]
    assert tables.highest_rows(folders) == {"guided": {"mad": 0.9, "grad": 0.5}}


def test_a_networks_answers_are_kept_beside_its_mattes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = load_script("truth_folder")
    model, clip = load_model("luma-key"), reading.read_truth_folder(folder).clip
    mattes, answers = reading.network_alphas(clip, model, tmp_path / "kept"), None
    for _ in range(2):
        answers = reading.network_answers(clip, model, tmp_path / "kept")
        assert len(list((tmp_path / "kept").iterdir())) == 2
        monkeypatch.setattr(reading, "network_input", lambda *_: pytest.fail("the network ran again"))
    assert torch.equal(answers, mattes)  # luma-key answers at full size


def test_only_the_tables_that_are_asked_for_are_measured(bench: Bench, folder: Path, tmp_path: Path) -> None:
    (folder / "foreground.mkv").unlink()  # which the table of upsampling does not need
    numbers = bench("--edges", folder, "--plates", grey(tmp_path / "plate.png", 9), "--tables", "upsampling")
    assert list(numbers) == ["model", "upsampling"]


@pytest.mark.parametrize("lacking", ["plates", "table", "foreground", "a foreground that fits"])
def test_what_cannot_be_measured_is_refused(
    lacking: str, bench: Bench, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[object] = ["--edges", folder]
    if lacking != "plates":
        words += ["--plates", grey(tmp_path / "plate.png", 9)]
    if lacking == "table":
        words += ["--tables", "colours"]
    elif lacking == "foreground":
        (folder / "foreground.mkv").unlink()
    elif lacking != "plates":
        short = [clips.flat((0, 0, 0), WIDTH, HEIGHT)]
        clips.write_clip(folder / "foreground.mkv", short, codec="ffv1", coding=clips.BT601_FULL)
    with pytest.raises(SystemExit) as leaving:
        bench(*words)
    assert leaving.value.code == 2
    said = capsys.readouterr().err
    words_said = {"plates": "--plates", "table": "no such table", "foreground": "is missing"}
    assert words_said.get(lacking, "does not fit") in said
