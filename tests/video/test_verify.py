"""`verify` lets a good output pass and refuses each kind of bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from footage import BT709_TAGS, Sound, ffprobe, gray, write_clip

from vmatte.clip import ClipInfo
from vmatte.encodings import ENCODINGS
from vmatte.errors import EncodeError
from vmatte.render import run
from vmatte.video.probe import probe
from vmatte.video.sent import SentFiles, SentSegment
from vmatte.video.verify import verify

FRAMES = 12
SUFFIXES = {"mp4": ".mp4", "prores4444": ".mov", "webm": ".webm"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A clip, and outputs of it by encoding."""

    clip: ClipInfo
    outputs: dict[str, Path]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    folder = tmp_path_factory.mktemp("good")
    lumas = [np.full((64, 96), 40 + 10 * number, "u1") for number in range(FRAMES)]
    sound = [Sound(0.1 * np.sin(np.arange(20_000) / 9))]
    clip = write_clip(folder / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS, sound=sound)
    outputs = {name: folder / f"out{suffix}" for name, suffix in SUFFIXES.items()} | {"png": folder / "pictures"}
    for name, output in outputs.items():
        background = "navy" if name == "mp4" else None
        run(clip, background=background, output=output, encoding=name, model="luma-key")
    return Rendered(probe(clip), outputs)


def nothing_sent(written: range) -> list[SentSegment]:
    """Segments of which no codes were kept."""
    return [SentSegment(SentFiles(Path("none"), Path("none")), written, tuple(written), "sampled")]


def check(path: Path, rendered: Rendered, encoding: str, written: range = range(FRAMES)) -> None:
    clip = rendered.clip
    verify(path, clip, ENCODINGS[encoding], clip.delivery, nothing_sent(written), alpha=encoding != "mp4")


