"""A kept matte makes the picture that a new one makes."""

from collections.abc import Iterator

import pytest
import torch
from test_settle import FRAMES, mattes

from vmatte.frames import FrameBatch, KeptMatte, LayerBatch, SubjectBatch
from vmatte.stages.compose import Look, compose, cut_out
from vmatte.stages.foreground import foreground as colored
from vmatte.stages.recall import recall
from vmatte.stages.settle import settle


def kept(bits: int, *, foreground: bool) -> Iterator[KeptMatte]:
    for matte in settle(mattes(bits, 2, foreground=foreground)):
        assert matte.codes is not None
        for t, number in enumerate(matte.frames.index):
            colors = None
            if matte.codes.foreground is not None:
                colors = matte.codes.foreground[t].to(torch.int32).numpy().astype("u2")
            yield KeptMatte(number, matte.codes.alpha[t, 0].numpy(), colors)


def frames(bits: int, batch: int) -> Iterator[FrameBatch]:
    return (matte.frames for matte in mattes(bits, batch, foreground=False))


def plate(subject: SubjectBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full(subject.luma.shape, 200.0), torch.full(subject.chroma.shape, 30.0)


def planes(layers: Iterator[LayerBatch]) -> list[torch.Tensor]:
    """Luma, chroma and, where there is one, alpha of all frames."""
    found = [(layer.luma, layer.chroma, *([] if layer.alpha is None else [layer.alpha])) for layer in layers]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("bits", [8, 10])
def test_composite_and_cutout_are_those_of_the_settled_matte(bits: int, foreground: bool, batch: int) -> None:
    for layer in (
        lambda found: compose(colored(found, "estimate"), plate, Look("linear")),
        lambda found: cut_out(colored(found, "estimate"), 10),
    ):
        new = planes(layer(settle(mattes(bits, FRAMES, foreground=foreground))))
        recalled = planes(layer(recall(frames(bits, batch), kept(bits, foreground=foreground))))
        assert len(new) == len(recalled)
        assert all(torch.equal(one, other) for one, other in zip(new, recalled, strict=True))


def test_mattes_of_frames_that_do_not_come_are_passed_over() -> None:
    some = [batch for batch in frames(8, 1) if batch.index.start in (1, 4)]
    wanted = torch.cat([matte.alpha for matte in settle(mattes(8, 1, foreground=False))])[[1, 4]]
    assert torch.equal(torch.cat([matte.alpha for matte in recall(some, kept(8, foreground=False))]), wanted)


def test_a_frame_without_a_matte_is_a_fault_of_ours() -> None:
    lacking = (matte for matte in kept(8, foreground=False) if matte.number != 2)
    with pytest.raises(ValueError, match="no matte is kept of frame 2"):
        list(recall(frames(8, 1), lacking))


def test_of_nothing_comes_nothing() -> None:
    assert list(recall([], iter(()))) == []
