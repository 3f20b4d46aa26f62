"""A render that is cut off, damaged or asked for again: nothing is done twice, and the bytes are those of one go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import clips
import numpy as np
import pytest
from scripts_loaded import SCRIPTS
from small_onnx import write_mean_of_channels
from test_cli import tmpfs
from test_render import packets_of
from torch import Tensor

import vmatte
from vmatte import render
from vmatte.errors import EncodeError, JobError, SourceError
from vmatte.fingerprint import sha256_of_output
from vmatte.models.contract import MattingModel, Prediction, State

Tool = Callable[..., bytes]
FRAMES, SEGMENT = 12, 4
SAMPLE = Path(__file__).parent.parent / "samples" / "avatar.mp4"


class Cut(Exception):  # noqa: N818
    """The render is cut off here."""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A bright square wanders over noise."""
    return make_clip(tmp_path / "clip.mkv", 40)


def make_clip(path: Path, level: int, width: int = 64, height: int = 48, bits: int = 8, frames: int = FRAMES) -> Path:
    noise, unit = np.random.default_rng(level), 2 ** (bits - 8)
    drawn = []
    for k in range(frames):
        luma = noise.integers(level * unit, (level + 30) * unit, (height, width))
        luma[height // 4 : height // 2, 2 * k : 2 * k + width // 2] = 200 * unit
        grey = np.full(((height + 1) // 2, (width + 1) // 2), 128 * unit)
        dtype = "u1" if bits == 8 else "<u2"
        drawn.append((luma.astype(dtype), grey.astype(dtype), grey.astype(dtype)))
    return clips.write_clip(path, drawn, codec="ffv1", pix_fmt="yuv420p" if bits == 8 else f"yuv420p{bits}le")


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of one's own: alpha is the mean of the channels."""
    return write_mean_of_channels(tmp_path_factory.mktemp("weights") / "own.onnx")


class Seen:
    """A network that counts the frames it is shown."""

    def __init__(self, network: MattingModel) -> None:
        self.spec, self.device, self._network = network.spec, network.device, network
        self.frames = 0

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        self.frames += len(rgb)
        return self._network.predict(rgb, state)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many frames networks were shown since it was last asked."""
    built: list[Seen] = []
    build = render.build_model

    def build_seen(*arguments: object) -> Seen:
        built.append(Seen(build(*arguments)))  # type: ignore[arg-type]
        return built[-1]

    def count() -> int:
        total = sum(network.frames for network in built)
        built.clear()
        return total

    monkeypatch.setattr(render, "build_model", build_seen)
    return count


@pytest.fixture
def go(own: Path) -> Callable[..., str]:
    """Renders with a network of one's own; `until` cuts it off after so many frames. The sha256 of what comes of it."""

    def run(clip: Path, output: Path, until: int | None = None, **options: object) -> str:
        def on_frames(done: int, *_: object) -> None:
            if done == until:
                raise Cut

        chosen = {"model": "onnx:isnet", "weights": own, "smooth": "off", "segment_frames": SEGMENT, **options}
        if output.suffix == "":
            chosen["encoding"] = "png"
        elif output.suffix == ".mp4":
            chosen.setdefault("background", "navy")
        chosen.setdefault("on_frames", on_frames)
        vmatte.run(clip, output=output, device="cpu", batch=1, **chosen)  # type: ignore[arg-type]
        return sha256_of_output(output)

    return run


def entries(folder: Path) -> set[str]:
    """Names of what lies in a folder, without the sidecars of outputs."""
    return {entry.name for entry in folder.iterdir() if entry.suffix != ".json"}


def cut(go: Callable[..., str], clip: Path, output: Path, after: int = 9, **options: object) -> Path:
    """Renders until so many frames are written; where the work is."""
    with pytest.raises(Cut):
        go(clip, output, until=after, **options)
    return output.with_name(f".{output.name}.vmatte")


# The same command


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.webm", "out"])
def test_only_what_is_missing_is_rendered(
    name: str, clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    whole = go(clip, tmp_path / f"whole{Path(name).suffix}", cache=False)
    assert shown() == FRAMES
    work = cut(go, clip, tmp_path / name, cache=False)
    assert {path.stem for path in (work / "segments").glob("*.json")} == {"000000", "000001"}
    assert not (tmp_path / name).exists()
    shown()
    assert go(clip, tmp_path / name, cache=False) == whole
    assert shown() == FRAMES - 2 * SEGMENT
    assert not work.exists()


def test_smoothing_looks_over_the_edge_of_what_is_finished(
    clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    options = {"smooth": "motion", "strength": "low", "cache": False}
    whole = go(clip, tmp_path / "whole", **options)
    cut(go, clip, tmp_path / "out", **options)
    shown()
    assert go(clip, tmp_path / "out", **options) == whole
    # Two neighbours and one more, that a cut is told from a flash by, before the last segment.
    assert shown() == SEGMENT + 3


@pytest.mark.parametrize("damage", ["cut off", "gone"])
def test_a_damaged_segment_is_rendered_again(
    damage: str, clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    whole = go(clip, tmp_path / "whole.mp4", cache=False)
    segment = cut(go, clip, tmp_path / "out.mp4", cache=False) / "segments" / "000000.mp4"
    if damage == "gone":
        segment.unlink()
    else:
        os.truncate(segment, segment.stat().st_size // 2)
    shown()
    assert go(clip, tmp_path / "out.mp4", cache=False) == whole
    assert shown() == 2 * SEGMENT


@pytest.mark.parametrize(("width", "height", "bits"), [(61, 47, 8), (62, 33, 10)])
@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_odd_sizes_and_ten_bits_are_resumed_and_recalled(
    name: str, width: int, height: int, bits: int, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 40, width, height, bits)
    whole = go(clip, tmp_path / f"whole{Path(name).suffix}", smooth="motion", cache=False)
    cut(go, clip, tmp_path / name, smooth="motion")
    assert go(clip, tmp_path / name, smooth="motion") == whole
    shown()
    assert go(clip, tmp_path / name, smooth="motion", overwrite=True) == whole
    assert shown() == 0


def test_frames_that_are_lost_are_lost_the_same_way(tmp_path: Path, go: Callable[..., str], run_ffmpeg: Tool) -> None:
    clip = tmp_path / "clip.mp4"
    run_ffmpeg("-i", make_clip(tmp_path / "source.mkv", 40), "-c:v", "libx264", "-g", 1, clip)
    content = bytearray(clip.read_bytes())
    for place, size, _ in (packets_of(clip)[number] for number in (3, 4, 9)):
        content[place : place + size] = bytes(size)
    clip.write_bytes(content)
    whole = go(clip, tmp_path / "whole", smooth="motion", cache=False, segment_frames=240)
    assert entries(tmp_path / "whole") == {f"{number:06d}.png" for number in range(FRAMES) if number not in (3, 4, 9)}
    cut(go, clip, tmp_path / "out", after=8, smooth="motion")
    assert go(clip, tmp_path / "out", smooth="motion") == whole
    assert go(clip, tmp_path / "again", smooth="motion") == whole


@pytest.mark.weights
def test_a_recurrent_network_is_resumed_and_recalled(
    tmp_path: Path, go: Callable[..., str], shown: Callable[[], int], run_ffmpeg: Tool
) -> None:
    clip = tmp_path / "clip.mp4"
    run_ffmpeg("-i", SAMPLE, "-frames:v", FRAMES, "-vf", "scale=320:-2", clip)
    rvm = {"model": "rvm", "weights": None, "smooth": None}
    whole = go(clip, tmp_path / "whole", segment_frames=240, cache=False, **rvm)
    cut(go, clip, tmp_path / "out", **rvm)
    assert go(clip, tmp_path / "out", **rvm) == whole
    shown()
    assert go(clip, tmp_path / "again", **rvm) == whole
    assert shown() == 0


# What has changed in the meantime


def test_another_plate_begins_anew_and_goes_on_from_the_kept_matte(
    clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    cut(go, clip, tmp_path / "out.mp4", background="navy")
    shown()
    rendered = go(clip, tmp_path / "out.mp4", background="white")
    assert shown() == FRAMES - 2 * SEGMENT
    assert "another clip, version or choice of options; it begins anew" in caplog.text
    assert rendered == go(clip, tmp_path / "whole.mp4", background="white", cache=False)


def test_another_plate_or_format_does_not_run_the_network(
    clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    go(clip, tmp_path / "first.mov")
    clip = clip.rename(tmp_path / "renamed.mkv")
    shown()
    for name, options in (("a.mp4", {"background": "blur"}), ("a.webm", {}), ("a", {}), ("a.mov", {})):
        rendered = go(clip, tmp_path / name, **options)
        assert shown() == 0
        assert rendered == go(clip, tmp_path / f"whole{Path(name).suffix}", cache=False, **options)
        shown()


@pytest.mark.parametrize("options", [{"smooth": "gaussian"}, {"segment_frames": 5}, {"weights": "own"}])
def test_what_alters_the_matte_runs_the_network(
    options: dict[str, object], clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int], own: Path
) -> None:
    go(clip, tmp_path / "first.mov")
    shown()
    if "weights" in options:
        own.write_bytes(own.read_bytes().replace(b"small", b"other"))  # the graph's name
        options = {}
    go(clip, tmp_path / "second.mov", **options)
    assert shown() == FRAMES


def test_a_clip_that_was_edited_in_place_is_another_clip(
    clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    cut(go, clip, tmp_path / "out.mp4")
    make_clip(clip, 90)
    shown()
    rendered = go(clip, tmp_path / "out.mp4")
    assert shown() == FRAMES
    assert "it begins anew" in caplog.text
    assert rendered == go(clip, tmp_path / "whole.mp4", cache=False)


def test_a_clip_that_changes_during_the_render_is_an_error_and_nothing_of_the_change_is_kept(
    clip: Path, tmp_path: Path, own_mattes: Path, go: Callable[..., str]
) -> None:
    first = clip.read_bytes()
    whole = go(clip, tmp_path / "whole.mp4", cache=False)

    def on_frames(done: int, *_: object) -> None:
        if done == SEGMENT + 2:
            clip.write_bytes(first + bytes(8))

    with pytest.raises(SourceError, match=r"clip\.mkv was changed while it was rendered; run again"):
        go(clip, tmp_path / "out.mp4", on_frames=on_frames)
    assert {path.name for path in own_mattes.rglob("00000*")} == {"000000.alpha.mkv", "000000.json"}
    clip.write_bytes(first)
    assert go(clip, tmp_path / "out.mp4") == whole


def test_a_plate_that_was_edited_in_place_is_another_plate(
    clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    plate = make_clip(tmp_path / "plate.mkv", 120)
    cut(go, clip, tmp_path / "out.mp4", background=plate)
    make_clip(plate, 60)
    shown()
    rendered = go(clip, tmp_path / "out.mp4", background=plate)
    assert shown() == FRAMES - 2 * SEGMENT
    assert "it begins anew" in caplog.text
    assert rendered == go(clip, tmp_path / "whole.mp4", background=plate, cache=False)


def test_a_plate_that_changes_during_the_render_is_an_error(clip: Path, tmp_path: Path, go: Callable[..., str]) -> None:
    plate = make_clip(tmp_path / "plate.mkv", 120)

    def on_frames(done: int, *_: object) -> None:
        if done == 2:
            make_clip(plate, 60)

    with pytest.raises(SourceError, match=r"plate\.mkv was changed while it was rendered"):
        go(clip, tmp_path / "out.mp4", background=plate, on_frames=on_frames)
    assert entries(tmp_path) == {"clip.mkv", "plate.mkv"}


def test_a_damaged_kept_matte_is_made_again(
    clip: Path,
    tmp_path: Path,
    own_mattes: Path,
    go: Callable[..., str],
    shown: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = go(clip, tmp_path / "whole.mov", cache=False)
    go(clip, tmp_path / "first.mp4")
    (alpha,) = own_mattes.rglob("000001.alpha.mkv")
    content = bytearray(alpha.read_bytes())
    content[len(content) // 2] ^= 0x10
    alpha.write_bytes(content)
    for count in (SEGMENT, 0):
        shown()
        assert go(clip, tmp_path / "out.mov", overwrite=True) == whole
        assert shown() == count
    (message,) = [message for message in caplog.messages if "damaged" in message]
    assert message.endswith("000001.alpha.mkv is damaged or gone: a kept matte, which is made again")


# The place


def test_an_old_output_stays_until_the_new_one_is_whole(clip: Path, tmp_path: Path, go: Callable[..., str]) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("old")
    seen = set()
    go(clip, output, overwrite=True, on_frames=lambda *_: seen.add(output.read_text()))
    assert seen == {"old"}
    assert sha256_of_output(output) == go(clip, tmp_path / "whole.mp4", cache=False)


def test_a_file_that_turned_up_is_replaced_once_that_is_wanted(
    clip: Path, tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    output = tmp_path / "out.mp4"

    def turn_up(done: int, *_: object) -> None:
        if done == FRAMES:
            output.write_text("precious")

    for options in ({"on_frames": turn_up}, {}):
        with pytest.raises(JobError, match=r"out\.mp4 (turned up|exists)"):
            go(clip, output, **options)
        assert output.read_text() == "precious"
    shown()
    assert go(clip, output, overwrite=True) == go(clip, tmp_path / "whole.mp4", cache=False)
    assert shown() == FRAMES  # of the whole one alone
    assert entries(tmp_path) == {"clip.mkv", "out.mp4", "whole.mp4"}


def test_a_second_vmatte_on_the_same_job_leaves_it_to_the_first(
    clip: Path, tmp_path: Path, go: Callable[..., str]
) -> None:
    output, ended = tmp_path / "out.mp4", []
    words = ["run", clip, "-o", output, "--bg", "navy", "--model", "luma-key", "-q", "-y"]

    def begin_another(done: int, *_: object) -> None:
        if done == 5:
            command = [sys.executable, "-m", "vmatte", *map(str, words)]
            ended.append(subprocess.run(command, capture_output=True, text=True, check=False))

    go(clip, output, on_frames=begin_another)
    (second,) = ended
    says = f"vmatte: {output} is being rendered by another vmatte; wait for it, or give another name\n"
    assert (second.returncode, second.stderr) == (2, says)
    assert sha256_of_output(output) == go(clip, tmp_path / "whole.mp4", cache=False)
    assert entries(tmp_path) == {"clip.mkv", "out.mp4", "whole.mp4"}


def test_a_full_disk_costs_no_more_than_a_segment(
    tmp_path: Path, go: Callable[..., str], shown: Callable[[], int]
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 40, 320, 240)
    whole = go(clip, tmp_path / "whole.mov", cache=False)
    size = (tmp_path / "whole.mov").stat().st_size
    with tmpfs(tmp_path / "small", f"size={size * 95 // 100 // 4096 * 4096}") as folder:
        with pytest.raises(EncodeError, match=r"the disk is full: .*small has no room left; free some and run again"):
            go(clip, folder / "out.mov", cache=False)
        assert entries(folder) == {".out.mov.vmatte"}
        done = len(list((folder / ".out.mov.vmatte" / "segments").glob("*.json")))
        assert done in (1, 2)
        subprocess.run(["mount", "-o", f"remount,size={4 * size}", folder], check=True)
        shown()
        assert go(clip, folder / "out.mov", cache=False) == whole
        assert shown() == FRAMES - done * SEGMENT
        assert entries(folder) == {"out.mov"}


def test_a_render_goes_on_without_a_cache(
    clip: Path,
    tmp_path: Path,
    go: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = go(clip, tmp_path / "whole.mp4", cache=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path / "file"))
    assert go(clip, tmp_path / "out.mp4") == whole
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.split(":")[0] for message in warnings] == ["the matte is not kept for later renders"]


def test_a_cache_that_fills_up_does_not_stop_the_render(
    clip: Path,
    tmp_path: Path,
    go: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = go(clip, tmp_path / "whole.mp4", cache=False)
    with tmpfs(tmp_path / "small", "size=16k") as folder:
        monkeypatch.setenv("VMATTE_CACHE", str(folder))
        assert go(clip, tmp_path / "out.mp4") == whole
        assert not list(folder.rglob("*.part*"))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.split(":")[0] for message in warnings] == ["the matte is not kept for later renders"]


@pytest.mark.slow
def test_renders_that_are_killed_leave_what_they_should() -> None:
    command = [sys.executable, SCRIPTS / "torture.py", "--runs", "4", "--models", "luma-key", "--seed", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "PASS: 4 of 4 runs left what they should"
