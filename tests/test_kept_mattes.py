"""Mattes that outlive a render: found again, never trusted when damaged, and never in the way."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import tmpfs

from vmatte import kept_mattes
from vmatte.errors import KeptMatteError
from vmatte.frames import LayerBatch, RenderedBatch
from vmatte.kept_mattes import KeptMattes, list_kept, open_kept_mattes, prune
from vmatte.segments import Segment, plan_segments

HEIGHT, WIDTH = 24, 32
SEGMENTS = plan_segments(5, 3, 0, 0)
ABOUT: dict[str, object] = {"clip": "/clips/talk.mp4", "model": "modnet", "frames": 5}


def noise(seed: int) -> torch.Tensor:
    """Alpha of one frame."""
    codes = np.random.default_rng(seed).integers(0, 2**16, (1, 1, HEIGHT, WIDTH), np.uint16)
    return torch.from_numpy(codes)


def layers(segment: Segment) -> Iterator[RenderedBatch]:
    luma, chroma = torch.zeros(1, 1, HEIGHT, WIDTH), torch.zeros(1, 2, HEIGHT, WIDTH)
    for number in segment.frames:
        yield RenderedBatch((LayerBatch(range(number, number + 1), luma, chroma, None),), noise(number))


def keep(kept: KeptMattes, *segments: Segment) -> list[int]:
    """Keeps the segments' mattes; the numbers of the frames that came through."""
    return [layer.index.start for segment in segments for layer in kept.keep(segment, layers(segment))]


def keep_all(fingerprint: str) -> Path:
    with open_kept_mattes(fingerprint, ABOUT) as kept:
        keep(kept, *SEGMENTS)
    return kept.path


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_what_was_kept_is_found_again_by_its_fingerprint_alone() -> None:
    keep_all("one")
    with open_kept_mattes("one", ABOUT) as kept:
        assert [kept.has(segment) for segment in SEGMENTS] == [True, True]
        mattes = list(kept.read(SEGMENTS))
    assert [matte.number for matte in mattes] == [0, 1, 2, 3, 4]
    for matte in mattes:
        assert np.array_equal(matte.alpha, noise(matte.number)[0, 0].numpy())
    with open_kept_mattes("another", ABOUT) as kept:
        assert [kept.has(segment) for segment in SEGMENTS] == [False, False]


def test_a_segment_that_was_left_early_is_not_kept_and_leaves_nothing() -> None:
    with open_kept_mattes("one", ABOUT) as kept:
        keeping = kept.keep(SEGMENTS[0], layers(SEGMENTS[0]))
        next(keeping)
        keeping.close()  # type: ignore[attr-defined]
        assert not kept.has(SEGMENTS[0])
        assert entries(kept.path) == {"lock", "about.json"}


@pytest.mark.parametrize("damage", ["a flipped byte", "cut off", "gone"])
def test_a_damaged_segment_is_dropped_and_can_be_kept_anew(damage: str) -> None:
    alpha = keep_all("one") / "000001.alpha.mkv"
    if damage == "a flipped byte":
        content = bytearray(alpha.read_bytes())
        content[len(content) // 2] ^= 1
        alpha.write_bytes(content)
    elif damage == "cut off":
        os.truncate(alpha, alpha.stat().st_size - 1)
    else:
        alpha.unlink()
    with open_kept_mattes("one", ABOUT) as kept:
        reading = kept.read(SEGMENTS)
        assert [next(reading).number for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeptMatteError, match=r"000001\.alpha\.mkv is damaged or gone"):
            next(reading)
        assert [kept.has(segment) for segment in SEGMENTS] == [True, False]
        keep(kept, SEGMENTS[1])
    with open_kept_mattes("one", ABOUT) as kept:
        assert len(list(kept.read(SEGMENTS))) == 5


def test_two_may_read_and_one_adds(caplog: pytest.LogCaptureFixture) -> None:
    with open_kept_mattes("one", ABOUT) as first, open_kept_mattes("one", ABOUT) as second:
        assert (first.writable, second.writable) == (True, False)
        keep(first, SEGMENTS[0])
        assert second.has(SEGMENTS[0])
        assert len(list(second.read(SEGMENTS[:1]))) == 3
        assert keep(second, SEGMENTS[1]) == [3, 4]
        assert not second.has(SEGMENTS[1])
    assert caplog.messages == []


def test_a_read_only_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tmpfs(tmp_path / "cache", "size=1m") as folder:
        monkeypatch.setenv("VMATTE_CACHE", str(folder))
        keep_all("one")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with open_kept_mattes("one", ABOUT) as kept:
            assert len(list(kept.read(SEGMENTS))) == 5
        with open_kept_mattes("another", ABOUT) as kept:
            assert keep(kept, *SEGMENTS) == [0, 1, 2, 3, 4]


def test_a_cache_that_cannot_be_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path / "file"))
    with open_kept_mattes("one", ABOUT) as kept:
        assert keep(kept, *SEGMENTS) == [0, 1, 2, 3, 4]
    (message,) = caplog.messages
    assert message.startswith("the matte is not kept for later renders")
    assert message.endswith("Not a directory")


