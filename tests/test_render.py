"""A render from the clip to the file: what is lost is said, what is whole is published, and what it costs."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
import torch
from conftest import Ended, Seen
from numpy.typing import NDArray
from PIL import Image
from small_onnx import write_mean_of_channels
from torch import Tensor

import vmatte
from vmatte.errors import ModelError
from vmatte.job import Runtime, make_job
from vmatte.models.catalogue import MODELS, load_model
from vmatte.models.contract import MattingModel, Prediction, State
from vmatte.planning import announce, plan_job

LUMA_KEY = {"model": "luma-key"}
SAMPLES = Path(__file__).parent.parent / "samples"

Tool = Callable[..., bytes]
Look = Callable[[Path], Seen]


def entries(folder: Path) -> set[str]:
    """Names of what lies in a folder, without the sidecars of outputs."""
    return {entry.name for entry in folder.iterdir() if entry.suffix != ".json"}


def picture_at(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def shown_lumas(path: Path, run_ffmpeg: Tool) -> list[int]:
    """The luma in the middle of each frame of a 4:2:0 file, as ffmpeg decodes it."""
    raw = run_ffmpeg("-i", path, "-vf", "crop=2:2", "-vsync", 0, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
    return [int(code) for code in np.frombuffer(raw, "u1").reshape(-1, 6)[:, 0]]


# The model


def test_auto_is_settled_before_the_render_and_the_report_says_as_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vmatte.models.choice.CPU_MODELS", ("luma-key",))
    clip = clips.black_clip(tmp_path / "clip.mp4", 3)
    with caplog.at_level("INFO", "vmatte"):
        report = vmatte.run(clip, output=tmp_path / "out.mov", device="cpu", licence_guard="permissive")
    assert (report.model, report.licence, report.weights_sha256) == ("luma-key", "none needed", None)
    assert [record.getMessage() for record in caplog.records if record.getMessage().startswith("model ")] == [
        "model luma-key on the CPU, fp32 (licence none needed, free for commercial use): auto takes it without CUDA"
    ]


def test_a_speed_that_an_encoding_has_not_is_said_to_be_idle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip, outputs = clips.black_clip(tmp_path / "clip.mp4"), [tmp_path / "a.webm", tmp_path / "b.mkv"]
    with caplog.at_level("WARNING", "vmatte"):
        announce(plan_job(make_job(clip, model="luma-key", output=outputs, speed="best"), Runtime()))
    assert [record.getMessage() for record in caplog.records] == [
        f"{outputs[1]}: nothing comes of speed best: ffv1 does not have it"
    ]


@pytest.mark.parametrize("batch", [1, 2, "3", "auto", None])
def test_mattes_do_not_depend_on_how_many_frames_go_at_once(batch: int | str | None, tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", [clips.flat((40 + 20 * k, 128, 128), 64, 48) for k in range(5)])
    alphas = [float(frame.alpha.mean()) for frame in vmatte.matte(clip, device="cpu", batch=batch, **LUMA_KEY)]
    assert alphas == pytest.approx([(24 + 20 * k) / 219 for k in range(5)], abs=0.01)


def test_a_licence_guard_holds_for_mattes_too(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 1)
    with pytest.raises(vmatte.VmatteError, match=r"refuses rmbg-2\.0: its licence is CC BY-NC 4\.0"):
        vmatte.matte(clip, model="rmbg-2.0", licence_guard="commercial")


# Damage


@pytest.fixture
def talk(tmp_path: Path, run_ffmpeg: Tool) -> Callable[..., Path]:
    """Makes a clip with a tone: thirty frames that all differ, each of them noise, so that its packet has a size."""

    def make(name: str, *options: object) -> Path:
        picture = "testsrc2=s=160x120:r=25:d=1.2,noise=alls=20:allf=t:all_seed=1"
        sound = "sine=d=1.2:r=48000"
        made = tmp_path / name
        run_ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-pix_fmt", "yuv420p", *options, made)
        return made

    return make


INTRA = ("-c:v", "libx264", "-g", 1)
NO_B = ("-c:v", "libx264", "-bf", 0, "-g", 12)
B_FRAMES = ("-c:v", "libx264", "-bf", 2, "-g", 250)


def packets_of(path: Path) -> list[tuple[int, int, Fraction]]:
    """(place in the file, bytes, seconds) of each picture, in decoding order."""
    content = path.read_bytes()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [packet for packet in container.demux(stream) if packet.size]
        # Matroska's `pos` is that of the block round the picture.
        places = [content.index(bytes(packet), packet.pos) for packet in found]
        return [
            (place, packet.size, packet.pts * stream.time_base) for place, packet in zip(places, found, strict=True)
        ]


@pytest.mark.parametrize("kept", [1, 2, 13, 29])
@pytest.mark.parametrize("codec", [INTRA, NO_B, B_FRAMES], ids=["intra", "no-b", "b-frames"])
@pytest.mark.parametrize("name", ["talk.mp4", "talk.mov"])
def test_a_clip_that_was_cut_off_gives_its_intact_frames_and_says_how_many_are_lost(
    name: str,
    codec: tuple[object, ...],
    kept: int,
    talk: Callable[..., Path],
    tmp_path: Path,
    vmatte_command: Callable[..., Ended],
    look: Look,
) -> None:
    clip = talk(name, *codec, "-an", "-movflags", "faststart")
    packets = packets_of(clip)
    place, size, _ = packets[kept]
    # Through the middle of a frame's bytes: those before it are whole.
    os.truncate(clip, place + size // 2)
    ended = vmatte_command("run", clip, "--bg", "navy", "-o", tmp_path / "out.mp4", "-q", "--model", "luma-key")
    assert ended.code == 3
    assert f"{30 - kept} of its 30 frames could not be decoded" in ended.err
    assert f"the {kept} intact ones are in {tmp_path / 'out.mp4'}" in ended.err
    assert ended.err.count("\n") == 1
    assert look(tmp_path / "out.mp4").times == sorted(time for _, _, time in packets[:kept])


@pytest.mark.parametrize("kept", [1, 13, 29])
def test_a_matroska_that_was_cut_off_says_how_many_are_lost(
    kept: int,
    talk: Callable[..., Path],
    tmp_path: Path,
    vmatte_command: Callable[..., Ended],
    look: Look,
) -> None:
    clip = talk("talk.mkv", *NO_B, "-c:a", "aac")
    place, size, _ = packets_of(clip)[kept]
    os.truncate(clip, place + size // 2)
    ended = vmatte_command("run", clip, "--bg=navy", "-o", tmp_path / "out.mp4", "-q", "--json", "--model=luma-key")
    assert ended.code == 3
    assert f"{30 - kept} of its 30 frames could not be decoded" in ended.err
    report = json.loads(ended.out)
    assert (report["frames"], report["lost"]) == (kept, 30 - kept)
    assert len(look(tmp_path / "out.mp4").times) == kept


def test_a_clip_that_was_cut_off_before_its_sound_began_gives_its_picture(
    talk: Callable[..., Path], tmp_path: Path, look: Look
) -> None:
    clip = talk("talk.mp4", *B_FRAMES, "-c:a", "aac", "-movflags", "faststart")
    with av.open(str(clip)) as container:
        sound_from = min(packet.pos for packet in container.demux(audio=0) if packet.size)
    place, size, _ = packets_of(clip)[1]
    os.truncate(clip, place + size // 2)
    assert place + size // 2 < sound_from
    report = vmatte.run(clip, background="navy", output=tmp_path / "out.mp4", **LUMA_KEY)
    assert (report.frames, report.lost) == (1, 29)
    assert look(tmp_path / "out.mp4").audio == []


def test_a_track_without_sound_is_no_obstacle(tmp_path: Path, run_ffmpeg: Tool, look: Look) -> None:
    silence = ("-f", "lavfi", "-i", "sine=d=0.4:r=48000", "-af", "atrim=end_sample=0", "-c:a", "pcm_s16le")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", *silence, tmp_path / "clip.mkv")
    for name in ("out.mp4", "out.mov", "out.webm"):
        vmatte.run(tmp_path / "clip.mkv", background="navy", output=tmp_path / name, **LUMA_KEY)
        assert len(look(tmp_path / name).times) == 10


def test_a_cut_off_clip_becomes_the_pictures_that_it_has(talk: Callable[..., Path], tmp_path: Path) -> None:
    clip = talk("talk.mp4", *INTRA, "-movflags", "faststart")
    os.truncate(clip, packets_of(clip)[7][0] + 10)
    report = vmatte.run(clip, output=tmp_path / "out", encoding="png", **LUMA_KEY)
    assert (report.frames, report.lost) == (7, 23)
    assert entries(tmp_path / "out") == {f"{number:06d}.png" for number in range(7)}


def overwrite(clip: Path, place: int, content: bytes) -> None:
    with clip.open("r+b") as file:
        file.seek(place)
        file.write(content)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("damage", ["zeros", "noise"])
def test_destroyed_frames_in_the_middle_are_left_out_and_all_else_keeps_its_time(
    damage: str, suffix: str, talk: Callable[..., Path], tmp_path: Path, run_ffmpeg: Tool, look: Look
) -> None:
    codec = ("-c:v", "libvpx-vp9", "-g", 1, "-c:a", "libopus") if suffix == ".webm" else (*INTRA, "-c:a", "aac")
    clip = talk(f"talk{suffix}", *codec)
    packets = packets_of(clip)
    noise = np.random.default_rng(1)
    sound_before = run_ffmpeg("-i", clip, "-map", "0:a", "-c", "copy", "-f", "md5", "-")
    for number in (4, 5, 17):
        place, size, _ = packets[number]
        overwrite(clip, place, bytes(size) if damage == "zeros" else noise.bytes(size))
    output = tmp_path / ("out.webm" if suffix == ".webm" else "out.mp4")
    report = vmatte.run(clip, background="navy", output=output, **LUMA_KEY)
    assert (report.frames, report.lost) == (27, 3)
    due = [time for number, (_, _, time) in enumerate(packets) if number not in (4, 5, 17)]
    tick = Fraction(1, 1000) if suffix in (".webm", ".mkv") else 0
    seen = look(output)
    assert max(abs(found - time) for found, time in zip(seen.times, due, strict=True)) <= tick
    assert run_ffmpeg("-i", output, "-map", "0:a", "-c", "copy", "-f", "md5", "-") == sound_before


def test_frames_with_flipped_bytes_are_not_passed_off_as_intact(
    talk: Callable[..., Path], tmp_path: Path, look: Look
) -> None:
    clip = talk("talk.mp4", *INTRA, "-c:a", "aac")
    packets = packets_of(clip)
    for number in (4, 17):
        place, size, _ = packets[number]
        # Inside the picture's own data, behind all headers: the decoder notices, and fills the hole with a guess.
        overwrite(clip, place + size // 2, np.random.default_rng(number).bytes(size // 4))
    report = vmatte.run(clip, background="navy", output=tmp_path / "out.mp4", **LUMA_KEY)
    assert (report.frames, report.lost) == (28, 2)
    assert look(tmp_path / "out.mp4").times == [time for n, (_, _, time) in enumerate(packets) if n not in (4, 17)]


def test_a_clip_whose_every_frame_is_destroyed_is_an_error(
    talk: Callable[..., Path], tmp_path: Path, vmatte_command: Callable[..., Ended]
) -> None:
    clip = talk("talk.mp4", *INTRA, "-an")
    for place, size, _ in packets_of(clip):
        overwrite(clip, place, bytes(size))
    ended = vmatte_command("run", clip, "--bg", "navy", "-o", tmp_path / "out.mp4", "-q", "--model", "luma-key")
    assert ended.code == 2
    assert "no frame of it can be decoded" in ended.err
    assert ended.err.count("\n") == 1
    assert entries(tmp_path) == {"talk.mp4"}


def test_a_damaged_plate_shows_its_last_intact_frame(tmp_path: Path) -> None:
    grey = [clips.flat((24 + 8 * k, 128, 128), 64, 48) for k in range(6)]
    plate = clips.write_clip(tmp_path / "plate.mp4", grey, options={"qp": "0", "preset": "ultrafast", "g": "1"})
    place, size, _ = packets_of(plate)[3]
    overwrite(plate, place, bytes(size))
    clip = clips.black_clip(tmp_path / "clip.mp4", 6)
    report = vmatte.run(clip, background=plate, output=tmp_path / "out", encoding="png", **LUMA_KEY)
    levels = [float(picture_at(path).mean()) for path in sorted(report.output.iterdir())]
    assert np.abs(np.array(levels) - (8 + 8 * np.array([0, 1, 2, 2, 4, 5])) * 255 / 219).max() <= 1


# Publishing


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.write_clip(tmp_path / "clip.mp4", [clips.flat((40 + 20 * k, 128, 128), 64, 48) for k in range(6)])


def at_the_end(change: Callable[[], object]) -> Callable[..., None]:
    """Progress that makes the change once, when the last frame has been asked for."""

    def on_frames(done: int, total: int, *_: object) -> None:
        if done == total:
            change()

    return on_frames


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_a_file_that_turned_up_during_the_render_is_not_overwritten(name: str, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / name

    def turn_up() -> None:
        if name == "out":
            output.mkdir()
        (output / "mine.txt" if name == "out" else output).write_text("precious")

    options = {"encoding": "png"} if name == "out" else {"background": "navy"}
    with pytest.raises(vmatte.VmatteError, match="out"):
        vmatte.run(clip, output=output, on_frames=at_the_end(turn_up), **options, **LUMA_KEY)
    assert (output / "mine.txt" if name == "out" else output).read_text() == "precious"
    assert entries(tmp_path) == {"clip.mp4", name, f".{name}.vmatte"}  # what is finished waits for a -y


def test_a_folder_that_went_away_during_the_render_is_an_error(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(vmatte.VmatteError, match="folder"):
        vmatte.run(
            clip,
            background="navy",
            output=folder / "out.mp4",
            on_frames=at_the_end(lambda: shutil.rmtree(folder)),
            **LUMA_KEY,
        )


def test_a_clip_that_went_away_during_the_render_is_an_error(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(vmatte.VmatteError, match=r"clip\.mp4"):
        vmatte.run(clip, background="navy", output=tmp_path / "out.mp4", on_frames=at_the_end(clip.unlink), **LUMA_KEY)
    assert entries(tmp_path) == set()  # its only segment was not finished


def test_overwriting_pictures_leaves_none_of_the_old_ones(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000099.png").write_text("old")
    vmatte.run(clip, output=tmp_path / "out", encoding="png", overwrite=True, **LUMA_KEY)
    assert entries(tmp_path) == {"clip.mp4", "out"}
    assert entries(tmp_path / "out") == {f"{number:06d}.png" for number in range(6)}


def test_a_failed_render_leaves_the_old_output_alone(tmp_path: Path, talk: Callable[..., Path]) -> None:
    (tmp_path / "out.mp4").write_text("the render before")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "plate.png")
    os.truncate(tmp_path / "plate.png", 4000)
    with pytest.raises(vmatte.VmatteError):
        vmatte.run(
            talk("talk.mp4"), background=tmp_path / "plate.png", output=tmp_path / "out.mp4", overwrite=True, **LUMA_KEY
        )
    assert (tmp_path / "out.mp4").read_text() == "the render before"
    assert entries(tmp_path) == {"out.mp4", "plate.png", "talk.mp4"}


def test_two_renders_to_one_output_leave_one_whole_file(clip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vmatte", "run", clip, "-o", tmp_path / "out.mp4", "--json", "--model", "luma-key"]
    both = [
        subprocess.Popen([*command, "--bg", color], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for color in ("navy", "white")
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert {code for _, _, code in ended} <= {0, 2}
    hashes = {json.loads(out)["sha256"] for out, _, code in ended if code == 0}
    assert hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest() in hashes
    assert len(hashes) == 1, "without -y the second one must not replace what the first one made"
    assert entries(tmp_path) == {"clip.mp4", "out.mp4"}


# Clips of every kind


def times_match(seen: Sequence[Fraction], due: Sequence[Fraction], tick: Fraction | int = 0) -> None:
    assert len(seen) == len(due)
    assert max(abs(found - time) for found, time in zip(seen, due, strict=True)) <= tick


@pytest.mark.parametrize("size", [(2, 2), (16, 8), (1, 1), (3, 5), (33, 17), (2, 270), (1920, 2)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("out.mp4", {"background": "blur"}),
        ("out.mov", {}),
        ("out.webm", {}),
        ("out.webm", {"background": "navy"}),
        ("out", {"encoding": "png"}),
    ],
    ids=["mp4", "mov", "webm-alpha", "webm", "png"],
)
def test_a_clip_may_be_tiny_or_narrow(
    name: str, options: dict[str, str], size: tuple[int, int], tmp_path: Path, look: Look
) -> None:
    width, height = size
    frames = [clips.flat((100 + k, 128, 128), width, height) for k in range(2)]
    clip = clips.write_clip(tmp_path / "clip.mkv", frames, codec="ffv1")
    report = vmatte.run(clip, output=tmp_path / name, **options, **LUMA_KEY)
    if name == "out":
        assert [picture_at(path).shape for path in sorted(report.output.iterdir())] == [(height, width, 4)] * 2
        return
    seen = look(report.output)
    assert len(seen.times) == 2
    whole = (width + width % 2, height + height % 2) if name == "out.mp4" else size
    assert (seen.video["width"], seen.video["height"]) == whole


def test_a_single_frame_is_a_clip(tmp_path: Path, run_ffmpeg: Tool, look: Look) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 1)
    vmatte.run(clip, background="#808080", output=tmp_path / "out.mp4", **LUMA_KEY)
    assert look(tmp_path / "out.mp4").times == [0]
    (luma,) = shown_lumas(tmp_path / "out.mp4", run_ffmpeg)
    assert abs(luma - (16 + 219 * 128 / 255)) <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp"])
def test_a_picture_is_a_clip_of_one_frame(suffix: str, tmp_path: Path) -> None:
    level = 180
    Image.new("RGB", (64, 48), (level,) * 3).save(tmp_path / f"picture{suffix}")
    report = vmatte.run(tmp_path / f"picture{suffix}", output=tmp_path / "out", encoding="png", **LUMA_KEY)
    assert report.frames == 1
    rgba = picture_at(tmp_path / "out" / "000000.png").astype(int)
    assert np.abs(rgba - level).max() <= 1


def test_a_gif_is_a_clip(tmp_path: Path) -> None:
    grey = [Image.new("L", (64, 48), 40 + 50 * k) for k in range(4)]
    grey[0].save(tmp_path / "clip.gif", save_all=True, append_images=grey[1:], duration=[40, 80, 120, 40])
    matted = list(vmatte.matte(tmp_path / "clip.gif", **LUMA_KEY))
    assert [frame.pts * frame.time_base for frame in matted] == [Fraction(t, 100) for t in (0, 4, 12, 24)]
    for k, frame in enumerate(matted):
        assert float((frame.alpha - (40 + 50 * k) / 255).abs().max()) <= 1 / 255


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("coding", [clips.BT709_LIMITED, clips.BT601_FULL], ids=["709", "601-full"])
def test_a_clip_of_any_depth_keeps_its_colours(coding: tuple[int, int], bits: int, tmp_path: Path) -> None:
    rgb = (200, 90, 40)
    dtype, pix_fmt = ("u1", "yuv444p") if bits == 8 else ("<u2", f"yuv444p{bits}le")
    frame = clips.flat(clips.codes_of(rgb, coding=coding, bits=bits), 64, 48, dtype=dtype)
    clip = clips.write_clip(tmp_path / "clip.mkv", [frame], codec="ffv1", pix_fmt=pix_fmt, coding=coding)
    (matted,) = vmatte.matte(clip, **LUMA_KEY)
    for plane, value in zip(matted.rgb, rgb, strict=True):
        assert float((plane - value / 255).abs().max()) <= 2 / 255
    vmatte.run(clip, output=tmp_path / "cutout", encoding="png", **LUMA_KEY)
    rgba = picture_at(tmp_path / "cutout" / "000000.png").astype(float)
    alpha = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]
    assert np.abs(rgba - [*rgb, alpha]).max() <= 2
    vmatte.run(clip, background="black", output=tmp_path / "composite", encoding="png", blend="display", **LUMA_KEY)
    over_black = picture_at(tmp_path / "composite" / "000000.png").astype(float)
    assert np.abs(over_black - np.array(rgb) * alpha / 255).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_clip_keeps_its_level(bits: int, tmp_path: Path, run_ffmpeg: Tool) -> None:
    pix_fmt = "gray" if bits == 8 else "gray16le"
    picture = "color=0x808080:s=64x48:d=0.04"
    run_ffmpeg("-f", "lavfi", "-i", picture, "-pix_fmt", pix_fmt, "-c:v", "ffv1", tmp_path / "clip.mkv")
    (matted,) = vmatte.matte(tmp_path / "clip.mkv", **LUMA_KEY)
    assert float((matted.rgb - 128 / 255).abs().max()) <= 2 / 255
    vmatte.run(tmp_path / "clip.mkv", output=tmp_path / "out", encoding="png", **LUMA_KEY)
    rgba = picture_at(tmp_path / "out" / "000000.png").astype(float)
    assert np.abs(rgba - 128).max() <= 2


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("clip.mov", "prores_ks", "yuva444p10le"), ("clip.mov", "qtrle", "argb"), ("clip.webm", "libvpx-vp9", "yuva420p")],
)
def test_a_clips_own_alpha_is_multiplied_or_ignored(
    name: str, codec: str, pix_fmt: str, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    picture = "color=0xb0b0b0:s=64x48:r=25:d=0.2,format=rgba,colorchannelmixer=aa=0.5"
    # ProRes 4444 needs its profile named to keep the alpha.
    options = ("-profile:v", "4444") if codec == "prores_ks" else ()
    run_ffmpeg("-f", "lavfi", "-i", picture, "-c:v", codec, "-pix_fmt", pix_fmt, *options, tmp_path / name)
    for own_alpha, share in (("ignore", 1.0), ("multiply", 0.5)):
        output = tmp_path / own_alpha
        vmatte.run(tmp_path / name, output=output, encoding="png", own_alpha=own_alpha, **LUMA_KEY)
        assert len(entries(output)) == 5
        rgba = picture_at(output / "000000.png").astype(float)
        assert np.abs(rgba[..., :3] - 0xB0).max() <= 3
        assert np.abs(rgba[..., 3] - share * 0xB0).max() <= 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
@pytest.mark.parametrize("offset", [100, 90_000])
def test_a_late_clock_keeps_picture_and_sound_together(
    offset: int, suffix: str, tmp_path: Path, run_ffmpeg: Tool, look: Look
) -> None:
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4:r=48000")
    clip = tmp_path / f"clip{suffix}"
    run_ffmpeg(*inputs, "-pix_fmt", "yuv420p", "-bf", 0, "-c:a", "aac", "-output_ts_offset", offset, clip)
    vmatte.run(clip, background="navy", output=tmp_path / "out.mp4", **LUMA_KEY)
    source, made = look(clip), look(tmp_path / "out.mp4")
    times_match(made.times, [time - source.times[0] + made.times[0] for time in source.times], Fraction(1, 1000))
    apart = (source.audio_times[0] - source.times[0]) - (made.audio_times[0] - made.times[0])
    assert abs(apart) <= Fraction(1, 500)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_before_zero_keep_their_steps(suffix: str, tmp_path: Path, run_ffmpeg: Tool, look: Look) -> None:
    clip = tmp_path / f"clip{suffix}"
    shifted = ("-output_ts_offset", -0.2, "-avoid_negative_ts", "disabled")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-pix_fmt", "yuv420p", "-bf", 0, *shifted, clip)
    report = vmatte.run(clip, background="navy", output=tmp_path / "out.mp4", **LUMA_KEY)
    source, made = look(clip), look(tmp_path / "out.mp4")
    assert report.frames == len(source.times)
    times_match(made.times, [time - source.times[0] + made.times[0] for time in source.times], Fraction(1, 1000))


@pytest.mark.parametrize(
    ("clip_name", "sound", "output"),
    [
        ("clip.mp4", "aac", "out.mp4"),
        ("clip.mov", "pcm_s16le", "out.mp4"),
        ("clip.mov", "pcm_s16le", "out.mov"),
        ("clip.mp4", "aac", "out.webm"),
    ],
)
def test_a_blip_of_sound_is_kept(
    clip_name: str, sound: str, output: str, tmp_path: Path, run_ffmpeg: Tool, look: Look
) -> None:
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.01:r=48000")
    run_ffmpeg(*inputs, "-pix_fmt", "yuv420p", "-c:a", sound, tmp_path / clip_name)
    vmatte.run(tmp_path / clip_name, background="navy", output=tmp_path / output, **LUMA_KEY)
    seen = look(tmp_path / output)
    assert len(seen.times) == 10
    assert len(seen.audio) == 1
    assert seen.audio_times


@pytest.mark.parametrize("suffix", [".h264", ".mpg", ".avi", ".flv", ".mxf"])
def test_other_containers_lose_no_frame(suffix: str, tmp_path: Path, run_ffmpeg: Tool, look: Look) -> None:
    clip = tmp_path / f"clip{suffix}"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.8", "-pix_fmt", "yuv420p", clip)
    report = vmatte.run(clip, background="navy", output=tmp_path / "out.mp4", **LUMA_KEY)
    assert (report.frames, report.lost) == (20, 0)
    due = [Fraction(number, 25) for number in range(20)]
    made = look(tmp_path / "out.mp4").times
    times_match([time - made[0] for time in made], due, Fraction(1, 1000))


# The library


def flat_patches() -> tuple[clips.Frame, NDArray[np.uint8]]:
    """A frame of 16 x 16 patches, and their colours (3, 4, 3)."""
    colours = np.random.default_rng(3).integers(20, 235, (3, 4, 3), np.uint8)
    planes = [np.zeros((48, 64), "u1") for _ in range(3)]
    for row in range(3):
        for column in range(4):
            for plane, code in zip(planes, clips.codes_of(colours[row, column].tolist()), strict=True):
                plane[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = code
    return (planes[0], planes[1][::2, ::2].copy(), planes[2][::2, ::2].copy()), colours


def test_matte_yields_every_frame_with_its_time(tmp_path: Path, run_ffmpeg: Tool, look: Look) -> None:
    frame, _ = flat_patches()
    ticks = [0, 40, 100, 220, 260]
    clip = clips.write_clip(
        tmp_path / "clip.mp4", [frame] * 5, pix_fmt="yuv420p", pts=ticks, time_base=Fraction(1, 1000)
    )
    matted = list(vmatte.matte(str(clip), **LUMA_KEY))
    assert [item.pts * item.time_base for item in matted] == look(clip).times
    convert = "scale=in_color_matrix=bt709:in_range=tv:flags=accurate_rnd+full_chroma_int"
    raw = run_ffmpeg("-i", clip, "-vsync", 0, "-vf", convert, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    by_ffmpeg = np.frombuffer(raw, "u1").reshape(5, 48, 64, 3).transpose(0, 3, 1, 2) / 255
    for item, decoded in zip(matted, by_ffmpeg, strict=True):
        assert (str(item.rgb.dtype), tuple(item.rgb.shape)) == ("torch.float32", (3, 48, 64))
        assert (str(item.alpha.dtype), tuple(item.alpha.shape)) == ("torch.float32", (1, 48, 64))
        rgb, alpha = item.rgb.numpy(), item.alpha.numpy()
        assert rgb.min() >= 0
        assert rgb.max() <= 1
        for top in (0, 16, 32):
            for left in (0, 16, 32, 48):
                middle = (slice(None), slice(top + 5, top + 11), slice(left + 5, left + 11))
                assert np.abs(rgb[middle] - decoded[middle]).max() <= 2 / 255
        luma = np.tensordot([0.2126, 0.7152, 0.0722], rgb, axes=1)
        assert np.abs(alpha[0] - luma).max() < 1e-5


def test_mattes_come_while_the_clip_is_read_and_leaving_early_ends_all_threads(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 200)
    before = set(threading.enumerate())
    matted = vmatte.matte(clip, **LUMA_KEY)
    assert next(matted).pts == 0
    assert set(threading.enumerate()) - before, "decoding has a thread of its own"
    matted.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) == before


def test_a_loop_that_is_left_ends_all_threads(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 200)
    before = set(threading.enumerate())
    for number, _ in enumerate(vmatte.matte(clip, **LUMA_KEY)):
        if number == 3:
            break
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("background", [None, "plate"])
def test_a_render_that_fails_in_its_middle_ends_all_threads(background: str | None, tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 60)
    plate = clips.black_clip(tmp_path / "plate.mp4", 40)
    before = set(threading.enumerate())

    def fail(done: int, *_: object) -> None:
        if done == 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        vmatte.run(clip, background=background and plate, output=tmp_path / "out.webm", on_frames=fail, **LUMA_KEY)
    assert set(threading.enumerate()) == before
    assert entries(tmp_path) == {"clip.mp4", "plate.mp4"}


def test_run_reports_what_it_made(tmp_path: Path, look: Look) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 7)
    told: list[tuple[int, int]] = []
    started = time.perf_counter()
    report = vmatte.run(
        str(clip),
        background="navy",
        output=str(tmp_path / "out.mp4"),
        on_frames=lambda done, total, _: told.append((done, total)),
        **LUMA_KEY,
    )
    assert report.seconds <= time.perf_counter() - started
    assert report.output == tmp_path / "out.mp4"
    assert (report.frames, report.lost) == (len(look(report.output).times), 0) == (7, 0)
    assert report.sha256 == hashlib.sha256(report.output.read_bytes()).hexdigest()
    assert report.fps == report.frames / report.seconds
    assert (report.model, report.licence) == ("luma-key", "none needed")
    assert told == [(number, 7) for number in range(1, 8)]


def test_equal_jobs_make_equal_files(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 7)
    for name, options in (("out.mp4", {"background": "navy"}), ("out.mov", {}), ("out.webm", {})):
        first, second = (
            vmatte.run(clip, output=tmp_path / f"{turn}{name}", **options, **LUMA_KEY) for turn in range(2)
        )
        assert first.sha256 == second.sha256


def test_importing_vmatte_imports_no_torch() -> None:
    code = "import sys, vmatte; print([name for name in ('torch', 'av', 'cv2', 'numpy') if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    for name in vmatte.__all__:
        assert getattr(vmatte, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        vmatte.nonsense  # noqa: B018


def peak_megabytes(clip: Path, folder: Path, *options: str) -> float:
    """Peak resident memory of a render in a process of its own."""
    command = [sys.executable, "-m", "vmatte", "run", clip, *options, "-q", "--model", "luma-key"]
    process = subprocess.Popen(command, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--bg", "navy", "-o", "{}.mp4"), ("-o", "{}.mov")], ids=["composite", "cutout"])
def test_memory_does_not_grow_with_the_clip(options: tuple[str, ...], tmp_path: Path, run_ffmpeg: Tool) -> None:
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=10", "-f", "lavfi", "-i", "sine=d=10")
    run_ffmpeg(*inputs, "-pix_fmt", "yuv420p", tmp_path / "short.mp4")
    run_ffmpeg("-stream_loop", 5, "-i", tmp_path / "short.mp4", "-c", "copy", tmp_path / "long.mp4")
    short, long = (
        peak_megabytes(tmp_path / f"{name}.mp4", tmp_path, *(option.format(f"out-{name}") for option in options))
        for name in ("short", "long")
    )
    assert long <= short * 1.05


# Networks that remember


def use(monkeypatch: pytest.MonkeyPatch, network: MattingModel) -> None:
    """Let a test's own network be what a job's model is."""
    monkeypatch.setattr("vmatte.render.build_model", lambda *_: network)
    monkeypatch.setitem(MODELS, "luma-key", network.spec)


class FadingLuma:
    """Alpha is the mean luma of this frame and the two before it."""

    def __init__(self, warm_up: int | None) -> None:
        self.key = load_model("luma-key")
        self.spec, self.device = dataclasses.replace(self.key.spec, warm_up=warm_up), self.key.device

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        lumas = self.key.predict(rgb).alpha.split(1)
        past = [*(state or [torch.zeros_like(lumas[0])] * 2), *lumas]
        alphas = [torch.cat(past[number : number + 3]).mean(0, keepdim=True) for number in range(len(lumas))]
        return Prediction(torch.cat(alphas), state=tuple(past[-2:]))


def flickering_clip(path: Path) -> Path:
    lumas = [40, 235, 90, 16, 200, 120, 235, 60, 16, 180]
    return clips.write_clip(path, [clips.flat((luma, 128, 128), 64, 48) for luma in lumas])


@pytest.mark.parametrize("length", [1, 3, 4])
def test_segments_of_a_network_with_a_short_memory_are_those_of_the_whole(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FadingLuma(warm_up=2))
    clip = flickering_clip(tmp_path / "clip.mp4")
    for name, frames in (("whole", None), ("cut", length)):
        job = make_job(clip, output=tmp_path / name, encoding="png", segment_frames=frames, **LUMA_KEY)
        vmatte.render_job(job, vmatte.Runtime())
    names = sorted(entries(tmp_path / "whole"))
    assert len(names) == 10
    for name in names:
        assert np.array_equal(picture_at(tmp_path / "cut" / name), picture_at(tmp_path / "whole" / name))
    alphas = [int(picture_at(tmp_path / "whole" / name)[24, 32, 3]) for name in names]
    # The first one: luma 40 is (40 − 16) / 219, and there was nothing before it: a third of that.
    assert alphas[0] == round(255 * 24 / 219 / 3)
    assert alphas[4] == pytest.approx(255 * (74 + 0 + 184) / 219 / 3, abs=0.51)


class Moody:
    """A network whose alpha is a soft disc that grows and shrinks with the mean luma of the frame."""

    def __init__(self) -> None:
        self.key = load_model("luma-key")
        self.spec, self.device = dataclasses.replace(self.key.spec, architecture="modnet"), self.key.device

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        luma = self.key.predict(rgb).alpha
        mood = (luma.mean(dim=(1, 2, 3), keepdim=True) * 997) % 1
        rows, columns = torch.meshgrid(torch.arange(rgb.shape[2]), torch.arange(rgb.shape[3]), indexing="ij")
        away = ((rows - 24.0).square() + (columns - 32.0).square()).sqrt()
        return Prediction((12 + 6 * mood - away).div(4).clamp(0, 1), state=state)


def grainy_clip(path: Path, frames: int = 20) -> Path:
    """Two shots; each stands but for its grain."""
    made = []
    for number in range(frames):
        scene = np.random.default_rng(number // 12).normal(size=(12, 16)).repeat(4, axis=0).repeat(4, axis=1)
        grain = np.random.default_rng(100 + number).normal(size=(48, 64))
        made.append(clips.gray((120 + 40 * scene + 2 * grain).clip(16, 235).round()))
    return clips.write_clip(path, made, codec="ffv1")


def alphas_in(folder: Path) -> NDArray[np.uint8]:
    return np.stack([picture_at(path)[..., 3] for path in sorted(folder.iterdir())])


@pytest.mark.parametrize("smooth", [None, "gaussian"])
@pytest.mark.parametrize("length", [1, 7, 48])
def test_segments_of_a_smoothed_clip_are_those_of_the_whole(
    length: int, smooth: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Moody())
    clip = grainy_clip(tmp_path / "clip.mkv")
    for name, frames in (("whole", None), ("cut", length)):
        job = make_job(clip, output=tmp_path / name, encoding="png", smooth=smooth, segment_frames=frames, **LUMA_KEY)
        vmatte.render_job(job, vmatte.Runtime())
    assert entries(tmp_path / "cut") == entries(tmp_path / "whole")
    for name in entries(tmp_path / "whole"):
        assert np.array_equal(picture_at(tmp_path / "cut" / name), picture_at(tmp_path / "whole" / name))


def test_a_matte_of_another_upsampling_is_another_matte(tmp_path: Path) -> None:
    clip = grainy_clip(tmp_path / "clip.mkv")
    plans = [
        plan_job(make_job(clip, output=tmp_path / "cut.mov", upsample=word, **LUMA_KEY), vmatte.Runtime())
        for word in ("guided", None, "bilinear")
    ]
    assert plans[0].matte_fingerprint == plans[1].matte_fingerprint != plans[2].matte_fingerprint


def test_a_network_is_smoothed_by_default_and_less_flickers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Moody())
    clip = grainy_clip(tmp_path / "clip.mkv")
    for smooth in (None, "motion", "off"):
        vmatte.run(clip, output=tmp_path / str(smooth), encoding="png", smooth=smooth, **LUMA_KEY)
    default, motion, off = (alphas_in(tmp_path / name).astype(int) for name in ("None", "motion", "off"))
    assert np.array_equal(default, motion)
    steps, steady = (np.abs(np.diff(alphas[:12], axis=0)).mean() for alphas in (off, motion))
    assert steady < 0.5 * steps


def test_a_key_is_not_smoothed_unless_asked(tmp_path: Path) -> None:
    """Luma 40 is (40 − 16) / 219 whatever its neighbours are."""
    clip = flickering_clip(tmp_path / "clip.mp4")
    for smooth in (None, "off", "gaussian"):
        vmatte.run(clip, output=tmp_path / str(smooth), encoding="png", smooth=smooth, **LUMA_KEY)
    default, off, gaussian = (alphas_in(tmp_path / name) for name in ("None", "off", "gaussian"))
    expected = [round(255 * min(max((luma - 16) / 219, 0), 1)) for luma in (40, 235, 90, 16, 200)]
    assert default[:5, 24, 32].tolist() == pytest.approx(expected, abs=1)
    assert np.array_equal(default, off)
    assert not np.array_equal(gaussian, off)


def test_mattes_are_smoothed_as_a_render_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Moody())
    clip = grainy_clip(tmp_path / "clip.mkv")
    for smooth in (None, "off", "gaussian"):
        vmatte.run(clip, output=tmp_path / str(smooth), encoding="png", smooth=smooth, **LUMA_KEY)
        mattes = torch.stack([one.alpha[0] for one in vmatte.matte(clip, smooth=smooth, **LUMA_KEY)])
        rendered = alphas_in(tmp_path / str(smooth)) / 255
        np.testing.assert_allclose(mattes.numpy(), rendered, atol=0.51 / 255 + 1e-5)


def test_a_network_that_never_forgets_sees_all_frames_before_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FadingLuma(warm_up=None))
    clip = flickering_clip(tmp_path / "clip.mp4")
    for name, frames in (("whole", None), ("cut", 2)):
        job = make_job(clip, output=tmp_path / f"{name}.mov", segment_frames=frames, **LUMA_KEY)
        vmatte.render_job(job, vmatte.Runtime())
    assert (tmp_path / "cut.mov").read_bytes() == (tmp_path / "whole.mov").read_bytes()


# A network


def test_a_network_of_ones_own_renders_and_its_licence_is_not_vouched_for(tmp_path: Path) -> None:
    clip = flickering_clip(tmp_path / "clip.mp4")
    own = write_mean_of_channels(tmp_path / "own.onnx")
    report = vmatte.run(clip, output=tmp_path / "out", encoding="png", model="onnx:isnet", weights=own)
    assert (report.model, report.licence) == ("onnx:isnet", "unknown: weights of your own")
    assert report.weights_sha256 == hashlib.sha256(own.read_bytes()).hexdigest()
    alphas = [int(picture_at(tmp_path / "out" / f"{number:06d}.png")[24, 32, 3]) for number in (0, 4)]
    assert alphas == [0, round(255 * (184 / 219 - 0.5))]


def test_a_style_without_a_file_is_a_mistake(tmp_path: Path) -> None:
    clip = flickering_clip(tmp_path / "clip.mp4")
    with pytest.raises(vmatte.VmatteError, match="onnx:isnet runs a file of your own: name it with `--weights"):
        vmatte.run(clip, output=tmp_path / "out.mov", model="onnx:isnet")
    assert entries(tmp_path) == {"clip.mp4"}


@pytest.mark.weights
def test_rvm_renders_the_same_whether_segments_are_asked_for_or_not(tmp_path: Path, run_ffmpeg: Tool) -> None:
    run_ffmpeg("-i", SAMPLES / "avatar.mp4", "-frames:v", 6, "-c", "copy", "-an", tmp_path / "clip.mp4")
    made = []
    for frames, batch in ((None, 1), (2, 1), (None, 4)):
        output = tmp_path / f"out{len(made)}"
        job = make_job(tmp_path / "clip.mp4", output=output, encoding="png", model="rvm", segment_frames=frames)
        report = vmatte.render_job(job, vmatte.Runtime(batch=batch, cache=False))
        made.append(report.sha256)
        assert (report.frames, report.licence) == (6, "GPL-3.0")
    assert len(set(made)) == 1


@pytest.mark.weights
def test_modnet_puts_the_sample_avatar_into_the_sample_studio(tmp_path: Path, run_ffmpeg: Tool) -> None:
    run_ffmpeg("-i", SAMPLES / "avatar.mp4", "-frames:v", 3, "-c", "copy", "-an", tmp_path / "clip.mp4")
    alphas = [frame.alpha[0].numpy() for frame in vmatte.matte(tmp_path / "clip.mp4", model="modnet")]
    assert len(alphas) == 3
    for alpha in alphas:
        height, width = alpha.shape
        assert 0.15 < alpha.mean() < 0.6
        assert alpha[height // 2, width // 2] > 0.95
        assert max(alpha[0, 0], alpha[0, -1]) < 0.05
        # A matte is nearly all subject or background; between lies only an edge.
        assert ((alpha > 0.05) & (alpha < 0.95)).mean() < 0.1
    report = vmatte.run(
        tmp_path / "clip.mp4",
        background=SAMPLES / "studio.png",
        output=tmp_path / "out",
        encoding="png",
        model="modnet",
    )
    assert report.frames == 3
    composite = picture_at(tmp_path / "out" / "000000.png").astype(float)
    studio = picture_at(SAMPLES / "studio.png").astype(float)
    for corner in ((slice(0, 64), slice(0, 64)), (slice(0, 64), slice(-64, None))):
        assert np.abs(composite[corner].mean((0, 1)) - studio[corner].mean((0, 1))).max() <= 3
    decode = ("-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24")
    convert = ("-vf", "scale=in_color_matrix=bt709:flags=accurate_rnd+full_chroma_int")
    raw = run_ffmpeg("-i", tmp_path / "clip.mp4", *convert, *decode, "-")
    original = np.frombuffer(raw, "u1").reshape(composite.shape).astype(float)
    sure = alphas[0] > 0.995
    # Where alpha is one the person is the clip's own; chroma's two ways up from half size differ a little.
    assert np.abs(composite - original)[sure].mean() <= 2
    assert math.isclose(sure.mean(), alphas[0].mean(), abs_tol=0.1)


class Greedy:
    """A network that has memory for so many frames at once, and no more."""

    def __init__(self, room: int) -> None:
        self.network = load_model("luma-key", device="cpu")
        self.spec, self.device, self.room = self.network.spec, self.network.device, room
        self.batches: list[int] = []

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        self.batches.append(len(rgb))
        if len(rgb) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network.predict(rgb, state)


def test_a_gpu_that_runs_out_of_memory_goes_on_with_half_the_batch(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = {}
    for room, taken in ((8, 6), (2, 1)):  # the clip has six frames
        network = Greedy(room)
        monkeypatch.setattr("vmatte.render.build_model", lambda *_, network=network: network)
        job = make_job(clip, output=tmp_path / f"room{room}", encoding="png", model="luma-key")
        made[room] = vmatte.render_job(job, vmatte.Runtime(batch=8, device="cpu")).sha256
        assert max(size for size in network.batches if size <= room) == taken
    assert made[2] == made[8]
    assert [record.getMessage() for record in caplog.records if "memory" in record.getMessage()] == [
        "cpu ran out of memory with 6 frames at once; now 3",
        "cpu ran out of memory with 3 frames at once; now 1",
    ]


def test_a_network_too_large_for_one_frame_is_an_error_that_says_so(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.render.build_model", lambda *_: Greedy(0))
    job = make_job(clip, output=tmp_path / "out.mov", model="luma-key")
    with pytest.raises(vmatte.VmatteError, match=r"too little free memory for luma-key on frames 0–\d+, even one"):
        vmatte.render_job(job, vmatte.Runtime(batch=3, device="cpu"))
    assert not (tmp_path / "out.mov").exists()


def test_the_smaller_batch_is_kept_for_the_segments_that_follow(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Greedy(1)
    use(monkeypatch, network)
    job = make_job(clip, output=tmp_path / "out.mov", model="luma-key", segment_frames=2)
    vmatte.render_job(job, vmatte.Runtime(batch=2, device="cpu"))
    assert network.batches == [2] + [1] * 6


def test_a_batch_that_did_not_fit_is_gone_when_a_smaller_one_is_tried(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watching(Greedy):
        too_large: weakref.ref[Tensor]
        gone: bool

        def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
            if len(rgb) > self.room:
                self.too_large = weakref.ref(rgb)
            else:
                self.gone = self.too_large() is None
            return super().predict(rgb, state)

    network = Watching(2)
    use(monkeypatch, network)
    job = make_job(clip, background="navy", output=tmp_path / "out.mp4", model="luma-key")
    # What holds it may be no circle, which only the collector would find, and that one late.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    gc.disable()
    try:
        vmatte.render_job(job, vmatte.Runtime(batch=4, device="cpu"))
    finally:
        gc.enable()
    assert network.gone


def test_compiled_graphs_are_given_up_before_a_smaller_batch_is_tried(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._dynamo  # as if something had been compiled

    network = Greedy(3)
    seen_at_reset: list[list[int]] = []
    use(monkeypatch, network)
    monkeypatch.setattr(torch.compiler, "reset", lambda: seen_at_reset.append(list(network.batches)))
    job = make_job(clip, output=tmp_path / "out.mov", model="luma-key")
    vmatte.render_job(job, vmatte.Runtime(batch=6, device="cpu"))
    assert seen_at_reset == [[6]]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")],
    ids=["cuda", "cudnn"],
)
@pytest.mark.parametrize("step", ["build_model", "frames_at_once"])
def test_a_network_that_does_not_even_fit_by_itself_is_an_error_that_says_so(
    step: str, error: RuntimeError, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"vmatte.render.{step}", fail)
    message = rf"^{re.escape(str(clip))}: cpu has too little free memory for luma-key; .* choose a smaller model$"
    with pytest.raises(ModelError, match=message):
        vmatte.run(clip, output=tmp_path / "out.mov", device="cpu", **LUMA_KEY)
    with pytest.raises(ModelError, match=message):
        vmatte.matte(clip, device="cpu", **LUMA_KEY)
    assert entries(tmp_path) == {"clip.mp4"}


def test_mattes_that_run_out_of_memory_say_how_many_frames_were_too_many(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.render.build_model", lambda *_: Greedy(2))
    with pytest.raises(ModelError, match="too little free memory for luma-key with a batch of 3, a smaller one takes"):
        list(vmatte.matte(clip, batch=3, device="cpu", **LUMA_KEY))
    assert len(list(vmatte.matte(clip, batch=2, device="cpu", **LUMA_KEY))) == 6


def test_another_error_of_torchs_is_not_taken_for_a_lack_of_memory(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Greedy(8)
    monkeypatch.setattr(network, "predict", lambda rgb, _: rgb.view(-1, 7, 11))
    use(monkeypatch, network)
    with pytest.raises(RuntimeError, match="shape"):
        vmatte.run(clip, output=tmp_path / "out.mov", device="cpu", batch=2, **LUMA_KEY)


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("The operator 'aten::x' is not implemented for the MPS device.\nIf you want it, ask"),
        TypeError("Cannot convert a MPS Tensor to float64 dtype"),
    ],
    ids=["operator", "float64"],
)
def test_what_mps_cannot_do_is_an_error_that_names_the_cpu(
    error: Exception, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    network = Greedy(8)
    use(monkeypatch, network)
    monkeypatch.setattr("vmatte.render.layers", fail)
    reason = re.escape(str(error).splitlines()[0])
    for kind, raised, message in (
        ("mps", ModelError, rf"^{re.escape(str(clip))}: luma-key cannot run on mps: {reason}; use --device cpu$"),
        ("cpu", type(error), rf"^{reason}"),
    ):
        network.device = torch.device(kind)
        monkeypatch.setattr("vmatte.render.frames_device", lambda *_, device=network.device: device)
        with pytest.raises(raised, match=message):
            vmatte.run(clip, output=tmp_path / "out.mov", device="cpu", **LUMA_KEY)


@pytest.mark.parametrize(("row", "threads"), [("birefnet", 2), ("deeplabv3", 2), ("modnet", 1), ("luma-key", 1)])
def test_torch_has_its_threads_where_it_computes_the_network_on_a_cpu(
    row: str, threads: int, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(Greedy):
        def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
            seen.add(torch.get_num_threads())
            return super().predict(rgb, state)

    seen: set[int] = set()
    network = Counting(8)
    network.spec = dataclasses.replace(MODELS[row], input_size=network.spec.input_size)
    use(monkeypatch, network)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        vmatte.run(clip, output=tmp_path / "out.mov", device="cpu", **LUMA_KEY)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}


def test_a_word_that_is_none_is_refused_as_python_does(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour_match'"):
        vmatte.run("talk.mp4", output=tmp_path / "o.mov", colour_match=0.5)  # type: ignore[call-arg]
