"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
from conftest import Ended, Seen
from PIL import Image

import vmatte
from vmatte.models.catalogue import MODELS

Command = Callable[..., Ended]
LUMA_KEY = ("--model", "luma-key")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames, 25 a second."""
    frames = [clips.flat((40 + 20 * k, 128, 128), 64, 48) for k in range(6)]
    return clips.write_clip(tmp_path / "clip.mp4", frames)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory, run_ffmpeg: Callable[..., bytes]) -> Path:
    """Ten minutes: longer than any test waits."""
    folder = tmp_path_factory.mktemp("long")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4", "-pix_fmt", "yuv420p", folder / "short.mp4")
    run_ffmpeg("-stream_loop", 149, "-i", folder / "short.mp4", "-c", "copy", folder / "long.mp4")
    return folder / "long.mp4"


def entries(folder: Path) -> set[str]:
    """Names of what lies in a folder, without the sidecars of outputs."""
    return {entry.name for entry in folder.iterdir() if entry.suffix != ".json"}


def start(*arguments: object, **how: object) -> subprocess.Popen[str]:
    """`python -m vmatte` in a process group of its own."""
    command = [sys.executable, "-m", "vmatte", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **how
    )  # type: ignore[call-overload]


@contextlib.contextmanager
def tmpfs(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own, where this process may mount one."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root and mount(8)")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


# Mistakes


def no_clip(folder: Path) -> list[object]:
    return [folder / "missing.mp4", "--bg", "navy", "-o", folder / "out.mp4"]


def text(folder: Path) -> list[object]:
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    return [folder / "text.mp4", "--bg", "navy", "-o", folder / "out.mp4"]


def empty(folder: Path) -> list[object]:
    (folder / "empty.mp4").touch()
    return [folder / "empty.mp4", "--bg", "navy", "-o", folder / "out.mp4"]


def audio_only(folder: Path) -> list[object]:
    import av

    with av.open(str(folder / "voice.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "<f4"), "fltp", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return [folder / "voice.m4a", "--bg", "navy", "-o", folder / "out.mp4"]


def folder_as_clip(folder: Path) -> list[object]:
    (folder / "shots").mkdir()
    return [folder / "shots", "--bg", "navy", "-o", folder / "out.mp4"]


def no_folder(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "missing" / "out.mp4"]


def folder_is_a_file(folder: Path) -> list[object]:
    (folder / "file").touch()
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "file" / "out.mp4"]


def plate_is_text(folder: Path) -> list[object]:
    (folder / "notes.txt").write_text("notes")
    return [folder / "clip.mp4", "--bg", folder / "notes.txt", "-o", folder / "out.mp4"]


def plate_is_missing(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", folder / "studio.png", "-o", folder / "out.mp4"]


def plate_is_a_folder(folder: Path) -> list[object]:
    (folder / "plates").mkdir()
    return [folder / "clip.mp4", "--bg", folder / "plates", "-o", folder / "out.mp4"]


def plate_is_cut_off(folder: Path) -> list[object]:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:4000])
    return [folder / "clip.mp4", "--bg", folder / "cut.png", "-o", folder / "out.mp4"]


def unknown_colour(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "blurple", "-o", folder / "out.mp4"]


def wrong_hexadecimal(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "#12345", "-o", folder / "out.mp4"]


def colour_out_of_range(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "rgb(300, 0, 0)", "-o", folder / "out.mp4"]


def output_is_the_clip(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "clip.mp4", "-y"]


def output_is_the_clip_by_another_name(folder: Path) -> list[object]:
    (folder / "link.mp4").symlink_to("clip.mp4")
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "link.mp4", "-y"]


def output_is_the_plate(folder: Path) -> list[object]:
    clips.black_clip(folder / "plate.mp4")
    return [folder / "clip.mp4", "--bg", folder / "plate.mp4", "-o", folder / "plate.mp4", "-y"]


def output_holds_the_plate(folder: Path) -> list[object]:
    (folder / "pictures").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "pictures" / "studio.png")
    plate = folder / "pictures" / "studio.png"
    return [folder / "clip.mp4", "--bg", plate, "-o", folder / "pictures", "--format", "png", "-y"]


def output_exists(folder: Path) -> list[object]:
    (folder / "out.mp4").write_text("precious")
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "out.mp4"]


def output_is_a_folder(folder: Path) -> list[object]:
    (folder / "out.mp4").mkdir()
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "out.mp4", "-y"]


def pictures_into_a_file(folder: Path) -> list[object]:
    (folder / "pictures").touch()
    return [folder / "clip.mp4", "--format", "png", "-o", folder / "pictures"]


def pictures_into_a_full_folder(folder: Path) -> list[object]:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").touch()
    return [folder / "clip.mp4", "--format", "png", "-o", folder / "pictures"]


def pictures_over_other_things(folder: Path) -> list[object]:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "thesis.doc").touch()
    return [folder / "clip.mp4", "--format", "png", "-o", folder / "pictures", "-y"]


def no_alpha_in_mp4(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "-o", folder / "out.mp4"]


def unknown_format(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--format", "h266", "-o", folder / "out.mp4"]


def format_and_extension(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--format", "webm", "-o", folder / "out.mov"]


def unknown_extension(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "out.avi"]


def no_extension(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--bg", "navy", "-o", folder / "out"]


def unknown_smoothing(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--smooth", "median", "-o", folder / "out.mov"]


def unknown_strength(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--smooth-strength", "strong", "-o", folder / "out.mov"]


def strength_of_nothing(folder: Path) -> list[object]:
    return [folder / "clip.mp4", "--smooth", "off", "--smooth-strength", "low", "-o", folder / "out.mov"]


MISTAKES: list[tuple[Callable[[Path], list[object]], str]] = [
    (no_clip, "missing.mp4 does not exist"),
    (text, "text.mp4 cannot be opened: it is no video"),
    (empty, "empty.mp4 is empty"),
    (audio_only, "voice.m4a holds only audio"),
    (folder_as_clip, "shots is a folder"),
    (no_folder, "missing does not exist; make it first"),
    (folder_is_a_file, "file is a file|file is not a folder"),
    (plate_is_text, "notes.txt is neither a picture nor a video"),
    (plate_is_missing, "studio.png does not exist"),
    (plate_is_a_folder, "plates is a folder"),
    (plate_is_cut_off, "cut.png cannot be read as a picture"),
    (unknown_colour, "'blurple' is no colour"),
    (wrong_hexadecimal, "'#12345' is no colour"),
    (colour_out_of_range, "rgb.300, 0, 0.*"),
    (output_is_the_clip, "clip.mp4 is the input itself"),
    (output_is_the_clip_by_another_name, "link.mp4 is the input itself"),
    (output_is_the_plate, "plate.mp4 is the input itself"),
    (output_holds_the_plate, "pictures.*studio.png|studio.png.*pictures"),
    (output_exists, "out.mp4 exists; give -y"),
    (output_is_a_folder, "out.mp4 is a folder"),
    (pictures_into_a_file, "pictures is a file"),
    (pictures_into_a_full_folder, "pictures is not empty; give -y"),
    (pictures_over_other_things, "pictures holds other things than pictures .thesis.doc"),
    (no_alpha_in_mp4, "mp4 has no alpha.*prores4444, webm, .*png"),
    (unknown_format, "'h266'; there are: mp4, prores4444, webm, .*png"),
    (format_and_extension, "out.mov: webm goes into .webm, not into .mov"),
    (unknown_extension, "no encoding has the extension '.avi'"),
    (no_extension, "has no extension"),
    (unknown_smoothing, "'median'; there are: motion, gaussian, off"),
    (unknown_strength, "'strong' strong; there are: low, medium, high"),
    (strength_of_nothing, "smoothing by off has no strength"),
]


@pytest.mark.parametrize(("mistake", "says"), MISTAKES, ids=[mistake.__name__ for mistake, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_and_leaves_nothing(
    mistake: Callable[[Path], list[object]], says: str, clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    arguments = mistake(clip.parent)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    names = set(tmp_path.rglob("*"))
    ended = vmatte_command("run", *arguments, *LUMA_KEY, "--quiet")
    assert ended.code == 2
    assert re.fullmatch(rf"vmatte: .*({says}).*\n", ended.err)
    assert ended.out == ""
    assert set(tmp_path.rglob("*")) == names
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--model", "modnt"), "no model called 'modnt'; did you mean modnet"),
        (("--model", "lumakey"), "did you mean luma-key"),
        (("--model", "modnet", "--weights", "{folder}/missing.onnx"), "missing.onnx does not exist"),
        (("--model", "modnet", "--weights", "{folder}"), "holds no modnet.onnx; in it: clip.mp4"),
        (("--model", "modnet", "--weights", "{folder}/clip.mp4"), "clip.mp4 cannot be loaded as the network modnet"),
        (("--model", "luma-key", "--weights", "{folder}/clip.mp4"), "luma-key has no weights"),
        (("--weights", "{folder}/clip.mp4"), "clip.mp4 are given, but not the model"),
        (("--model", "birefnet", "--weights", "random"), "random weights are for benches and tests"),
        (("--model", "luma-key", "--device", "gpu"), "no device is called 'gpu'"),
        (("--model", "luma-key", "--device", "cuda:99"), "there is no (CUDA|cuda:99)"),
        (("--model", "luma-key", "--precision", "fp8"), "precision cannot be 'fp8'"),
        (("--model", "birefnet", "--device", "cpu", "--precision", "fp16"), "fp16 is slower than fp32 on a CPU"),
        (("--model", "luma-key", "--compile"), "nothing to compile"),
        (("--model", "luma-key", "--batch", "0"), "batch cannot be '0'"),
        (("--model", "rmbg-2.0", "--license-guard", "commercial"), "refuses rmbg-2.0: its licence is CC BY-NC 4.0"),
        (("--model", "rmbg-2.0", "--licence-guard", "permissive"), "these models pass: birefnet"),
        (
            ("--model", "modnet", "--weights", "{folder}/clip.mp4", "--license-guard", "commercial"),
            "clip.mp4: its licence is not known",
        ),
    ],
)
def test_a_wrong_model_ends_in_one_line_and_leaves_nothing(
    options: tuple[str, ...], says: str, clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    filled = [option.format(folder=clip.parent) for option in options]
    ended = vmatte_command("run", clip, "--bg", "navy", "-o", tmp_path / "out.mp4", "--quiet", *filled)
    assert ended.code == 2
    assert re.fullmatch(rf"vmatte: .*({says}).*\n", ended.err)
    assert entries(tmp_path) == {"clip.mp4"}


def test_a_read_only_folder_is_an_error(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    with tmpfs(tmp_path / "mounted", "size=64k") as folder:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        ended = vmatte_command("run", clip, "--bg", "navy", "-o", folder / "out.mp4", *LUMA_KEY, "--quiet")
        assert entries(folder) == set()
    assert ended.code == 2
    assert re.fullmatch(r"vmatte: folder .*mounted cannot be written: Read-only file system\n", ended.err)


def test_a_mistake_seen_from_outside_is_one_line_too(tmp_path: Path) -> None:
    process = start("run", "missing.mp4", "--bg", "navy", *LUMA_KEY, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (2, "", "vmatte: missing.mp4 does not exist\n")
    assert entries(tmp_path) == set()


# Full disks


def write_noise(path: Path) -> Path:
    """Frames that compress badly: an output of several hundred kilobytes."""
    noise = np.random.default_rng(0).integers(16, 235, (12, 120, 160))
    return clips.write_clip(path, [clips.gray(luma, half_chroma=True) for luma in noise], pix_fmt="yuv420p")


@pytest.mark.parametrize(
    ("name", "options", "share"),
    [
        ("out.mp4", ("--bg", "navy"), 0.5),
        ("out.mp4", ("--bg", "navy"), 1.9),  # the segment fits, the joined file does not
        ("out.mov", (), 0.5),
        ("out.mov", (), 1.9),
        ("out.webm", (), 0.5),
        ("out.webm", (), 1.9),
        ("out", ("--format", "png"), 0.5),
    ],
)
def test_a_full_disk_is_said_and_only_what_is_finished_stays(
    name: str, options: tuple[str, ...], share: float, tmp_path: Path, vmatte_command: Command
) -> None:
    clip = write_noise(tmp_path / "noise.mp4")
    whole = vmatte_command("run", clip, "-o", tmp_path / name, *options, *LUMA_KEY, "--quiet")
    assert whole.code == 0
    files = (tmp_path / name).rglob("*") if (tmp_path / name).is_dir() else [tmp_path / name]
    size = sum(file.stat().st_size for file in files)
    with tmpfs(tmp_path / "small", f"size={int(size * share) // 4096 * 4096}") as folder:
        ended = vmatte_command("run", clip, "-o", folder / name, *options, *LUMA_KEY, "--quiet")
        # With room for all segments it fills up when they are joined: they wait for more.
        assert entries(folder) == ({f".{name}.vmatte"} if share > 1 else set())
    assert ended.code == 2
    assert ended.err == f"vmatte: the disk is full: {tmp_path / 'small'} has no room left; free some and run again\n"


def test_a_disk_without_room_for_the_work_folder_is_full(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    with tmpfs(tmp_path / "small", "size=64k", "nr_inodes=1") as folder:
        ended = vmatte_command("run", clip, "--bg", "navy", "-o", folder / "out.mp4", *LUMA_KEY, "--quiet")
    assert ended.code == 2
    assert re.fullmatch(r"vmatte: .*small.*(No space left on device|disk is full).*\n", ended.err)


# Interruptions

INTERRUPTED = "vmatte: interrupted; the same command goes on from what is finished\n"
ONE_SEGMENT = ("--segment-frames", 100000)
"""Nothing is finished before the end."""


def wait_for_render(process: subprocess.Popen[str], folder: Path) -> None:
    """Until the first segment's file has bytes in it: the render is in its middle."""
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size for file in folder.glob(".*.vmatte/segments/*.part*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupted_render_leaves_nothing_behind(number: signal.Signals, long_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("the render before")
    options = ("--bg", "navy", "-o", tmp_path / "out.mp4", "-y", "--quiet", *ONE_SEGMENT)
    process = start("run", long_clip, *options, *LUMA_KEY)
    wait_for_render(process, tmp_path)
    process.send_signal(number)
    asked = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert (process.returncode, out, err) == (
        130,
        "",
        INTERRUPTED,
    )
    assert entries(tmp_path) == {"out.mp4"}
    assert (tmp_path / "out.mp4").read_text() == "the render before"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_an_impatient_user_leaves_nothing_behind_either(long_clip: Path, tmp_path: Path) -> None:
    process = start("run", long_clip, "--bg", "navy", "-o", tmp_path / "out.mp4", "--quiet", *ONE_SEGMENT, *LUMA_KEY)
    wait_for_render(process, tmp_path)
    for _ in range(4):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        time.sleep(0.03)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, INTERRUPTED)
    assert entries(tmp_path) == set()


