"""Sources as cameras, phones and recorders leave them behind go through a whole render, and come out right."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import Codes, codes_of
from conftest import Seen, find_program
from scripts_loaded import load_script

from vmatte.errors import VmatteError
from vmatte.render import run

awkward = load_script("make_awkward")
FRAMES, SIZE = awkward.FRAMES, (awkward.WIDTH, awkward.HEIGHT)
OUTPUTS = ["out.mov", "out.mp4", "out.webm"]

BT709, BT601, BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)
"""Kr and Kb of the matrices."""


@dataclass(frozen=True)
class Source:
    """What is known of a source by the way in which it was made."""

    size: tuple[int, int] = SIZE
    frames: int = FRAMES
    matrix: tuple[float, float] | None = BT709
    """None: R'G'B'."""
    full_range: bool = False
    tags: tuple[str, str] = ("bt709", "bt709")
    """Matrix and transfer of an output that can be HDR, as ffprobe calls them."""
    languages: tuple[str, ...] = ()
    """Of the audio tracks; "und" for one without."""
    lost: int = 0
    own_alpha: float = 1
    """In the middle of the rectangle."""
    first: int = 0
    """Number of its first frame, as the rectangle tells it."""

    def rgb(self, number: int) -> tuple[float, float, float]:
        """R'G'B' of the rectangle in a frame, 1 is white: by the standards."""
        code = self._luma(number)
        if self.matrix is None:
            return (code / 255,) * 3
        black, luma_range, chroma_range = (0, 255, 255) if self.full_range else (16, 219, 224)
        kr, kb = self.matrix
        luma = (code - black) / luma_range
        blue, red = (
            luma + 2 * (1 - k) * (chroma - 128) / chroma_range for k, chroma in zip((kb, kr), awkward.TINT, strict=True)
        )
        return red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue

    def codes(self, number: int) -> tuple[float, ...]:
        """Y', Cb, Cr of the rectangle in an output's frame, of 8 bits."""
        if self.matrix == BT2020:
            return (self._luma(number), *awkward.TINT)
        return codes_of([255 * value for value in self.rgb(number)])  # type: ignore[misc]

    def _luma(self, number: int) -> int:
        return int(awkward.DARKEST + awkward.STEP * (self.first + number))

    def alpha(self, number: int) -> float:
        """What luma-key makes of it, and the source's own alpha leaves."""
        return self.own_alpha * float(np.dot((0.2126, 0.7152, 0.0722), self.rgb(number)))


