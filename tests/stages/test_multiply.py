"""Alpha of the clip's own: what it shows through stays so."""

from __future__ import annotations

import pytest
import torch

from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch, SubjectBatch
from vmatte.stages.multiply import multiply
from vmatte.stages.own_alpha import matte_by_own_alpha


def frames(*opaque: float) -> FrameBatch:
    """One frame of 4 × 4 for each of these alphas."""
    shape = (len(opaque), 1, 4, 4)
    own = torch.stack([torch.full(shape[1:], round(65535 * alpha), dtype=torch.int32) for alpha in opaque])
    luma, chroma = torch.full(shape, 90, dtype=torch.uint8), torch.full((len(opaque), 2, 2, 2), 128, dtype=torch.uint8)
    return FrameBatch(range(len(opaque)), luma, chroma, Coding(BT709, 8), own.to(torch.uint16))


def subject(batch: FrameBatch, alpha: float) -> SubjectBatch:
    matte = torch.full(batch.luma.shape, alpha)
    return SubjectBatch(batch.luma, batch.chroma, matte, MatteBatch(batch, matte))


def test_alpha_is_the_product_and_colours_stay() -> None:
    before = subject(frames(0, 0.4, 1), 0.5)
    (after,) = multiply([before])
    assert after.alpha[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 0.5], abs=1e-5)
    assert after.alpha[2].equal(before.alpha[2])
    assert after.luma is before.luma
    assert after.source.alpha.eq(0.5).all()


def test_parts_of_a_batch_have_their_own() -> None:
    whole = MatteBatch(frames(0, 0.4, 1), torch.ones(3, 1, 4, 4))
    for number, due in enumerate((0, 0.4, 1)):
        part = whole.part(range(number, number + 1)).frames
        (after,) = multiply([subject(part, 1)])
        assert float(after.alpha.mean()) == pytest.approx(due, abs=1e-5)


def test_as_the_matte_it_counts_once() -> None:
    (matte,) = matte_by_own_alpha([frames(0.4)])
    assert matte.alpha.mean() == pytest.approx(0.4, abs=1e-5)
    assert matte.frames.alpha is None


def test_nothing_comes_of_nothing() -> None:
    assert list(multiply([])) == []
    plain = FrameBatch(range(1), *(frames(1).luma, frames(1).chroma), Coding(BT709, 8))
    before = subject(plain, 0.5)
    assert next(multiply([before])) is before


def test_alpha_of_another_size_is_refused() -> None:
    batch = frames(1)
    with pytest.raises(ValueError, match="does not fit luma"):
        FrameBatch(batch.index, batch.luma, batch.chroma, batch.coding, torch.zeros(1, 1, 3, 4, dtype=torch.uint16))
