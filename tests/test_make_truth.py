"""Truth folders: what alpha.mkv says is what source.mp4 was made with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import codes_of
from numpy.typing import NDArray
from PIL import Image
from scripts_loaded import load_script

from vmatte.video.probe import probe
from vmatte.video.read import decode

Tool = Callable[..., bytes]
Make = Callable[..., Path]
WIDTH, HEIGHT, FRAMES = 64, 36, 4

script = load_script("make_truth")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Runs the script with small sizes and no loss; returns the folder."""

    def run(subject: Path, plate: Path, *options: object, name: str = "truth") -> Path:
        sizes = ["--width", WIDTH, "--frames", FRAMES, "--noise", 0, "--crf", 0]
        arguments = ["make_truth.py", subject, plate, tmp_path / name, *sizes, *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in arguments])
        script.main()
        return tmp_path / name

    return run


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return flat_plate(tmp_path / "plate.png", (30, 90, 160))


def flat_plate(path: Path, rgb: tuple[int, int, int]) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT), rgb).save(path)
    return path


def pictures(folder: Path, count: int = FRAMES, rgb: tuple[int, int, int] = (210, 60, 40)) -> NDArray[np.uint8]:
    """Write pictures of one colour whose alpha is drawn by lot; the alphas (T, H, W)."""
    alphas = np.random.default_rng(3).integers(0, 256, (count, HEIGHT, WIDTH), np.uint8)
    folder.mkdir()
    for number, alpha in enumerate(alphas):
        colour = np.full((HEIGHT, WIDTH, 3), rgb, np.uint8)
        Image.fromarray(np.dstack([colour, alpha])).save(folder / f"{number:03}.png")
    return alphas


def one_colour(folder: Path, rgba: tuple[int, int, int, int], count: int = FRAMES) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.new("RGBA", (WIDTH, HEIGHT), rgba).save(folder / f"{number:03}.png")
    return folder


def raw(run_ffmpeg: Tool, path: Path, pix_fmt: str, *, wide: bool = False) -> NDArray[np.int64]:
    """The first plane of each frame as ffmpeg decodes it."""
    planes = run_ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")
    codes = np.frombuffer(planes, "<u2" if wide else "u1").astype(np.int64)
    samples = WIDTH * HEIGHT * 3 // 2 if pix_fmt == "yuv420p" else WIDTH * HEIGHT
    return codes.reshape(-1, samples)[:, : WIDTH * HEIGHT].reshape(-1, HEIGHT, WIDTH)


def moving_still(path: Path) -> Path:
    """A soft disc on nothing."""
    y, x = np.mgrid[:HEIGHT, :HEIGHT] - (HEIGHT - 1) / 2
    alpha = np.clip((12 - np.hypot(x, y)) / 3, 0, 1) * 255
    colour = np.full((HEIGHT, HEIGHT, 3), 200, np.uint8)
    Image.fromarray(np.dstack([colour, alpha.astype(np.uint8)])).save(path)
    return path


def test_the_alpha_reads_back_exactly(make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool) -> None:
    alphas = pictures(tmp_path / "subject")
    made = make(tmp_path / "subject", plate)
    expected = np.rint(alphas / 255 * 4095)
    np.testing.assert_array_equal(raw(run_ffmpeg, made / "alpha.mkv", "gray12le", wide=True), expected)
    clip = probe(made / "alpha.mkv")
    ours = np.concatenate([frames.luma[:, 0] for frames in decode(clip, range(clip.frames), batch=3)])
    np.testing.assert_array_equal(ours, expected)
    assert (clip.coding.bits, clip.coding.color.full_range) == (12, True)


def test_the_clip_is_the_subject_over_the_plate(make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool) -> None:
    alpha = pictures(tmp_path / "subject") / 255
    made = make(tmp_path / "subject", plate)
    subject, behind = codes_of((210, 60, 40))[0], codes_of((30, 90, 160))[0]
    luma = raw(run_ffmpeg, made / "source.mp4", "yuv420p")
    assert np.abs(luma - (alpha * subject + (1 - alpha) * behind)).max() <= 1.5


