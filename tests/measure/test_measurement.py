"""`vmatte measure` from files to numbers, limits, JSON and the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import clips
import cv2
import numpy as np
import pytest
from conftest import Ended
from numpy.typing import NDArray
from PIL import Image

from vmatte.errors import JobError
from vmatte.measure import measure_alpha
from vmatte.measure.limits import parse_limits
from vmatte.measure.measurement import SUSPECTS, measure
from vmatte.measure.read import open_mattes, open_pictures

Command = Callable[..., Ended]
Codes = NDArray[np.uint8]
FRAMES, HEIGHT, WIDTH = 24, 72, 96
POPPED = 15


def disc(dim: int = 0) -> Codes:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip(255 - dim - 40 * (np.hypot(x - 48, y - 36) - 20), 0, 255 - dim).astype(np.uint8)


def write_gray(path: Path, frames: Sequence[Codes]) -> Path:
    """A gray clip of these codes, full range, without loss."""
    planes: Any = [[codes.copy()] for codes in frames]
    return clips.write_clip(path, planes, codec="ffv1", pix_fmt="gray", coding=clips.BT601_FULL)


def truth_codes() -> list[Codes]:
    return [disc()] * FRAMES


def predicted_codes() -> list[Codes]:
    """The truth, but for one frame that is 80 levels too low."""
    return [disc(80 if number == POPPED else 0) for number in range(FRAMES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """predicted.mkv and truth.mkv, gray; the same as folders of pictures; source.mp4, which stands still."""
    path = tmp_path_factory.mktemp("measured")
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT // 4, WIDTH // 4), np.uint8)
    still = np.asarray(cv2.resize(noise, (WIDTH, HEIGHT)), np.uint8) // 2 + 40
    clips.write_clip(path / "source.mp4", [clips.gray(still)] * FRAMES)
    for name, frames in (("predicted", predicted_codes()), ("truth", truth_codes())):
        write_gray(path / f"{name}.mkv", frames)
        (path / name).mkdir()
        for number, codes in enumerate(frames):
            Image.fromarray(codes).save(path / name / f"{number}.png")  # without zeros: "10" sorts before "9"
    (path / "source").mkdir()
    for number in range(FRAMES):
        Image.fromarray(still).convert("RGB").save(path / "source" / f"{number:04d}.png")
    return path


@pytest.mark.parametrize(("predicted", "truth"), [("predicted.mkv", "truth.mkv"), ("predicted", "truth.mkv")])
def test_files_give_the_scores_of_their_frames(
    predicted: str, truth: str, folder: Path, vmatte_command: Command
) -> None:
    ended = vmatte_command("measure", folder / predicted, folder / truth, "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert (found["frames"], found["width"], found["height"]) == (FRAMES, WIDTH, HEIGHT)
    difference = abs(disc(80).astype(float) - disc()) / 255
    assert found["metrics"]["mad"] == pytest.approx(1000 * difference.mean() / FRAMES, rel=1e-4)
    assert found["metrics"]["mse"] == pytest.approx(1000 * (difference**2).mean() / FRAMES, rel=1e-4)
    changed = 100 * np.sqrt((difference**2).mean())  # into the bad frame, and out of it
    assert found["metrics"]["dtssd"] == pytest.approx(2 * changed / (FRAMES - 1), rel=1e-4)
    frames = [[codes.astype(np.float32) / 255 for codes in each] for each in (predicted_codes(), truth_codes())]
    assert found["metrics"]["conn"] == pytest.approx(measure_alpha(*frames).conn, rel=1e-4)
    assert found["suspicious"][0]["frame"] == POPPED
    assert "flicker" not in found["metrics"]


@pytest.mark.parametrize("source", ["source.mp4", "source"])
def test_without_the_truth_flicker_is_found_and_the_frame_named(
    source: str, folder: Path, vmatte_command: Command
) -> None:
    ended = vmatte_command("measure", folder / "predicted.mkv", "--source", folder / source, "--json")
    found = json.loads(ended.out)
    assert set(found["metrics"]) == {"flicker", "edge_jitter", "coverage_jump"}
    assert found["still_percent"] == pytest.approx(100 * (FRAMES - 3) / FRAMES, abs=1)
    drop = (disc().astype(float) - disc(80)).sum() / 255 / disc().size
    assert found["metrics"]["coverage_jump"] == pytest.approx(100 * drop, rel=1e-4)
    assert found["suspicious"][0]["frame"] in (POPPED, POPPED + 1)
    assert found["suspicious"][0]["time_s"] == pytest.approx(found["suspicious"][0]["frame"] / 25)
    assert found["metrics"]["flicker"] > 1
    steady = vmatte_command("measure", folder / "truth.mkv", "--source", folder / source, "--json")
    assert json.loads(steady.out)["metrics"] == {"flicker": 0, "edge_jitter": 0, "coverage_jump": 0}


def test_a_broken_limit_ends_with_code_4_and_a_kept_one_with_0(folder: Path, vmatte_command: Command) -> None:
    pair = ("measure", folder / "predicted.mkv", folder / "truth.mkv", "--quiet")
    assert vmatte_command(*pair, "--fail-above", "mad=1000", "--fail-above", "dtssd=100") == Ended(0, "", "")
    broken = vmatte_command(*pair, "--fail-above", "mad=1000", "--fail-above", "dtssd=0.5")
    assert (broken.code, broken.out) == (4, "")
    assert re.fullmatch(r"vmatte: .*predicted\.mkv: dtssd is \d+\.\d+, above 0\.5\n", broken.err)


def test_a_limit_that_could_not_be_measured_is_broken(tmp_path: Path, vmatte_command: Command) -> None:
    pairs = [clips.write_clip(tmp_path / f"{name}.mp4", [clips.gray(disc())]) for name in ("matte", "source")]
    ended = vmatte_command("measure", pairs[0], "--source", pairs[1], "--fail-above", "flicker=9")
    assert ended.code == 4
    assert "flicker could not be measured (limit 9)" in ended.err
    assert re.search(r"^flicker +not measured$", ended.out, re.MULTILINE)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(JobError, match=r"no metric is called 'wobble' here; there are: mad, flicker"):
        parse_limits(["mad=1", "wobble=2"], ["mad", "flicker"])
    for text in ("mad", "mad=", "mad=much", "mad=nan"):
        with pytest.raises(JobError, match=r"has no number; write it like mad=0\.5"):
            parse_limits([text], ["mad"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predicted.mkv"], "give its true matte, or its source with --source"),
        (["predicted.mkv", "short.mkv"], "has 24 frames and .*short.mkv has 23: they must show the same frames"),
        (["predicted.mkv", "small.mkv"], "is 96×72 and .*small.mkv is 48×36: they must be of one size"),
        (["predicted.mkv", "nowhere.mkv"], "nowhere.mkv does not exist"),
        (["predicted.mkv", "empty"], "empty holds no pictures"),
        (["predicted.mkv", "truth.mkv", "--fail-above", "flicker=1"], "no metric is called 'flicker' here"),
        (["predicted.mkv", "truth.mkv", "--report", "truth.mkv"], "with the extension .html"),
        (["predicted.mkv", "truth.mkv", "--json-file", "no/where.json"], "the folder does not exist"),
    ],
)
def test_mistakes_end_with_code_2_and_one_line(
    arguments: list[str], message: str, folder: Path, vmatte_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    for name, frames in (("short", truth_codes()[1:]), ("small", [codes[::2, ::2] for codes in truth_codes()])):
        write_gray(folder / f"{name}.mkv", frames)
    ended = vmatte_command("measure", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert re.search(message, ended.err)


def test_the_json_file_has_every_frame(folder: Path, tmp_path: Path, vmatte_command: Command) -> None:
    path = tmp_path / "all.json"
    pair = (folder / "predicted.mkv", folder / "truth.mkv", "--source", folder / "source.mp4")
    ended = vmatte_command("measure", *pair, "--json-file", path)
    assert ended.code == 0
    assert re.search(r"^look at frames +15\b", ended.out, re.MULTILINE)
    frames = json.loads(path.read_text())["per_frame"]
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    assert frames[0]["dtssd"] is frames[0]["flicker"] is None
    assert [frame["frame"] for frame in frames if frame["mad"] > 0] == [POPPED]
    assert {frame["frame"] for frame in frames if frame["flicker"]} == {POPPED, POPPED + 1}


class _Page(HTMLParser):
    """What an HTML page refers to, the text of its headings, and how many curves it draws."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.curves = self.sections = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        self.curves += tag == "svg"
        self.sections += tag == "section"


