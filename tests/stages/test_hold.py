"""One of two people is kept: frame by frame, whatever else is rendered with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.analysis import SubjectTrack
from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.stages.hold import hold

HEIGHT, WIDTH, FRAMES = 192, 320, 21
SPEAKER = (160, 44)


def disc(x: float, radius: float, y: float = 96, scale: int = 1) -> np.ndarray:
    """Alpha with a soft edge of 3 pixels, in a picture that is so many times smaller."""
    rows, columns = np.mgrid[: HEIGHT // scale, : WIDTH // scale] * scale
    return np.clip((radius - np.hypot(rows - y, columns - x)) / 3 + 0.5, 0, 1).astype(np.float32)


def walker(number: int) -> tuple[float, float, float]:
    return 10 + 15.0 * number, 20, 40


def track() -> SubjectTrack:
    numbers = (0, 5, 10, 15, 20)
    labels = []
    for number in numbers:
        speaker, other = disc(*SPEAKER, scale=2) > 0.5, disc(*walker(number), scale=2) > 0.5
        labels.append(np.where(speaker, 1, np.where(other, 2, 0)).astype(np.uint8))
    return SubjectTrack.of(numbers, np.stack(labels))


def mattes(length: int) -> list[MatteBatch]:
    alphas = [np.maximum(disc(*SPEAKER), disc(*walker(number))) for number in range(FRAMES)]
    batches = []
    for start in range(0, FRAMES, length):
        alpha = torch.from_numpy(np.stack(alphas[start : start + length]))[:, None]
        luma, chroma = torch.zeros(alpha.shape, dtype=torch.uint8), alpha.new_zeros(len(alpha), 2, 96, 160)
        frames = FrameBatch(range(start, start + len(alpha)), luma, chroma.to(torch.uint8), Coding(BT709, 8))
        batches.append(MatteBatch(frames, alpha))
    return batches


def kept(length: int, first: int = 0) -> Tensor:
    return torch.cat([matte.alpha for matte in hold(mattes(length)[first:], track(), (0,))])


def test_a_second_one_who_walks_by_is_gone_and_the_speaker_is_whole() -> None:
    alphas = kept(1)
    speaker = disc(*SPEAKER)
    for number, alpha in enumerate(alphas[:, 0].numpy()):
        other = disc(*walker(number))
        if np.hypot(walker(number)[0] - 160, 56) > 20 + 44 + 16:  # they stand well apart
            assert np.array_equal(alpha, speaker)
        else:
            assert alpha[(other > 0) & (speaker == 0)].mean() < 0.25
            assert alpha[(speaker == 1) & (other == 0)].mean() > 0.98


@pytest.mark.parametrize("length", [4, 21])
def test_neither_the_batch_nor_the_beginning_matters(length: int) -> None:
    assert torch.equal(kept(length), kept(1))
    assert torch.equal(kept(1, first=13), kept(1)[13:])


def test_a_shot_in_which_nobody_was_looked_at_is_left_alone() -> None:
    # A cut between the samples 5 and 10, and one more before 10: frames 7 to 8 are a shot without a sample.
    alphas = torch.cat([matte.alpha for matte in hold(mattes(1), track(), (0, 7, 9))])
    before = torch.cat([matte.alpha for matte in mattes(1)])
    assert torch.equal(alphas[7:9], before[7:9])
    assert not torch.equal(alphas[6], before[6])


def test_an_empty_stream_stays_empty() -> None:
    assert list(hold([], track(), (0,))) == []
