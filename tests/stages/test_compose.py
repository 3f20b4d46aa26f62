"""Looks of every kind: segments and batches do not matter, and each is off until it is asked for."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.analysis import Grade, Grain
from vmatte.clip import BT709, HDR_TRANSFERS, Coding, ColorTags
from vmatte.frames import FrameBatch, LayerBatch, MatteBatch, SubjectBatch
from vmatte.imaging.grain import LEVELS
from vmatte.options import ContactShadow, LightWrap
from vmatte.stages.compose import Look, compose
from vmatte.stages.retime import retime

HEIGHT, WIDTH, FRAMES = 48, 64, 6
SHOTS = {0: Grade((1.1, 0.9, 0.9), 0.02, (0.01, 0.0)), 1: Grade((0.9, 1.0, 1.0), 0.0, (0.0, 0.02))}
PARTS = {
    "wrap": {"light_wrap": LightWrap(strength=0.6, radius=0.1)},
    "shadow": {"shadow": ContactShadow(strength=0.8)},
    "match": {"grade_of": lambda number: SHOTS[number // 3]},
    "grain": {"grain": Grain((0.03,) * LEVELS)},
}
LOOKS = [Look("linear"), *(Look("linear", **part) for part in PARTS.values()), Look("display", **PARTS["wrap"])]  # type: ignore[arg-type]
NAMES = ["linear", *PARTS, "display and wrap"]


def subjects(frames: range, batch: int, color: ColorTags = BT709) -> Iterator[SubjectBatch]:
    """A figure that walks, standing on the ground."""
    for start in range(frames.start, frames.stop, batch):
        index = range(start, min(start + batch, frames.stop))
        luma = torch.full((len(index), 1, HEIGHT, WIDTH), 60, dtype=torch.uint8)
        chroma = torch.full((len(index), 2, HEIGHT // 2, WIDTH // 2), 120, dtype=torch.uint8)
        alpha = torch.zeros(len(index), 1, HEIGHT, WIDTH)
        for t, number in enumerate(index):
            alpha[t, :, 10:40, 20 + number : 34 + number] = 1
            alpha[t, :, 10:40, 34 + number] = 0.4
            luma[t, :, 20:30] = 90 + number
        yield SubjectBatch(luma, chroma, alpha, MatteBatch(FrameBatch(index, luma, chroma, Coding(color, 8)), alpha))


def plate(subject: SubjectBatch) -> tuple[Tensor, Tensor]:
    return torch.full((1, 1, HEIGHT, WIDTH), 180.0), torch.full((1, 2, *subject.chroma_size), 140.0)


def planes(layers: Iterator[LayerBatch]) -> list[Tensor]:
    found = [(layer.luma, layer.chroma) for layer in layers]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("look", LOOKS, ids=NAMES)
def test_neither_batches_nor_segments_show(look: Look) -> None:
    whole = planes(compose(subjects(range(FRAMES), FRAMES), plate, look))
    for batch in (1, 4):
        again = planes(compose(subjects(range(FRAMES), batch), plate, look))
        assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
    segment = planes(compose(subjects(range(2, 5), 2), plate, look))
    assert all(torch.equal(one[2:5], other) for one, other in zip(whole, segment, strict=True))


@pytest.mark.parametrize(("name", "inside", "outside"), [
    ("wrap", True, False), ("match", True, False), ("shadow", False, True), ("grain", False, True)
])  # fmt: skip
def test_each_part_of_a_look_changes_its_own_side(name: str, inside: bool, outside: bool) -> None:
    plain = planes(compose(subjects(range(1), 1), plate, Look("linear")))[0].float()
    looked = planes(compose(subjects(range(1), 1), plate, Look("linear", **PARTS[name])))[0].float()  # type: ignore[arg-type]
    (subject,) = subjects(range(1), 1)
    assert bool((plain != looked)[subject.alpha == 1].any()) == inside
    assert bool((plain != looked)[subject.alpha == 0].any()) == outside


def test_far_inside_no_light_is_wrapped() -> None:
    look = Look("linear", LightWrap(strength=1, radius=0.05))  # of 48 rows: 2.4
    plain, wrapped = (planes(compose(subjects(range(1), 1), plate, each))[0] for each in (Look("linear"), look))
    assert torch.equal(plain[..., 16:34, 26:28], wrapped[..., 16:34, 26:28])
    assert int(wrapped[..., 25, 20]) > int(plain[..., 25, 20])


@pytest.mark.parametrize("transfer", HDR_TRANSFERS)
def test_hdr_is_mixed_as_codes(transfer: int) -> None:
    color = ColorTags(matrix=9, primaries=9, transfer=transfer, full_range=False)
    luma, _ = planes(compose(subjects(range(1), 1, color), plate, Look("linear")))
    assert int(luma[0, 0, 15, 34]) == 132  # 0.4 · 60 + 0.6 · 180
    luma, _ = planes(compose(subjects(range(1), 1), plate, Look("linear")))
    # Of light: V = 44 / 219 and 164 / 219 are L = 0.0559 and 0.5619; 0.4 and 0.6 of them are V = 0.5944.
    assert int(luma[0, 0, 15, 34]) == pytest.approx(16 + 219 * 0.5944, abs=1.5)


def test_a_figure_that_was_moved_up_but_cut_off_in_its_clip_throws_no_shadow() -> None:
    (subject,) = subjects(range(1), 1)
    frames = subject.source.frames
    cut = torch.zeros_like(subject.alpha)
    cut[..., 18:, 20:34] = 1
    moved = SubjectBatch(subject.luma, subject.chroma, subject.alpha, MatteBatch(frames, cut))
    looks = Look("display", shadow=ContactShadow(strength=1), scale=1.0), Look("display")
    shadowed, plain = (planes(compose(iter([moved]), plate, look)) for look in looks)
    assert all(torch.equal(one, other) for one, other in zip(shadowed, plain, strict=True))


def test_another_rate_leaves_a_shadow_as_it_is() -> None:
    look = Look("display", shadow=ContactShadow(strength=1))
    straight = planes(compose(subjects(range(2), 1), plate, look))
    retimed = planes(compose(retime(subjects(range(2), 1), np.arange(2)), plate, look))
    assert not torch.equal(straight[0], planes(compose(subjects(range(2), 1), plate, Look("display")))[0])
    assert all(torch.equal(one, other) for one, other in zip(straight, retimed, strict=True))
