"""At another rate frames are dropped and repeated, and each keeps its own picture and matte."""

import numpy as np
import pytest
import torch

from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch, SubjectBatch
from vmatte.stages.foreground import foreground
from vmatte.stages.retime import retime


def subjects(frames: int, batch: int) -> list[SubjectBatch]:
    """Luma of frame k is k, and its alpha k / 100."""
    mattes = []
    for first in range(0, frames, batch):
        index = range(first, min(first + batch, frames))
        levels = torch.tensor(list(index)).view(-1, 1, 1, 1)
        luma = levels.expand(-1, 1, 4, 6).to(torch.uint8)
        chroma = levels.expand(-1, 2, 2, 3).to(torch.uint8)
        mattes.append(MatteBatch(FrameBatch(index, luma, chroma, Coding(BT709, 8)), luma / 100))
    return list(foreground(mattes, "source"))


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize(
    "shows", [[], [0, 1, 2, 3, 4], [0, 2, 4], [0, 0, 1, 1, 1, 2, 3, 4, 4], [0], [1, 1, 3], [0, 0, 0, 0, 0, 4]]
)
def test_every_frame_of_the_output_shows_the_frame_it_should(shows: list[int], batch: int) -> None:
    made = list(retime(subjects(5, batch), np.array(shows, np.int64)))
    assert [number for subject in made for number in subject.index] == list(range(len(shows)))
    assert [number for subject in made for number in subject.source.frames.index] == shows
    for subject, frame in zip(made, shows, strict=True):
        assert subject.luma.unique().tolist() == subject.chroma.unique().tolist() == [frame]
        assert subject.source.frames.luma.unique().tolist() == [frame]
        assert subject.alpha.unique().tolist() == subject.source.alpha.unique().tolist() == [pytest.approx(frame / 100)]
