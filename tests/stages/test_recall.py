"""A kept matte makes the picture that a new one makes."""

from collections.abc import Iterator

import pytest
import torch
from test_settle import FRAMES, mattes

from vmatte.frames import FrameBatch, KeptMatte, LayerBatch, SubjectBatch
from vmatte.stages.compose import Look, compose, cut_out
from vmatte.stages.foreground import foreground
from vmatte.stages.recall import recall
from vmatte.stages.settle import settle


def kept(bits: int) -> Iterator[KeptMatte]:
    for matte in settle(mattes(bits, 2)):
        assert matte.codes is not None
        for t, number in enumerate(matte.frames.index):
            yield KeptMatte(number, matte.codes[t, 0].numpy())


def frames(bits: int, batch: int) -> Iterator[FrameBatch]:
    return (matte.frames for matte in mattes(bits, batch))


def plate(subject: SubjectBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full(subject.luma.shape, 200.0), torch.full(subject.chroma.shape, 30.0)


def planes(layers: Iterator[LayerBatch]) -> list[torch.Tensor]:
    """Luma, chroma and, where there is one, alpha of all frames."""
    found = [(layer.luma, layer.chroma, *([] if layer.alpha is None else [layer.alpha])) for layer in layers]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bits", [8, 10])
def test_composite_and_cutout_are_those_of_the_settled_matte(bits: int, batch: int) -> None:
    for layer in (
        lambda found: compose(foreground(found, "estimate"), plate, Look("linear")),
        lambda found: cut_out(foreground(found, "estimate"), 10),
    ):
        new = planes(layer(settle(mattes(bits, FRAMES))))
        recalled = planes(layer(recall(frames(bits, batch), kept(bits))))
        assert len(new) == len(recalled)
        assert all(torch.equal(one, other) for one, other in zip(new, recalled, strict=True))


def test_mattes_of_frames_that_do_not_come_are_passed_over() -> None:
    some = [batch for batch in frames(8, 1) if batch.index.start in (1, 4)]
    wanted = torch.cat([matte.alpha for matte in settle(mattes(8, 1))])[[1, 4]]
    assert torch.equal(torch.cat([matte.alpha for matte in recall(some, kept(8))]), wanted)


def test_a_frame_without_a_matte_is_a_fault_of_ours() -> None:
    lacking = (matte for matte in kept(8) if matte.number != 2)
    with pytest.raises(ValueError, match="no matte is kept of frame 2"):
        list(recall(frames(8, 1), lacking))


def test_of_nothing_comes_nothing() -> None:
    assert list(recall([], iter(()))) == []
