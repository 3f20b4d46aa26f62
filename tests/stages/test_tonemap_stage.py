"""A subject becomes SDR where it is shown, and its source stays HDR."""

from __future__ import annotations

import pytest
import torch

from vmatte.clip import BT709, Coding, ColorTags
from vmatte.frames import FrameBatch, MatteBatch, SubjectBatch
from vmatte.imaging.tonemap import ToneMap, tone_mapped
from vmatte.stages.tonemap import tonemapped

TONE = ToneMap(Coding(ColorTags(9, 9, 16, full_range=False), 10))


def subject(chroma_size: tuple[int, int]) -> SubjectBatch:
    random = torch.Generator().manual_seed(1)
    luma = torch.randint(64, 700, (2, 1, 21, 30), generator=random).to(torch.uint16)
    chroma = torch.randint(440, 580, (2, 2, *chroma_size), generator=random).to(torch.uint16)
    alpha = torch.zeros(2, 1, 21, 30)
    alpha[0, :, 7:12, 11:18] = 0.5
    alpha[1, :, :, 20:] = 1
    return SubjectBatch(luma, chroma, alpha, MatteBatch(FrameBatch(range(2), luma, chroma, TONE.source), alpha))


@pytest.mark.parametrize("chroma_size", [(21, 30), (21, 15), (11, 15)], ids=["444", "422", "420"])
def test_what_is_shown_is_what_whole_frames_become(chroma_size: tuple[int, int]) -> None:
    before = subject(chroma_size)
    after = tonemapped(before, TONE)
    luma, _ = tone_mapped(before.luma, before.chroma, TONE)
    shown = before.alpha > 0
    assert torch.equal(after.luma.int()[shown], luma.int()[shown])
    assert after.coding == Coding(BT709, 10)
    assert before.coding == after.source.frames.coding == TONE.source


def test_far_from_what_is_shown_it_is_black() -> None:
    luma = torch.full((1, 1, 120, 40), 500, dtype=torch.int32).to(torch.uint16)
    chroma = torch.full((1, 2, 60, 20), 500, dtype=torch.int32).to(torch.uint16)
    alpha = torch.zeros(1, 1, 120, 40)
    alpha[..., :8, :8] = 1
    frames = FrameBatch(range(1), luma, chroma, TONE.source)
    after = tonemapped(SubjectBatch(luma, chroma, alpha, MatteBatch(frames, alpha)), TONE)
    assert int(after.luma[0, 0, -1, -1]) == 64
    assert after.chroma[0, :, -1, -1].tolist() == [512, 512]
    # A cutout keeps colour beside the matte, for a codec to smear.
    assert int(after.luma[0, 0, 31, 31]) == int(after.luma[0, 0, 0, 0]) > 64


def test_a_batch_without_anybody_is_no_obstacle() -> None:
    before = subject((11, 15))
    nobody = SubjectBatch(before.luma, before.chroma, torch.zeros_like(before.alpha), before.source)
    assert set(tonemapped(nobody, TONE).luma.int().flatten().tolist()) == {64}