def raw_foreground(run_ffmpeg: Tool, made: Path) -> NDArray[np.int64]:
    """R'G'B' codes (T, 3, H, W) of foreground.mkv as ffmpeg decodes it."""
    planes = run_ffmpeg("-i", made / "foreground.mkv", "-f", "rawvideo", "-pix_fmt", "gbrp12le", "-")
    return np.frombuffer(planes, "<u2").astype(np.int64).reshape(-1, 3, HEIGHT, WIDTH)[:, [2, 0, 1]]


def test_the_foreground_is_the_subjects_colour_wherever_it_has_any(
    make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    alphas = pictures(tmp_path / "subject")
    colours = raw_foreground(run_ffmpeg, make(tmp_path / "subject", plate))
    expected = np.rint(np.array([210, 60, 40]) / 255 * 4095)[:, None, None] * (alphas > 0)[:, None]
    # A faint alpha's code is up to half a step off 255ths, and the colour makes up for it.
    solid = (alphas > 127)[:, None]
    assert np.abs(colours - expected)[np.broadcast_to(solid, colours.shape)].max() <= 2
    np.testing.assert_array_equal(colours[np.broadcast_to(alphas[:, None] == 0, colours.shape)], 0)


@pytest.mark.parametrize("noise", [0, 4])
def test_foreground_and_alpha_over_the_plate_are_the_clip_but_for_its_noise(
    noise: int, make: Make, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    # Off the ends of the range, where noise would be cut.
    plate, still = flat_plate(tmp_path / "grey.png", (90, 90, 90)), moving_still(tmp_path / "still.png")
    made = make(still, plate, "--subject-motion", "talk", "--frames", 24, "--noise", noise)
    alpha = raw(run_ffmpeg, made / "alpha.mkv", "gray12le", wide=True)[:, None] / 4095
    mixed = alpha * raw_foreground(run_ffmpeg, made) / 4095 + (1 - alpha) * 90 / 255
    luma = 16 + 219 * np.tensordot([0.2126, 0.7152, 0.0722], mixed, axes=(0, 1))
    left = raw(run_ffmpeg, made / "source.mp4", "yuv420p") - luma
    if noise:
        assert left.std() == pytest.approx(noise, rel=0.03)
        assert abs(left.mean()) < 0.1
    else:
        assert np.abs(left).max() <= 1.5
    assert set(json.loads((made / "truth.json").read_text())["shot"]) == {"plate_motion", "noise", "crf"}


def test_noise_is_as_strong_as_asked_and_new_in_every_frame(
    make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    made = make(one_colour(tmp_path / "nothing", (0, 0, 0, 0)), plate, "--noise", 6)
    luma = 16 + 219 * (0.2126 * 30 + 0.7152 * 90 + 0.0722 * 160) / 255
    grain = raw(run_ffmpeg, made / "source.mp4", "yuv420p") - luma
    assert abs(grain.std() - 6) < 0.2
    assert abs(grain.mean()) < 0.25
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.08


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libvpx-vp9", "subject.webm", ["-lossless", "1", "-pix_fmt", "yuva420p"]),
        ("prores_ks", "subject.mov", ["-pix_fmt", "yuva444p10le", "-alpha_bits", "16"]),
        ("qtrle", "subject.mov", ["-pix_fmt", "argb"]),
    ],
)
def test_a_clips_own_alpha_is_found(
    codec: str, name: str, options: list[str], make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    alphas = pictures(tmp_path / "subject")
    run_ffmpeg("-i", tmp_path / "subject" / "%03d.png", "-c:v", codec, *options, tmp_path / name)
    made = make(tmp_path / name, plate)
    found = raw(run_ffmpeg, made / "alpha.mkv", "gray12le", wide=True) / 4095
    # FFmpeg takes alpha into 4:2:0 up to a level off.
    assert np.abs(found - alphas / 255).max() < 1.05 / 255


def test_the_same_command_gives_the_same_files(make: Make, plate: Path, tmp_path: Path) -> None:
    still = moving_still(tmp_path / "still.png")
    options = ["--subject-motion", "talk", "--noise", 4, "--crf", 28, "--plate-motion", "pan"]
    first, second = (make(still, plate, *options, name=name) for name in ("first", "second"))
    for name in ("source.mp4", "alpha.mkv", "foreground.mkv", "truth.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    other = make(still, plate, *options, "--seed", 5, name="other")
    assert (first / "alpha.mkv").read_bytes() != (other / "alpha.mkv").read_bytes()


def test_a_still_sways_and_rests(make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool) -> None:
    made = make(moving_still(tmp_path / "still.png"), plate, "--frames", 24, "--subject-height", 0.8)
    alpha = raw(run_ffmpeg, made / "alpha.mkv", "gray12le", wide=True) / 4095
    steps = np.abs(np.diff(alpha, axis=0)).sum(axis=(1, 2))
    # Seven frames of rest, nine of movement, seven of rest.
    assert np.all(steps[:6] == 0)
    assert np.all(steps[7:14] > 0)
    assert np.all(steps[16:22] == 0)
    # What moves keeps its size, but for the two hundredths by which it comes nearer.
    assert np.ptp(alpha.sum(axis=(1, 2))) / alpha[0].sum() < 0.06


def test_a_still_that_stands_lies_where_its_size_says(
    make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    options = ["--subject-motion", "none", "--subject-height", 0.5]
    made = make(moving_still(tmp_path / "still.png"), plate, *options)
    alpha = raw(run_ffmpeg, made / "alpha.mkv", "gray12le", wide=True)[0] / 4095
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    middle = (float((alpha * x).sum() / alpha.sum()), float((alpha * y).sum() / alpha.sum()))
    assert middle == pytest.approx((WIDTH / 2, HEIGHT * (1.04 - 0.25)), abs=0.05)
    # The disc has a radius of 10.5 where alpha is one half, at half its size.
    assert alpha.sum() == pytest.approx(np.pi * (10.5**2 + 0.75) / 4, rel=0.03)


def test_a_plate_pans_by_a_part_of_the_width(make: Make, tmp_path: Path, run_ffmpeg: Tool) -> None:
    ramp = np.repeat(np.linspace(40, 200, WIDTH * 4)[None], HEIGHT * 4, axis=0).astype(np.uint8)
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "ramp.png")
    nothing = one_colour(tmp_path / "nothing", (0, 0, 0, 0), 11)
    made = make(nothing, tmp_path / "ramp.png", "--plate-motion", "pan", "--frames", 11)
    luma = raw(run_ffmpeg, made / "source.mp4", "yuv420p")[:, :, 4:-4].mean(axis=(1, 2))
    across = np.diff(raw(run_ffmpeg, made / "source.mp4", "yuv420p")[0, :, 4:-4].mean(axis=0)).mean()
    assert luma[10] - luma[0] == pytest.approx(10 * 0.0035 * WIDTH * across, abs=0.3)


def test_a_matte_can_come_from_another_picture(make: Make, plate: Path, tmp_path: Path) -> None:
    with Image.open(moving_still(tmp_path / "still.png")) as still:
        still.getchannel("A").save(tmp_path / "matte.png")
        still.convert("RGB").save(tmp_path / "colour.png")
    own = make(tmp_path / "still.png", plate, name="own")
    other = make(tmp_path / "colour.png", plate, "--subject-matte", tmp_path / "matte.png", name="other")
    for name in ("source.mp4", "alpha.mkv"):
        assert (own / name).read_bytes() == (other / name).read_bytes()
    assert json.loads((other / "truth.json").read_text())["subject"]["matte"] == "matte.png"


def test_despill_takes_green_down_to_the_stronger_of_the_others(
    make: Make, plate: Path, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    green = one_colour(tmp_path / "green", (60, 200, 90, 255))
    run_ffmpeg("-i", green / "%03d.png", "-c:v", "qtrle", "-pix_fmt", "argb", tmp_path / "green.mov")
    made = make(tmp_path / "green.mov", plate, "--despill")
    luma = raw(run_ffmpeg, made / "source.mp4", "yuv420p")
    assert np.abs(luma - codes_of((60, 90, 90))[0]).max() <= 1


def test_what_cannot_be_a_truth_is_refused(
    make: Make, plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "subject", 2)
    cases: list[tuple[Path, list[object], str]] = [
        (plate, [], "--subject-matte"),
        (tmp_path / "subject", [], "--frames"),
        (tmp_path / "subject", ["--subject-matte", "luma-key"], "--subject-frame"),
        (tmp_path / "nowhere.png", [], "does not exist"),
    ]
    for subject, options, word in cases:
        with pytest.raises(SystemExit) as leaving:
            make(subject, plate, *options)
        assert leaving.value.code == 2
        assert word in capsys.readouterr().err
        assert not (tmp_path / "truth" / "truth.json").exists()