def test_an_interrupted_cutout_with_a_video_behind_leaves_nothing(long_clip: Path, tmp_path: Path) -> None:
    plate = clips.black_clip(tmp_path / "plate.mp4", 5)
    process = start("run", long_clip, "--bg", plate, "-o", tmp_path / "out.webm", "--quiet", *ONE_SEGMENT, *LUMA_KEY)
    wait_for_render(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, INTERRUPTED)
    assert entries(tmp_path) == {"plate.mp4"}


# What is printed


@pytest.mark.usefixtures("clip")
def test_json_says_what_was_made(tmp_path: Path, look: Callable[[Path], Seen]) -> None:
    process = start("run", "clip.mp4", "--bg", "navy", "-o", "out.mp4", "--json", *LUMA_KEY, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.count("\n") == 1
    report = json.loads(out)
    about = {"model", "licence", "weights_sha256", "sha256", "matte", "outputs"}
    assert set(report) == {"output", "frames", "lost", "seconds", "fps", *about}
    assert report["frames"] == len(look(tmp_path / "out.mp4").times) == 6
    assert report["sha256"] == hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    assert (report["output"], report["lost"], report["model"]) == ("out.mp4", 0, "luma-key")
    assert report["outputs"][0]["alpha"] is None  # a composite has none
    assert report["fps"] == pytest.approx(6 / report["seconds"], rel=0.02)


def test_json_of_a_sequence_has_the_hash_of_all_its_pictures(
    clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    ended = vmatte_command("run", clip, "-o", tmp_path / "pictures", "--format", "png", "--json", *LUMA_KEY)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [picture.name for picture in pictures] == [f"{number:06d}.png" for number in range(6)]
    digest = hashlib.sha256(b"".join(picture.read_bytes() for picture in pictures))
    assert json.loads(ended.out)["sha256"] == digest.hexdigest()


def test_quiet_prints_nothing(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    ended = vmatte_command("run", clip, "--bg", "navy", "-o", tmp_path / "out.mp4", "--quiet", *LUMA_KEY)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert (tmp_path / "out.mp4").is_file()


def test_without_a_terminal_progress_is_plain_lines(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    device = ("--device", "cpu")
    ended = vmatte_command("run", clip, "--bg", "navy", "-o", tmp_path / "out.mp4", *LUMA_KEY, *device)
    lines = ended.err.splitlines()
    assert lines[0] == "model luma-key on the CPU, fp32 (licence none needed, free for commercial use)"
    assert re.fullmatch(r"6/6 frames, [\d.]+ fps, 0 s left, slowest: \w+ \d+%", lines[-1])
    assert "\x1b" not in ended.err
    assert "\r" not in ended.err
    assert re.fullmatch(r".*out\.mp4: 6 frames in [\d.]+ s \([\d.]+ fps\)\n", ended.out)


def test_on_a_terminal_progress_is_bars(clip: Path, tmp_path: Path) -> None:
    own, theirs = pty.openpty()
    command = [sys.executable, "-m", "vmatte", "run", clip, "--bg", "navy", "-o", tmp_path / "out.mp4", *LUMA_KEY]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal whose other side is closed with EIO
            while block := os.read(own, 4096):
                written += block
        os.close(own)
    seen = written.decode()
    assert process.returncode == 0
    assert "\x1b[" in seen
    assert "━" in seen
    assert "6/6" in seen


def test_python_m_vmatte_says_its_version() -> None:
    process = start("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, f"vmatte {vmatte.__version__}\n", "")


def test_help_names_every_command_and_option(vmatte_command: Command) -> None:
    assert {"run", "probe", "models"} <= set(vmatte_command("--help").out.split())
    shown = vmatte_command("run", "--help").out
    for option in ("--bg", "--output", "-o", "--format", "--model", "--weights", "--overwrite", "-y", "-q", "--json"):
        assert option in shown
    for option in ("--device", "--precision", "--batch", "--compile", "--segment-frames", "--license-guard"):
        assert option in shown


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["models"], ["schema"]])
def test_what_only_prints_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["vmatte", *{arguments!r}]
from vmatte.cli import main
try:
    main()
finally:
    heavy = {{"torch", "ray", "transformers", "onnxruntime", "cv2", "av", "numpy"}} & set(sys.modules)
    print("imported", sorted(heavy), file=sys.stderr)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0
    assert process.stderr.splitlines()[-1] == "imported []"


def test_models_lists_every_licence(vmatte_command: Command) -> None:
    ended = vmatte_command("models")
    assert ended.code == 0
    lines = {line.split()[0]: line for line in ended.out.splitlines()[1:]}
    assert set(lines) == set(MODELS)
    assert "Apache-2.0" in lines["modnet"]
    assert "25.9 MB" in lines["modnet"]
    assert "not needed" in lines["luma-key"]
    assert re.search(r"CC BY-NC 4\.0 +NO +no +884\.9 MB", lines["rmbg-2.0"])
    assert re.search(r"MIT +yes +no +177\.6 MB", lines["birefnet-lite-2k"])


def test_models_says_what_is_here_and_what_is_gated(
    vmatte_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path))
    weights = MODELS["u2netp"].weights
    assert weights is not None
    (tmp_path / "weights" / weights.sha256[:12]).mkdir(parents=True)
    with (tmp_path / "weights" / weights.sha256[:12] / "u2netp.onnx").open("wb") as file:
        file.truncate(weights.size_bytes)
    lines = {line.split()[0]: line for line in vmatte_command("models").out.splitlines()}
    assert "not here, gated" in lines["rmbg-2.0"]
    assert "not here" in lines["birefnet"]
    assert "gated" not in lines["birefnet"]
    assert "cached" in lines["u2netp"]


def test_there_is_nothing_to_pull_for_a_file_of_ones_own(vmatte_command: Command) -> None:
    ended = vmatte_command("models", "pull", "onnx:u2net")
    assert (ended.code, ended.out) == (2, "")
    assert "onnx:u2net runs a file of your own: name it with `--weights FILE.onnx`" in ended.err
    assert vmatte_command("models", "pull", "luma-key").out == "luma-key needs no weights\n"


def test_models_marks_what_a_licence_guard_refuses(vmatte_command: Command) -> None:
    lines = vmatte_command("models", "--license-guard", "commercial").out.splitlines()
    assert "commercial" in lines[0].split()[1]
    marks = {line.split()[0]: line.split()[1] for line in lines[1:]}
    closed = {"rmbg-2.0", "deeplabv3"}
    assert marks == {name: "REFUSED" if name in closed else "passes" for name in MODELS}


def test_probe_says_what_ffprobe_says(clip: Path, vmatte_command: Command, look: Callable[[Path], Seen]) -> None:
    ended = vmatte_command("probe", clip)
    facts = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    seen = look(clip)
    assert facts["size"] == f"{seen.video['width']}×{seen.video['height']}" == "64×48"
    assert facts["frames"] == str(len(seen.times))
    assert facts["codec"] == seen.video["codec_name"]
    assert facts["pixel_format"] == seen.video["pix_fmt"]
    assert facts["time_base"] == seen.video["time_base"]
    assert facts["rate"].startswith("25 ")
    assert facts["duration_s"] == "0.24"
    assert facts["audio"] == "none"


def test_probe_of_a_missing_clip_is_one_line(tmp_path: Path, vmatte_command: Command) -> None:
    ended = vmatte_command("probe", tmp_path / "missing.mp4")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"vmatte: {tmp_path / 'missing.mp4'} does not exist\n"


def test_a_reader_that_leaves_early_is_no_crash() -> None:
    process = start("models")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == ""


@pytest.mark.usefixtures("clip")
def test_a_closed_stderr_is_no_crash(tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m vmatte run clip.mp4 --bg navy -o out.mp4 --model luma-key 2>&-'
    process = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0
    assert process.stdout.startswith("out.mp4: 6 frames")


# Names


@pytest.mark.parametrize(
    "name",
    [
        "with spaces.mp4",
        "ünïcödé 映像.mp4",
        "100%d %05d.mp4",
        "[a]{b}*?'\".mp4",
        "take 10:30.mp4",
        "take1:30.mp4",
        "file:a.mp4",
        "-y.mp4",
        "two\nlines.mp4",
        ".hidden.mp4",
        "n" * 240 + ".mp4",
        "CAPITALS.MP4",
    ],
)
def test_any_name_will_do(
    name: str, clip: Path, tmp_path: Path, vmatte_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    shutil.copy(clip, tmp_path / "in" / name)
    # From the folder itself and without one: that is where a name can be mistaken for something else.
    monkeypatch.chdir(tmp_path / "in")
    copied = vmatte_command("run", "-o", "../out/plain.mp4", "--bg", "navy", "-q", *LUMA_KEY, "--", name)
    assert (copied.code, copied.err) == (0, "")
    monkeypatch.chdir(tmp_path / "out")
    named = vmatte_command("run", f"--output={name}", "--bg", "navy", "-q", *LUMA_KEY, "--", clip)
    assert (named.code, named.err) == (0, "")
    assert entries(tmp_path / "out") == {"plain.mp4", name}
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "out" / "plain.mp4").read_bytes()


def test_pictures_go_into_a_folder_of_any_name(
    clip: Path, tmp_path: Path, vmatte_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = vmatte_command("run", clip, "--format", "png", "-o", "10:30 100%d", "-q", *LUMA_KEY)
    assert (ended.code, ended.err) == (0, "")
    assert entries(tmp_path / "10:30 100%d") == {f"{number:06d}.png" for number in range(6)}


def test_without_an_output_it_lies_beside_the_clip(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    assert vmatte_command("run", clip, "-q", *LUMA_KEY).code == 0
    assert vmatte_command("run", clip, "--bg", "navy", "-q", *LUMA_KEY).code == 0
    assert entries(tmp_path) == {"clip.mp4", "clip_cutout.mov", "clip_composite.mp4"}


@pytest.mark.usefixtures("clip")
def test_a_tilde_is_home(tmp_path: Path, vmatte_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vmatte_command("run", "~/clip.mp4", "--bg", "navy", "-o", "~/out.mp4", "-q", *LUMA_KEY).code == 0
    assert (tmp_path / "out.mp4").is_file()


def test_a_background_may_be_the_clip_itself(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    ended = vmatte_command("run", clip, "--bg", clip, "-o", tmp_path / "out", "--format", "png", "-q", *LUMA_KEY)
    assert ended.code == 0
    # A picture over itself is that picture, whatever the alpha.
    for number in range(6):
        picture = np.asarray(Image.open(tmp_path / "out" / f"{number:06d}.png")).astype(float)
        assert abs(picture - (24 + 20 * number) * 255 / 219).max() <= 1


def test_a_linked_folder_of_pictures_stays_a_link(clip: Path, tmp_path: Path, vmatte_command: Command) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert vmatte_command("run", clip, "--format", "png", "-o", tmp_path / "link", "-q", *LUMA_KEY).code == 0
    assert (tmp_path / "link").is_symlink()
    assert len(entries(tmp_path / "real")) == 6