def remux(
    source: Path,
    target: Path,
    change: Callable[[Any, int], bool] | None = None,
    *,
    audio: bool = True,
    retag: Callable[[Any], None] | None = None,
) -> Path:
    """Copy a file packet by packet; `change` may move a picture's packet, and says whether it stays."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        outputs = {}
        for stream in [*read.streams.video, *(read.streams.audio if audio else [])]:
            output: Any = write.add_stream_from_template(stream)
            output.codec_context.codec_tag = stream.codec_context.codec_tag
            for key in stream.metadata:
                if key.lower() == "alpha_mode":
                    output.metadata["alpha_mode"] = stream.metadata[key]
            outputs[stream.index] = output
        if retag:
            retag(outputs[0])
        number = 0
        for packet in read.demux([read.streams[index] for index in outputs]):
            if packet.size == 0:
                continue
            if packet.stream.type == "video":
                number += 1
                if change and not change(packet, number - 1):
                    continue
            packet.stream = outputs[packet.stream.index]
            write.mux(packet)
    return target


@pytest.mark.parametrize("encoding", [*SUFFIXES, "png"])
def test_good_outputs_pass(encoding: str, rendered: Rendered) -> None:
    check(rendered.outputs[encoding], rendered, encoding)


@pytest.mark.parametrize("encoding", SUFFIXES)
def test_a_faithful_copy_passes(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    check(remux(rendered.outputs[encoding], tmp_path / f"copy{SUFFIXES[encoding]}"), rendered, encoding)


@pytest.mark.parametrize("encoding", SUFFIXES)
@pytest.mark.parametrize("missing", [4, FRAMES - 1])
def test_a_missing_frame_is_found(encoding: str, missing: int, rendered: Rendered, tmp_path: Path) -> None:
    bad = remux(rendered.outputs[encoding], tmp_path / f"bad{SUFFIXES[encoding]}", lambda _, number: number != missing)
    with pytest.raises(EncodeError, match=f"holds {FRAMES - 1} frames, {FRAMES} were written"):
        check(bad, rendered, encoding)


@pytest.mark.parametrize("encoding", SUFFIXES)
def test_a_frame_too_many_is_found(encoding: str, rendered: Rendered) -> None:
    with pytest.raises(EncodeError, match=f"holds {FRAMES} frames, {FRAMES - 2} were written"):
        check(rendered.outputs[encoding], rendered, encoding, range(FRAMES - 2))


@pytest.mark.parametrize("encoding", SUFFIXES)
def test_a_frame_at_the_wrong_time_is_found(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    def late(packet: Any, number: int) -> bool:
        if number == FRAMES - 1:
            packet.pts += round(Fraction(1, 100) / packet.time_base)
        return True

    with pytest.raises(EncodeError, match=r"10\.00 ms from where the source has it"):
        check(remux(rendered.outputs[encoding], tmp_path / f"bad{SUFFIXES[encoding]}", late), rendered, encoding)


@pytest.mark.parametrize("encoding", ["mp4", "prores4444"])
def test_a_picture_that_begins_late_is_found(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    def late(packet: Any, _: int) -> bool:
        packet.pts += round(Fraction(1, 25) / packet.time_base)
        packet.dts += round(Fraction(1, 25) / packet.time_base)
        return True

    with pytest.raises(EncodeError, match=r"40\.00 ms from where the source has it"):
        check(remux(rendered.outputs[encoding], tmp_path / f"bad{SUFFIXES[encoding]}", late), rendered, encoding)


@pytest.mark.parametrize("encoding", SUFFIXES)
def test_missing_sound_is_found(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    bad = remux(rendered.outputs[encoding], tmp_path / f"bad{SUFFIXES[encoding]}", audio=False)
    with pytest.raises(EncodeError, match="has 0 audio tracks, the clip has 1"):
        check(bad, rendered, encoding)


def opaque(rendered: Rendered, folder: Path, encoding: str) -> Path:
    """The same clip in the same container, over a plate: without alpha."""
    output = folder / f"opaque{SUFFIXES[encoding]}"
    run(rendered.clip.path, background="navy", output=output, model="luma-key")
    return output


@pytest.mark.parametrize("encoding", ["prores4444", "webm"])
def test_lost_alpha_is_found(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="lost its alpha"):
        check(opaque(rendered, tmp_path, encoding), rendered, encoding)


@pytest.mark.parametrize("encoding", ["prores4444", "webm"])
def test_alpha_that_nobody_asked_for_is_found(encoding: str, rendered: Rendered) -> None:
    clip, sent = rendered.clip, nothing_sent(range(FRAMES))
    with pytest.raises(EncodeError, match="an alpha that nobody asked for"):
        verify(rendered.outputs[encoding], clip, ENCODINGS[encoding], clip.delivery, sent, alpha=False)


def test_a_webm_that_does_not_say_it_has_alpha_is_refused(rendered: Rendered, tmp_path: Path) -> None:
    """The alpha is still in its packets, but Chromium shows the picture opaque."""

    def silence(stream: Any) -> None:
        stream.metadata.pop("alpha_mode", None)

    bad = remux(rendered.outputs["webm"], tmp_path / "bad.webm", retag=silence)
    streams = [ffprobe(path, "-show_streams")["streams"][0] for path in (rendered.outputs["webm"], bad)]
    assert ["alpha_mode" in str(stream["tags"]).lower() for stream in streams] == [True, False]
    with pytest.raises(EncodeError, match="alpha"):
        check(bad, rendered, "webm")


@pytest.mark.parametrize("encoding", ["mp4", "prores4444"])
def test_wrong_colour_tags_are_found(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    suffix, row = SUFFIXES[encoding], ENCODINGS[encoding]
    pix_fmt = row.pix_fmt if encoding == "mp4" else "yuv444p10le"
    lumas = [np.full((64, 96), 64, "u1" if pix_fmt == "yuv420p" else "<u2")] * FRAMES
    bad = write_clip(
        tmp_path / f"bad{suffix}",
        gray(lumas, pix_fmt),
        pix_fmt,
        codec=row.codec,
        options=row.codec_options,
        tags=(6, 6, 6, 1),
        sound=[Sound(np.zeros(20_000))],
    )
    clip = rendered.clip
    with pytest.raises(EncodeError, match=r"stream is tagged \(6, 6, 6, False\).*not \(1, 1, 1, False\)"):
        verify(bad, clip, row, clip.delivery, nothing_sent(range(FRAMES)), alpha=False)


@pytest.mark.parametrize("encoding", SUFFIXES)
def test_a_file_that_was_cut_off_is_found(encoding: str, rendered: Rendered, tmp_path: Path) -> None:
    content = rendered.outputs[encoding].read_bytes()
    bad = tmp_path / f"bad{SUFFIXES[encoding]}"
    bad.write_bytes(content[: len(content) // 2])
    with pytest.raises(EncodeError):
        check(bad, rendered, encoding)


@pytest.fixture
def pictures(rendered: Rendered, tmp_path: Path) -> Path:
    copies = tmp_path / "pictures"
    copies.mkdir()
    for picture in rendered.outputs["png"].iterdir():
        (copies / picture.name).write_bytes(picture.read_bytes())
    return copies


def test_a_missing_picture_is_found(pictures: Path, rendered: Rendered) -> None:
    check(pictures, rendered, "png")
    (pictures / "000005.png").unlink()
    with pytest.raises(EncodeError, match="12 pictures"):
        check(pictures, rendered, "png")


def test_a_picture_cut_off_is_found(pictures: Path, rendered: Rendered) -> None:
    last = pictures / "000011.png"
    last.write_bytes(last.read_bytes()[:-40])
    with pytest.raises(EncodeError):
        check(pictures, rendered, "png")