def test_a_full_cache_is_a_warning_and_gives_its_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # 200 frames of noise, 1.5 KB each, do not fit.
    long = plan_segments(200, 200, 0, 0)[0]
    with tmpfs(tmp_path / "cache", "size=128k") as folder:
        monkeypatch.setenv("VMATTE_CACHE", str(folder))
        with open_kept_mattes("one", ABOUT) as kept:
            assert keep(kept, long) == list(range(200))
            assert entries(kept.path) == {"lock", "about.json"}
            assert not kept.has(long)
    (message,) = caplog.messages
    assert message.startswith("the matte is not kept for later renders")
    assert message.endswith("No space left on device")


def used(path: Path, day: int) -> None:
    os.utime(path / "about.json", (day * 86400, day * 86400))


def test_the_longest_unused_go_first() -> None:
    paths = [keep_all(name) for name in ("one", "two", "three")]
    for path, day in zip(paths, (5, 9, 7), strict=True):
        used(path, day)
    listed = list_kept()
    assert [entry.path for entry in listed] == [paths[0], paths[2], paths[1]]
    assert [entry.used for entry in listed] == [day * 86400 for day in (5, 7, 9)]
    assert all(entry.about == ABOUT for entry in listed)
    size = sum(file.stat().st_size for file in paths[1].iterdir())
    assert listed[2].bytes == size
    removed = prune(size)
    assert [entry.path for entry in removed] == [paths[0], paths[2]]
    assert entries(paths[0].parent) == {"two"}
    assert prune(0)[0].path == paths[1]
    assert entries(paths[0].parent) == set()


def test_what_a_render_is_using_stays() -> None:
    keep_all("two")
    with open_kept_mattes("one", ABOUT) as kept:
        keep(kept, *SEGMENTS)
        assert [entry.path.name for entry in prune(0)] == ["two"]
        assert len(list(kept.read(SEGMENTS))) == 5


def test_a_render_makes_room_among_those_of_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept_mattes, "MOST_BYTES", 1)
    used(keep_all("one"), 3)
    with caplog.at_level("INFO", "vmatte"):
        own = keep_all("two")
    assert entries(own.parent) == {"two"}
    assert caplog.messages == ["kept mattes make room for newer ones: 1 removed, 0.0 GB"]


def test_what_a_crash_left_without_a_name_can_be_pruned_too() -> None:
    path = keep_all("one")
    (path / "about.json").unlink()
    (path / "000009.1234.part.alpha.mkv").write_bytes(bytes(1000))
    (entry,) = list_kept()
    assert entry.about == {}
    assert entry.bytes == sum(file.stat().st_size for file in path.iterdir())
    assert [entry.path for entry in prune(0)] == [path]
    assert not path.exists()


def test_parts_of_a_killed_render_are_gone_when_the_next_one_begins() -> None:
    path = keep_all("one")
    (path / "000009.1234.part.alpha.mkv").write_bytes(bytes(1000))
    keep_all("one")
    assert entries(path) == {
        "lock",
        "about.json",
        "000000.alpha.mkv",
        "000000.json",
        "000001.alpha.mkv",
        "000001.json",
    }
    assert json.loads((path / "about.json").read_bytes()) == ABOUT


def test_kept_alphas_come_in_order_and_damage_is_told() -> None:
    path = keep_all("one")
    found = list(kept_mattes.alphas_of("one"))
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    for number, alpha in found:
        np.testing.assert_allclose(alpha * 65535, noise(number)[0, 0].numpy(), atol=0.01)
    assert list(kept_mattes.alphas_of("another")) == []
    damaged = bytearray((path / "000001.alpha.mkv").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (path / "000001.alpha.mkv").write_bytes(damaged)
    with pytest.raises(KeptMatteError):
        list(kept_mattes.alphas_of("one"))
