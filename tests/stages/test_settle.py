"""Mattes rounded to what is kept of them."""

from collections.abc import Iterator

import numpy as np
import torch

from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.stages.settle import settle

HEIGHT, WIDTH, FRAMES = 18, 22, 5


def mattes(bits: int, batch: int) -> Iterator[MatteBatch]:
    """A soft ramp from 0 to 1 in the middle third of each frame."""
    dtype = np.uint8 if bits == 8 else np.uint16
    ramp = np.clip(np.arange(WIDTH) / (WIDTH - 1) * 3 - 1, 0, 1)
    for start in range(0, FRAMES, batch):
        index = range(start, min(start + batch, FRAMES))
        luma = np.full((len(index), 1, HEIGHT, WIDTH), 100, dtype)
        chroma = np.full((len(index), 2, HEIGHT // 2, WIDTH // 2), 90, dtype)
        alpha = np.broadcast_to(ramp * (0.9 + 0.02 * np.array(index)[:, None, None, None]), luma.shape)
        yield MatteBatch(
            FrameBatch(index, torch.from_numpy(luma), torch.from_numpy(chroma), Coding(BT709, bits)),
            torch.from_numpy(alpha.astype(np.float32)),
        )


def test_alpha_is_rounded_to_16_bits() -> None:
    (before,) = mattes(8, FRAMES)
    (after,) = settle(mattes(8, FRAMES))
    codes = np.rint(before.alpha.numpy().astype(float) * 65535)
    assert after.codes is not None
    assert np.abs(after.codes.numpy() - codes).max() <= 1  # float32 may round a half the other way
    assert np.abs(after.alpha.numpy() - after.codes.numpy() / 65535).max() < 1e-7


def test_how_many_go_at_once_does_not_count() -> None:
    (whole,) = settle(mattes(8, FRAMES))
    parts = list(settle(mattes(8, 2)))
    assert [part.frames.index for part in parts] == [range(2), range(2, 4), range(4, 5)]
    assert torch.equal(torch.cat([part.alpha for part in parts]), whole.alpha)


def test_what_is_settled_stays_as_it_is() -> None:
    (once,) = settle(mattes(8, FRAMES))
    (twice,) = settle([once])
    assert torch.equal(once.alpha, twice.alpha)


def test_of_nothing_comes_nothing() -> None:
    assert list(settle([])) == []
