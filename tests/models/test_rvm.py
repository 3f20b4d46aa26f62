"""The recurrent network: its state goes in and out, and nothing else carries over."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from small_onnx import node, tensor, write_mean_of_channels, write_onnx
from torch import Tensor

from vmatte.errors import ModelError
from vmatte.frames import MatteBatch
from vmatte.models.catalogue import load_model
from vmatte.models.contract import MattingModel
from vmatte.stages.matte import matte
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.probe import probe
from vmatte.video.read import decode

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "avatar.mp4"


@pytest.fixture
def remembering(tmp_path: Path) -> MattingModel:
    """A file with RVM's inputs and outputs that remembers the frames so far, each half as well as the one after it.

    r1 becomes the mean of itself and of the frame at half size, alpha the mean of the frame and of r1's own mean; r4
    adds up the ratios.
    """
    picture, states = ("n", 3, "h", "w"), ("n", "c", "y", "x")
    inputs = [tensor("src", picture), *(tensor(f"r{i}i", states) for i in range(1, 5)), tensor("downsample_ratio", [1])]
    outputs = [tensor("fgr", picture), tensor("pha", ("n", 1, "h", "w"))]
    outputs += [tensor(f"r{i}o", states) for i in range(1, 5)]
    nodes = [
        node("ReduceMean", ["src"], "grey", axes=[1]),
        node("AveragePool", ["grey"], "half", kernel_shape=[2, 2], strides=[2, 2]),
        node("Mean", ["r1i", "half"], "r1o"),
        node("GlobalAveragePool", ["r1o"], "memory"),
        node("Mean", ["grey", "memory"], "pha"),
        node("Identity", ["src"], "fgr"),
        node("Identity", ["r2i"], "r2o"),
        node("Identity", ["r3i"], "r3o"),
        node("Add", ["r4i", "downsample_ratio"], "r4o"),
    ]
    return load_model("rvm", write_onnx(tmp_path / "rvm.onnx", nodes, inputs, outputs))


def grey(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 12)


def test_frames_of_a_batch_go_one_after_the_other_through_the_recurrence(remembering: MattingModel) -> None:
    prediction = remembering.predict(grey(0.8, 0.4, 0.0))
    # Memory 0.4, then (0.4 + 0.4) / 2, then (0.4 + 0) / 2; alpha is half the frame and half the memory.
    expected = torch.tensor([0.6, 0.4, 0.1]).view(3, 1, 1, 1).expand(3, 1, 8, 12)
    torch.testing.assert_close(prediction.alpha, expected)
    torch.testing.assert_close(prediction.state[0], torch.full((1, 1, 4, 6), 0.2))


def test_the_state_carries_on_and_the_network_keeps_none(remembering: MattingModel) -> None:
    frames = grey(0.8, 0.4, 0.0, 0.6, 1.0)
    whole = remembering.predict(frames)
    first = remembering.predict(frames[:2])
    remembering.predict(grey(1.0))
    rest = remembering.predict(frames[2:], first.state)
    assert torch.equal(torch.cat([first.alpha, rest.alpha]), whole.alpha)
    assert all(torch.equal(one, other) for one, other in zip(rest.state, whole.state, strict=True))
    assert torch.equal(remembering.predict(frames).alpha, whole.alpha)


@pytest.mark.parametrize(
    ("height", "width", "ratio"), [(1080, 1920, 512 / 1920), (1024, 576, 0.5), (480, 512, 1.0), (90, 160, 1.0)]
)
def test_frames_are_looked_at_with_512_pixels_on_the_longer_side_at_most(
    height: int, width: int, ratio: float, remembering: MattingModel
) -> None:
    state = remembering.predict(torch.zeros(1, 3, height, width)).state
    assert float(state[3]) == pytest.approx(ratio)


def test_a_state_of_frames_of_another_size_is_refused(remembering: MattingModel) -> None:
    state = remembering.predict(torch.zeros(1, 3, 90, 160)).state
    with pytest.raises(ValueError, match=r"is not that of frames of 90×160"):
        remembering.predict(torch.zeros(1, 3, 160, 90), state)
    with pytest.raises(ValueError, match=r"is not that of frames of 160×90"):
        remembering.predict(torch.zeros(1, 3, 90, 160), state[:3])


def test_a_file_that_is_no_rvm_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"own\.onnx is no rvm network: it has no src, r1i, .*downsample_ratio, pha"):
        load_model("rvm", write_mean_of_channels(tmp_path / "own.onnx"))


# The real network


@pytest.fixture(scope="module")
def rvm() -> MattingModel:
    return load_model("rvm")


def matted(rvm: MattingModel, frames: range, batch: int) -> Iterator[MatteBatch]:
    clip = probe(SAMPLE)
    return matte(upload(decode(clip, frames, batch), clip.delivery, rvm.device), rvm, batch, Stopwatch())


@pytest.mark.weights
def test_the_batch_size_moves_no_pixel_of_a_recurrent_matte(rvm: MattingModel) -> None:
    one, three = (torch.cat([part.alpha for part in matted(rvm, range(5), batch)]) for batch in (1, 3))
    assert torch.equal(one, three)


@pytest.mark.weights
def test_rvm_begins_anew_without_a_state_and_carries_on_with_one(rvm: MattingModel) -> None:
    frames = torch.rand(6, 3, 90, 160, generator=torch.Generator().manual_seed(6))
    whole = rvm.predict(frames)
    first = rvm.predict(frames[:3])
    rest, anew = rvm.predict(frames[3:], first.state), rvm.predict(frames[3:])
    assert torch.equal(rest.alpha, whole.alpha[3:])
    assert float((anew.alpha - whole.alpha[3:]).abs().max()) > 1 / 255


@pytest.mark.weights
def test_rvm_finds_the_sample_avatar_and_keeps_to_it(rvm: MattingModel) -> None:
    alphas = [part.alpha[0, 0] for part in matted(rvm, range(6), 1)]
    for alpha in alphas:
        assert 0.15 < float(alpha.mean()) < 0.6
        assert float(alpha[360, 640]) > 0.95
        assert max(float(alpha[0, 0]), float(alpha[0, -1])) < 0.05
    assert all(float((one - other).abs().mean()) < 0.01 for one, other in pairwise(alphas))