ONE_TRACK = ("und",)
SOURCES = {
    "phone": Source(size=SIZE[::-1], languages=ONE_TRACK),
    "odd_size": Source(size=(853, 479)),
    "ten_bit_422": Source(languages=ONE_TRACK),
    "interlaced": Source(languages=ONE_TRACK),
    "pq": Source(matrix=BT2020, tags=("bt2020nc", "smpte2084")),
    "full_range": Source(full_range=True),
    "anamorphic": Source(size=(128, 64), languages=ONE_TRACK),
    "late_stream": Source(languages=ONE_TRACK),
    "open_gop": Source(),
    "edit_list": Source(first=4),
    "silent": Source(),
    "three_languages": Source(languages=("eng", "ger", "jpn")),
    "ac3": Source(languages=ONE_TRACK),
    "timecode": Source(languages=ONE_TRACK),
    "truncated": Source(lost=awkward.LOST, frames=FRAMES - awkward.LOST),
    "one_frame": Source(frames=1),
    "rgb": Source(matrix=None),
    "own_alpha": Source(matrix=None, own_alpha=128 / 255),
    "motion_jpeg": Source(matrix=BT601, languages=ONE_TRACK),
}
ERRORS = {"zero_duration": "holds no video"}
"""What the one line says."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, run_ffmpeg: Callable[..., bytes]) -> dict[str, Path]:  # noqa: ARG001
    """All of them, by name."""
    return {path.stem: path for path in awkward.make_all(tmp_path_factory.mktemp("awkward"))}


def test_there_are_twenty_and_each_is_known() -> None:
    assert len(awkward.SOURCES) == 20
    assert {make.__name__ for make in awkward.SOURCES} == SOURCES.keys() | ERRORS.keys()


def test_they_are_always_alike(sources: dict[str, Path], tmp_path: Path) -> None:
    for path in awkward.make_all(tmp_path):
        assert path.read_bytes() == sources[path.stem].read_bytes(), path.stem


@pytest.mark.parametrize("name", SOURCES)
def test_an_awkward_source_comes_out_right(
    name: str,
    sources: dict[str, Path],
    tmp_path: Path,
    run_ffmpeg: Callable[..., bytes],
    look: Callable[[Path], Seen],
) -> None:
    """The right frames, each at its time, upright, of the right size, in the right colours, with the right sound."""
    source, clip = SOURCES[name], sources[name]
    outputs = [tmp_path / output for output in OUTPUTS]
    report = run(clip, output=outputs, model="luma-key", foreground="source", background="black", blend="display")
    assert (report.frames, report.lost) == (source.frames, source.lost)
    for path in outputs:
        composite = path.suffix == ".mp4"
        keeps_hdr = path.suffix == ".mov"  # composites, and what has eight bits, are SDR
        width, height = (side + side % 2 for side in source.size) if composite else source.size
        seen = look(path)
        assert (seen.video["width"], seen.video["height"]) == (width, height)
        check_times(seen, look(clip), source.frames, Fraction(1, 1000) if path.suffix == ".webm" else Fraction(0))
        facts = facts_of(path)
        assert (facts[0]["color_space"], facts[0]["color_transfer"]) == (
            source.tags if keeps_hdr else ("bt709", "bt709")
        )
        sound = [facts for facts in facts if facts["codec_type"] == "audio"]
        assert tuple(track.get("tags", {}).get("language", "und") for track in sound) == source.languages
        check_sound(seen, look(clip), facts_of(clip), sound)
        if path.suffix != ".webm":
            assert facts[0]["tags"].get("timecode") == ("10:20:30:05" if name == "timecode" else None)
        frames = planes_of(run_ffmpeg, path, width, height)
        assert len(frames) == source.frames
        if keeps_hdr or source.matrix != BT2020:
            check_colours(source, frames, composite=composite, loss=3 if path.suffix == ".webm" else 1.6)


def check_times(seen: Seen, wanted: Seen, frames: int, tick: Fraction) -> None:
    """The pictures are as far apart as in the source."""
    due = [time - wanted.times[0] for time in wanted.times][:frames]
    assert all(abs(time - seen.times[0] - at) <= tick for time, at in zip(seen.times, due, strict=True))


def check_sound(seen: Seen, wanted: Seen, of_clip: list[dict[str, Any]], sound: list[dict[str, Any]]) -> None:
    """What is copied lies to the picture as it did."""
    before = [facts["codec_name"] for facts in of_clip if facts["codec_type"] == "audio"]
    assert len(before) == len(sound)
    if sound and sound[0]["codec_name"] == before[0]:
        offset = wanted.audio_times[0] - wanted.times[0]
        assert abs(seen.audio_times[0] - seen.times[0] - offset) <= Fraction(1, 48_000)


def planes_of(run_ffmpeg: Callable[..., bytes], path: Path, width: int, height: int) -> Codes:
    """Y', Cb, Cr and, but for MP4, alpha (T, C, H, W), as ffmpeg decodes them to 12 bits."""
    form = "yuv444p12le" if path.suffix == ".mp4" else "yuva444p12le"
    decoder = ["-c:v", "libvpx-vp9"] if path.suffix == ".webm" else []
    raw = run_ffmpeg(*decoder, "-i", path, "-map", "0:v", "-vsync", "0", "-pix_fmt", form, "-f", "rawvideo", "-")
    return np.frombuffer(raw, "<u2").reshape(-1, 3 if path.suffix == ".mp4" else 4, height, width)


def check_colours(source: Source, frames: Codes, *, composite: bool, loss: float) -> None:
    """In the middle of the rectangle, and of the black beside it."""
    row, black = frames.shape[2] // 4, np.array((16, 128, 128))
    for number, frame in enumerate(frames):
        left, right = (
            frame[:, row - 2 : row + 2, column : column + 4].mean((1, 2)) / 16
            for column in (source.size[0] // 4, 3 * source.size[0] // 4)
        )
        alpha, codes = source.alpha(number), np.array(source.codes(number))
        if composite:
            assert np.abs(left - (black + alpha * (codes - black))).max() < loss, (number, left)
            assert np.abs(right - black).max() < loss
        else:
            assert np.abs(left[:3] - codes).max() < loss, (number, left, codes)
            # HDR is keyed as SDR shows it.
            assert source.matrix == BT2020 or abs(left[3] - 255.9 * alpha) < 1.2, (number, left, alpha)
            assert right[3] < 0.5


def facts_of(path: Path) -> list[dict[str, Any]]:
    """What ffprobe says of each stream."""
    command = [find_program("ffprobe"), "-v", "error", "-show_streams", "-of", "json", str(path)]
    streams: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)[
        "streams"
    ]
    return streams


def test_an_empty_source_is_one_clear_line(sources: dict[str, Path], tmp_path: Path) -> None:
    for name, words in ERRORS.items():
        with pytest.raises(VmatteError, match=words) as raised:
            run(sources[name], output=tmp_path / "out.mov", model="luma-key")
        assert "\n" not in str(raised.value)
        assert sources[name].name in str(raised.value)
