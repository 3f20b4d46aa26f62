"""What goes to the encoder is kept, and an output that holds anything else is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from footage import BT709_TAGS, Sound, frames_by_ffmpeg, gray, write_clip

from vmatte.clip import ClipInfo, Coding
from vmatte.encodings import ENCODINGS, Encoding
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.job import Verify
from vmatte.outputs import LayerName
from vmatte.video.join import EncodedSegment, join
from vmatte.video.layer_coding import coding_for
from vmatte.video.probe import probe
from vmatte.video.sent import SentFiles, SentSegment, frames_compared, keep_sent
from vmatte.video.verify import Verified, verify
from vmatte.video.write import encode

FRAMES = 12
HEIGHT, WIDTH = 48, 64


@dataclass(frozen=True, slots=True)
class Made:
    """An output, and what is kept of what was sent."""

    path: Path
    clip: ClipInfo
    row: Encoding
    sent: list[SentSegment]
    layer: LayerName

    def verify(self, path: Path | None = None, how: Verify = "full", **changed: Any) -> Verified:
        row = changed.get("row", self.row)
        coding = coding_for(row, self.layer, self.clip.delivery)
        seen = changed.get("path", path) or self.path
        sent = changed.get("sent", self.sent)
        alpha, is_matte = self.layer == "cutout", self.layer == "alpha"
        return verify(seen, self.clip, row, coding, sent, alpha=alpha, is_matte=is_matte, how=how)


def layers(row: Encoding, coding: Coding, layer: LayerName, seed: int = 0) -> list[LayerBatch]:
    """A soft gradient, and under it a matte like hair: every pixel another alpha. Of an `alpha` layer hair alone."""
    rng = np.random.default_rng(seed)
    kind = "u1" if coding.bits == 8 else "u2"
    ramp = np.tile(np.linspace(*coding.luma_ends, WIDTH).round().astype(kind), (FRAMES, 1, HEIGHT, 1))
    if layer == "alpha":
        ramp = rng.integers(*coding.luma_ends, ramp.shape, endpoint=True).astype(kind)
    alpha = rng.integers(0, 1 << row.alpha_bits, ramp.shape).astype("u1" if row.alpha_bits == 8 else "u2")
    small = 1 if row.colour == "rgb" else 2
    chroma = torch.from_numpy(np.full((FRAMES, 2, HEIGHT // small, WIDTH // small), 1 << coding.bits - 1, kind))
    planes = (
        torch.from_numpy(np.roll(ramp, seed, axis=-1)),
        chroma,
        torch.from_numpy(alpha) if layer == "cutout" else None,
    )
    return [
        LayerBatch(range(at, at + 3), *(None if plane is None else plane[at : at + 3] for plane in planes))  # type: ignore[misc]
        for at in range(0, FRAMES, 3)
    ]


def make(folder: Path, encoding: str, layer: LayerName = "cutout", how: Verify = "full", seed: int = 0) -> Made:
    """Two segments of six frames, joined."""
    row = ENCODINGS[encoding]
    sound = [Sound(0.1 * np.sin(np.arange(20_000) / 9), language="fra")]
    lumas = [np.full((HEIGHT, WIDTH), 60, "u1")] * FRAMES
    clip = probe(write_clip(folder / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS, sound=sound))
    sent, encoded = [], []
    coding = coding_for(row, layer, clip.delivery)
    batches = layers(row, coding, layer, seed)
    for number, frames in enumerate((range(6), range(6, 12))):
        files = SentFiles(folder / f"{number}.matte.mkv", folder / f"{number}.luma.mkv")
        own = [batch for batch in batches if batch.index.start in frames]
        kept = keep_sent(own, files, frames, how, is_matte=layer == "alpha")
        path = folder / f"{number}{row.suffix}"
        written = tuple(encode(kept, path, row, coding, clip.rate, is_matte=layer == "alpha"))
        sent.append(SentSegment(files, frames, written, how))
        encoded.append(EncodedSegment(path, written))
    path = folder / f"whole{row.suffix}"
    join(encoded, clip, row, path)
    return Made(path, clip, row, sent, layer)


def test_the_frames_to_compare_follow_from_the_segment_alone() -> None:
    assert frames_compared(range(240, 480), "sampled") == [240, 360, 479]
    assert frames_compared(range(5, 8), "sampled") == [5, 6, 7]
    assert frames_compared(range(5, 8), "full") == [5, 6, 7]
    assert frames_compared(range(0), "sampled") == []


@pytest.mark.parametrize("encoding", ["prores4444", "webm", "png"])
def test_hair_comes_back_exactly(encoding: str, tmp_path: Path) -> None:
    found = make(tmp_path, encoding).verify()
    assert (found.frames_decoded, found.alphas_compared) == (FRAMES, FRAMES)
    assert (found.alpha_max_error, found.alpha_mean_error) == (0, 0)
    if encoding == "png":
        assert found.luma_psnr_db is None  # green is equal, too
    else:
        assert found.luma_psnr_db is not None
        assert found.luma_psnr_db > 45


def test_a_sample_has_three_frames_of_each_segment(tmp_path: Path) -> None:
    made = make(tmp_path, "prores4444", how="sampled")
    assert (made.verify(how="sampled").frames_decoded, made.verify(how="sampled").alphas_compared) == (6, 6)
    # Of an unfinished render that goes on with `full`, what was kept is compared, and all is decoded.
    assert (made.verify().frames_decoded, made.verify().alphas_compared) == (12, 6)


def test_the_error_of_a_lossy_matte_is_what_ffmpeg_sees(tmp_path: Path) -> None:
    made = make(tmp_path, "mp4", "alpha")
    found = made.verify()
    # Limited range: a code is 1/219 of alpha.
    coding = made.clip.delivery
    sent = np.concatenate([batch.luma[:, 0].numpy() for batch in layers(made.row, coding, "alpha")]).astype(float)
    seen = np.stack([planes[0] for planes in frames_by_ffmpeg(made.path, "yuv420p", WIDTH, HEIGHT)]).astype(float)
    off = np.abs(seen.clip(16, 235) - sent) * 255 / 219
    assert found.alpha_max_error == pytest.approx(off.max(), abs=0.001)
    assert found.alpha_mean_error == pytest.approx(off.mean(), abs=0.001)
    assert found.alpha_max_error is not None
    assert found.alpha_max_error > 0
    strict = replace(made.row, matte_tolerance=0.0)
    with pytest.raises(EncodeError, match=r"matte of frame \d+ is off by .* of 255 at .*mp4 may be off by 0$"):
        made.verify(row=strict)


@pytest.mark.parametrize(("encoding", "layer"), [("mp4", "alpha"), ("av1", "alpha"), ("stacked", "cutout")])
def test_the_matte_of_another_frame_is_found_whatever_a_lossy_codec_may_do_to_a_hair(
    encoding: str, layer: LayerName, tmp_path: Path
) -> None:
    made = make(tmp_path, encoding, layer)
    (tmp_path / "other").mkdir()
    other = make(tmp_path / "other", encoding, layer, seed=1)
    with pytest.raises(EncodeError, match=r"the matte of frame 0 is another: off by \d+\.\d of 255 on average"):
        made.verify(sent=other.sent, row=replace(made.row, matte_tolerance=255.0))


@pytest.mark.parametrize("encoding", ["prores4444", "webm", "png"])
def test_another_alpha_is_found(encoding: str, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = (make(tmp_path / name, encoding, seed=seed) for seed, name in enumerate(("one", "other")))
    with pytest.raises(EncodeError, match=r"alpha of frame 0 is off by \d+\.\d\d of 255 at \(\d+, \d+\)"):
        one.verify(other.path, how="sampled")


def test_another_picture_is_found(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = make(tmp_path / "one", "mp4", "composite")
    other = make(tmp_path / "other", "mp4", "composite", seed=WIDTH // 2)
    assert one.verify().alphas_compared == 0
    with pytest.raises(EncodeError, match=r"the picture of frame 0 is damaged: its luma has \d\.\d dB, 30 at least"):
        one.verify(other.path)


def test_frames_that_changed_places_are_found(tmp_path: Path) -> None:
    """Number, times and tags are right, and a sample of frames 0, 3, 5, 6, 9 and 11 misses it."""
    made, bad = make(tmp_path, "prores4444"), tmp_path / "bad.mov"
    with av.open(str(made.path)) as read, av.open(str(bad), "w") as write:
        outputs: dict[int, Any] = {}
        for stream in (read.streams.video[0], read.streams.audio[0]):
            outputs[stream.index] = write.add_stream_from_template(stream)
            outputs[stream.index].metadata.update(stream.metadata)
            outputs[stream.index].codec_context.codec_tag = stream.codec_context.codec_tag
        packets = [packet for packet in read.demux() if packet.size]
        pictures = [packet for packet in packets if packet.stream.type == "video"]
        times = {1: 4, 4: 1}
        stamps = [(packet.pts, packet.dts) for packet in pictures]
        for place, packet in enumerate(pictures):
            packet.pts, packet.dts = stamps[times.get(place, place)]
        for packet in sorted(packets, key=lambda each: (each.dts or 0) * (each.time_base or 0)):
            packet.stream = outputs[packet.stream.index]
            write.mux(packet)
    with pytest.raises(EncodeError, match="alpha of frame 1 is off by"):
        made.verify(bad)


@pytest.mark.parametrize("encoding", ["mp4", "prores4444"])
def test_a_container_that_says_another_colour_or_none_is_found(encoding: str, tmp_path: Path) -> None:
    made, bad = make(tmp_path, encoding, "composite"), tmp_path / f"bad{ENCODINGS[encoding].suffix}"
    content = made.path.read_bytes()
    kind = b"nclx" if encoding == "mp4" else b"nclc"
    right = b"colr" + kind + bytes([0, 1, 0, 1, 0, 1])
    assert content.count(right) == 1
    bad.write_bytes(content.replace(right, right[:-2] + bytes([0, 6])))
    with pytest.raises(EncodeError, match=r"its stream is tagged \(6, 1, 1, False\) .*not \(1, 1, 1, False\)"):
        made.verify(bad)
    bad.write_bytes(content.replace(right, b"free" + right[4:]))
    with pytest.raises(EncodeError, match="its container does not say its colour"):
        made.verify(bad)


def test_sound_that_comes_late_is_found(tmp_path: Path) -> None:
    made, bad = make(tmp_path, "mp4", "composite"), tmp_path / "bad.mp4"
    with av.open(str(made.path)) as read, av.open(str(bad), "w", options={"movflags": "write_colr"}) as write:
        outputs: dict[int, Any] = {}
        for stream in (read.streams.video[0], read.streams.audio[0]):
            outputs[stream.index] = write.add_stream_from_template(stream)
            outputs[stream.index].metadata["language"] = stream.metadata["language"]
        for packet in read.demux():
            if not packet.size:
                continue
            if packet.stream.type == "audio":
                packet.pts, packet.dts = packet.pts + 480, packet.dts + 480
            packet.stream = outputs[packet.stream.index]
            write.mux(packet)
    with pytest.raises(EncodeError, match=r"audio track 1 begins 10\.0 ms from where the source's does"):
        made.verify(bad)


def test_a_picture_that_cannot_be_decoded_is_found_by_its_number(tmp_path: Path) -> None:
    made = make(tmp_path, "png")
    picture = made.path / "000004.png"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(EncodeError, match=r"000004\.png was written but cannot be read again"):
        made.verify()


def test_what_was_sent_lies_beside_pictures_of_any_size(tmp_path: Path) -> None:
    """FFV1 takes pictures of one row or column only in one piece."""
    for size in ((1, 1), (1, 7), (7, 1), (33, 17)):
        codes = torch.arange(size[0] * size[1], dtype=torch.int32).reshape(1, 1, *size).to(torch.uint8)
        chroma = torch.zeros((1, 2, 1, 1), dtype=torch.uint8)
        files = SentFiles(tmp_path / "matte.mkv", tmp_path / "luma.mkv")
        list(keep_sent([LayerBatch(range(1), codes, chroma, codes)], files, range(1), "full", is_matte=False))
        (kept,) = SentSegment(files, range(1), (0,), "full").mattes()
        np.testing.assert_array_equal(kept.alpha, codes[0, 0].numpy())
