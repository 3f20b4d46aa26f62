"""Mattes on disk: without loss, for others to read too."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.errors import KeptMatteError
from vmatte.video.matte_files import MatteWriter, read_mattes

Tool = Callable[..., bytes]


def made(height: int, width: int, frames: int = 3) -> Tensor:
    """Noise in all codes."""
    return torch.from_numpy(np.random.default_rng(height).integers(0, 2**16, (frames, 1, height, width), np.uint16))


def write(path: Path, codes: Tensor) -> Path:
    writer = MatteWriter(path)
    half = len(codes) // 2
    for part in (slice(0, half), slice(half, None)):
        writer.write(codes[part])
    writer.finish()
    return path


@pytest.mark.parametrize(("height", "width"), [(48, 64), (17, 33), (2, 3)])
def test_mattes_come_back_code_by_code_and_ffmpeg_reads_the_same(
    height: int, width: int, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    codes = made(height, width)
    path = write(tmp_path / "alpha.mkv", codes)
    kept = list(read_mattes(path, [4, 5, 9]))
    assert [matte.number for matte in kept] == [4, 5, 9]
    assert all(np.array_equal(matte.alpha, codes[t, 0].numpy()) for t, matte in enumerate(kept))
    assert run_ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "gray16le", "-") == codes.numpy().tobytes()


def test_of_no_mattes_there_is_no_file(tmp_path: Path) -> None:
    MatteWriter(tmp_path / "alpha.mkv").finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["gone", "empty", "cut off", "fewer frames"])
def test_a_file_that_cannot_be_read_says_which(damage: str, tmp_path: Path) -> None:
    alpha = write(tmp_path / "alpha.mkv", made(48, 64))
    match damage:
        case "gone":
            alpha.unlink()
        case "empty":
            alpha.write_bytes(b"")
        case "cut off":
            alpha.write_bytes(alpha.read_bytes()[:200])
    with pytest.raises(KeptMatteError, match=r"alpha\.mkv cannot be read"):
        list(read_mattes(alpha, range(4)))
