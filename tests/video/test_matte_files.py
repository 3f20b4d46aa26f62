"""Mattes on disk: without loss, for others to read too."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vmatte.errors import KeptMatteError
from vmatte.frames import MatteCodes
from vmatte.video.matte_files import MatteWriter, read_mattes

Tool = Callable[..., bytes]


def made(bits: int, height: int, width: int, frames: int = 3) -> MatteCodes:
    """Noise in all codes."""
    noise = np.random.default_rng(bits)
    alpha = noise.integers(0, 2**16, (frames, 1, height, width), np.uint16)
    foreground = noise.integers(0, 2**bits, (frames, 3, height, width), np.uint8 if bits == 8 else np.uint16)
    return MatteCodes(torch.from_numpy(alpha), torch.from_numpy(foreground))


def write(folder: Path, codes: MatteCodes, bits: int) -> tuple[Path, Path]:
    alpha, foreground = folder / "alpha.mkv", folder / "foreground.mkv"
    writer = MatteWriter(alpha, foreground, bits)
    half = len(codes.alpha) // 2
    for part in (slice(0, half), slice(half, None)):
        writer.write(MatteCodes(codes.alpha[part], None if codes.foreground is None else codes.foreground[part]))
    writer.finish()
    return alpha, foreground


@pytest.mark.parametrize(("bits", "height", "width"), [(8, 48, 64), (10, 17, 33), (12, 2, 3)])
def test_mattes_come_back_code_by_code_and_ffmpeg_reads_the_same(
    bits: int, height: int, width: int, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    codes = made(bits, height, width)
    assert codes.foreground is not None
    alpha, foreground = write(tmp_path, codes, bits)
    kept = list(read_mattes(alpha, foreground, [4, 5, 9]))
    assert [matte.number for matte in kept] == [4, 5, 9]
    for t, matte in enumerate(kept):
        assert np.array_equal(matte.alpha, codes.alpha[t, 0].numpy())
        assert matte.foreground is not None
        assert np.array_equal(matte.foreground, codes.foreground[t].numpy())
    raw = run_ffmpeg("-i", alpha, "-f", "rawvideo", "-pix_fmt", "gray16le", "-")
    assert raw == codes.alpha.numpy().tobytes()
    raw = run_ffmpeg("-i", foreground, "-f", "rawvideo", "-pix_fmt", f"gbrp{max(bits, 9)}le", "-")
    assert raw == codes.foreground.numpy()[:, [1, 2, 0]].astype("<u2").tobytes()


def test_without_a_foreground_there_is_no_file_of_one(tmp_path: Path) -> None:
    alpha, foreground = write(tmp_path, MatteCodes(made(8, 24, 32).alpha, None), 8)
    assert not foreground.exists()
    assert [matte.foreground for matte in read_mattes(alpha, None, range(3))] == [None] * 3


@pytest.mark.parametrize("damage", ["gone", "empty", "cut off", "fewer frames"])
def test_a_file_that_cannot_be_read_says_which(damage: str, tmp_path: Path) -> None:
    alpha, _ = write(tmp_path, made(8, 48, 64), 8)
    match damage:
        case "gone":
            alpha.unlink()
        case "empty":
            alpha.write_bytes(b"")
        case "cut off":
            alpha.write_bytes(alpha.read_bytes()[:200])
    with pytest.raises(KeptMatteError, match=r"alpha\.mkv cannot be read"):
        list(read_mattes(alpha, None, range(4)))