def test_the_report_needs_no_other_file(folder: Path, tmp_path: Path, vmatte_command: Command) -> None:
    path = tmp_path / "report.html"
    pair = (folder / "predicted.mkv", folder / "truth.mkv", "--source", folder / "source.mp4")
    assert vmatte_command("measure", *pair, "--report", path).code == 0
    text = path.read_text()
    page = _Page(text)
    assert page.curves == 10 + 4
    assert all(reference.startswith(("data:image/", "#frame-")) for reference in page.references)
    assert not re.search(r"url\(|@import|<script|https?:", text)
    # source, matte before, matte, change, truth, difference, composite
    assert sum(reference.startswith("data:") for reference in page.references) == 7 * page.sections
    assert f'id="frame-{POPPED}"' in text


def test_suspects_are_few_apart_and_worst_first(tmp_path: Path) -> None:
    dims = np.random.default_rng(4).integers(1, 200, 150)
    for name, frames in (("bad", [disc(int(dim)) for dim in dims]), ("good", [disc()] * 150)):
        write_gray(tmp_path / f"{name}.mkv", frames)
    suspects = measure(tmp_path / "bad.mkv", tmp_path / "good.mkv").suspects
    numbers = [suspect.measures.number for suspect in suspects]
    assert len(numbers) == SUSPECTS
    assert numbers[0] == dims.argmax()
    assert [dims[number] for number in numbers] == sorted((dims[number] for number in numbers), reverse=True)
    assert min(abs(a - b) for a in numbers for b in numbers if a != b) >= 5


def test_pictures_come_in_the_order_of_their_numbers(folder: Path) -> None:
    means = [float(alpha.mean()) for alpha in open_mattes(folder / "predicted")]
    assert means.index(min(means)) == POPPED
    assert open_mattes(folder / "predicted").frames == FRAMES


def test_a_source_is_read_as_luma_from_black_to_white(tmp_path: Path) -> None:
    for coding, codes in ((clips.BT709_LIMITED, (16, 125, 235)), (clips.BT601_FULL, (0, 127, 255))):
        luma = np.repeat(np.array(codes, np.uint8), 32)[None].repeat(48, axis=0)
        path = clips.write_clip(tmp_path / f"{coding[1]}.mp4", [clips.gray(luma)], coding=coding)
        (picture,) = open_pictures(path)
        assert picture.luma[0, ::32] == pytest.approx([0, 109 / 219 if coding[1] == 1 else 127 / 255, 1], abs=1e-6)
        assert picture.rgb((6, 12)).shape == (6, 12, 3)
        assert abs(picture.rgb((48, 96))[0, ::32].astype(int) - [[0] * 3, [127] * 3, [255] * 3]).max() <= 1
