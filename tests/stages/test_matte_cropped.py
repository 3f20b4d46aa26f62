"""A network that sees a part of the picture: its matte comes back to its place, and ends softly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from vmatte.analysis import Box, CropTrack
from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch
from vmatte.imaging.fading import FADE, fade_out
from vmatte.models.catalogue import load_model
from vmatte.models.contract import Prediction, State
from vmatte.stages.matte import matte
from vmatte.stopwatch import Stopwatch

HEIGHT, WIDTH, FRAMES = 61, 91, 6
MOVING = CropTrack(41, 51, (0, 5), (0, 20), (0, 40))


def frames(step: tuple[int, int] = (2, 2), bits: int = 8) -> FrameBatch:
    """Noise; chroma has a sample for each `step`."""
    noise = np.random.default_rng(3)
    high, dtype = (236, np.uint8) if bits == 8 else (940, np.uint16)
    luma = noise.integers(16, high, (FRAMES, 1, HEIGHT, WIDTH)).astype(dtype)
    chroma = noise.integers(16, high, (FRAMES, 2, -(-HEIGHT // step[0]), -(-WIDTH // step[1]))).astype(dtype)
    return FrameBatch(range(FRAMES), torch.from_numpy(luma), torch.from_numpy(chroma), Coding(BT709, bits))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("step", [(2, 2), (1, 2), (1, 1)], ids=["420", "422", "444"])
def test_a_crop_of_frames_has_the_codes_of_its_place(step: tuple[int, int], bits: int) -> None:
    whole = frames(step, bits)
    cut = whole.cropped([MOVING.box(number) for number in range(FRAMES)])
    assert cut.size == (41, 51)
    for number in range(FRAMES):
        box = MOVING.box(number)
        assert (box.top, box.left) == (4 * number, 8 * number)
        luma = whole.luma[number, 0].numpy()[box.top : box.top + 41, box.left : box.left + 51]
        assert np.array_equal(cut.luma[number, 0].numpy(), luma)
        rows = slice(box.top // step[0], box.top // step[0] + -(-41 // step[0]))
        columns = slice(box.left // step[1], box.left // step[1] + -(-51 // step[1]))
        assert np.array_equal(cut.chroma[number].numpy(), whole.chroma[number].numpy()[:, rows, columns])


class Key:
    """Luma is alpha; it notes the sizes that it is given."""

    def __init__(self) -> None:
        self.key = load_model("luma-key")
        self.spec = dataclasses.replace(self.key.spec, architecture="modnet")
        self.device = self.key.device
        self.sizes: set[tuple[int, int]] = set()

    def predict(self, rgb: torch.Tensor, state: State = ()) -> Prediction:
        self.sizes.add((rgb.shape[2], rgb.shape[3]))
        return Prediction(self.key.predict(rgb).alpha, state=state)


def split(batch: FrameBatch, length: int) -> list[FrameBatch]:
    parts = [slice(start, min(start + length, FRAMES)) for start in range(0, FRAMES, length)]
    return [
        FrameBatch(range(part.start, part.stop), batch.luma[part], batch.chroma[part], batch.coding) for part in parts
    ]


@pytest.mark.parametrize("length", [1, 4])
def test_the_matte_of_a_crop_is_that_of_the_frame_in_its_place(length: int) -> None:
    whole, network = frames((1, 1)), Key()
    expected = torch.cat([item.alpha for item in matte(split(whole, 2), Key(), 2, Stopwatch())])
    cropped = list(matte(split(whole, length), network, length, Stopwatch(), MOVING))
    alpha = torch.cat([item.alpha for item in cropped])
    assert network.sizes == {(41, 51)}
    fade = round(FADE * 41)
    for number in range(FRAMES):
        box = MOVING.box(number)
        inner = slice(box.top + fade, box.bottom - fade), slice(box.left + fade, box.right - fade)
        assert torch.equal(alpha[number, 0][inner], expected[number, 0][inner])
        outside = alpha[number, 0].clone()
        outside[box.top : box.bottom, box.left : box.right] = 0
        assert outside.max() == 0


def test_a_subject_beyond_the_crop_ends_softly_there_and_sharply_only_with_the_picture() -> None:
    alpha = torch.zeros(1, 400, 600)
    box = Box(100, 0, 300, 420)  # it ends with the picture on the left and below
    alpha[:, box.top : box.bottom, box.left : box.right] = 1
    fade_out(alpha, box)
    length = round(FADE * 300)
    steps = torch.cat([alpha.diff(dim=1).abs().flatten(), alpha.diff(dim=2).abs().flatten()])
    # A smoothstep is nowhere steeper than 1.5 / length.
    assert steps.max() <= 1.5 / length + 1e-6
    assert torch.all(alpha[0, 100 + length :, : 420 - length] == 1)
    assert alpha[0, 100, 50] < 0.01
    assert alpha[0, 399, 0] == 1
