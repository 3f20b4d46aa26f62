"""Mattes rounded to what is kept of them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.stages.settle import settle

HEIGHT, WIDTH, FRAMES = 18, 22, 5


def mattes(bits: int, batch: int, *, foreground: bool) -> Iterator[MatteBatch]:
    """A soft ramp from 0 to 1 in the middle third of each frame, and noise as the foreground."""
    dtype = np.uint8 if bits == 8 else np.uint16
    ramp = np.clip(np.arange(WIDTH) / (WIDTH - 1) * 3 - 1, 0, 1)
    colors = np.random.default_rng(1).random((FRAMES, 3, HEIGHT, WIDTH))
    for start in range(0, FRAMES, batch):
        index = range(start, min(start + batch, FRAMES))
        luma = np.full((len(index), 1, HEIGHT, WIDTH), 100, dtype)
        chroma = np.full((len(index), 2, HEIGHT // 2, WIDTH // 2), 90, dtype)
        alpha = np.broadcast_to(ramp * (0.9 + 0.02 * np.array(index)[:, None, None, None]), luma.shape)
        yield MatteBatch(
            FrameBatch(index, torch.from_numpy(luma), torch.from_numpy(chroma), Coding(BT709, bits)),
            torch.from_numpy(alpha.astype(np.float32)),
            torch.from_numpy(colors[index.start : index.stop].astype(np.float32)) if foreground else None,
        )


@pytest.mark.parametrize("bits", [8, 10])
def test_alpha_is_rounded_to_16_bits_and_foreground_to_the_frames_depth(bits: int) -> None:
    (before,) = mattes(bits, FRAMES, foreground=True)
    (after,) = settle(mattes(bits, FRAMES, foreground=True))
    codes = np.rint(before.alpha.numpy().astype(float) * 65535)
    assert after.codes is not None
    assert after.codes.foreground is not None
    assert np.abs(after.codes.alpha.numpy() - codes).max() <= 1  # float32 may round a half the other way
    assert np.abs(after.alpha.numpy() - after.codes.alpha.numpy() / 65535).max() < 1e-7
    assert before.foreground is not None
    soft = (codes > 0) & (codes < 65535)
    wanted = np.rint(before.foreground.numpy() * (2**bits - 1))
    error = np.abs(after.codes.foreground.numpy() - wanted) * soft
    assert error.max() <= 1
    # Far from soft alpha there is none: in the first columns, where all is 0, and in no frame's last ones, below 1.
    assert after.codes.foreground.numpy()[..., :4].max() == 0


@pytest.mark.parametrize("foreground", [True, False])
def test_how_many_go_at_once_does_not_count(foreground: bool) -> None:
    (whole,) = settle(mattes(8, FRAMES, foreground=foreground))
    parts = list(settle(mattes(8, 2, foreground=foreground)))
    assert [part.frames.index for part in parts] == [range(2), range(2, 4), range(4, 5)]
    assert torch.equal(torch.cat([part.alpha for part in parts]), whole.alpha)
    assert all((part.foreground is None) != foreground for part in parts)


def test_what_is_settled_stays_as_it_is() -> None:
    (once,) = settle(mattes(8, FRAMES, foreground=False))
    (twice,) = settle([once])
    assert torch.equal(once.alpha, twice.alpha)


def test_of_nothing_comes_nothing() -> None:
    assert list(settle([])) == []
