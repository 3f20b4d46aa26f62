"""The part of a clip that a network gets: it holds the subject, gains enough, and follows from the frame's number."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from vmatte.analysis import Analysis, CropTrack, SubjectTrack
from vmatte.crop import Seen, can_gain, find_crop, gain_of
from vmatte.models.catalogue import MODELS
from vmatte.models.contract import InputSize

SHORT_512 = InputSize("short_side", 512, multiple=32)
UHD = (2160, 3840)
ROWS, COLUMNS = 96, 171


def mask(rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Of a 4K frame, a 22.5th of it."""
    seen = np.zeros((ROWS, COLUMNS), bool)
    seen[rows, columns] = True
    return seen


def standing(*masks: NDArray[np.bool_]) -> Seen:
    return Seen(tuple(range(0, 30 * len(masks), 30)), np.stack(masks), (0,))


def test_one_box_holds_all_that_was_seen_with_room_to_spare() -> None:
    seen = standing(mask(slice(40, 96), slice(60, 90)), mask(slice(40, 96), slice(80, 100)))
    track = find_crop(seen, UHD, SHORT_512, may_move=False)
    assert track is not None
    assert not track.moves
    box = track.box(17)
    scale = 3840 / COLUMNS
    # 56 lines of 22.5 rows are 1260 px, of which 0.12 are 151.2 on each side; below the frame there is nothing.
    assert box.bottom == 2160
    assert box.top <= 900 - 151
    assert box.top >= 900 - 155
    assert box.left <= 60 * scale - 151
    assert box.right >= 100 * scale + 151
    assert (box.top % 2, box.left % 2) == (0, 0)
    # 512 lines for the shorter side of the crop, or of the frame.
    assert gain_of((box.height, box.width), UHD, SHORT_512) == pytest.approx(
        2160 / min(box.height, box.width), rel=0.03
    )


@pytest.mark.parametrize(
    ("seen", "frame", "size"),
    [
        (mask(slice(5, 96), slice(10, 160)), UHD, SHORT_512),  # it fills the frame
        (mask(slice(0, 0), slice(0, 0)), UHD, SHORT_512),  # nobody is there
        (mask(slice(40, 96), slice(60, 90)), (540, 960), SHORT_512),  # the network sees all pixels there are
        (mask(slice(40, 96), slice(60, 90)), UHD, InputSize("full")),  # it is a key
    ],
)
def test_nothing_is_cropped_where_that_gains_nothing(
    seen: NDArray[np.bool_], frame: tuple[int, int], size: InputSize
) -> None:
    assert find_crop(standing(seen, seen), frame, size, may_move=True) is None


def test_no_survey_is_worth_it_where_the_network_sees_nearly_all_pixels() -> None:
    assert [can_gain((height, height * 16 // 9), SHORT_512) for height in (360, 540, 640, 720, 2160)] == [
        *(False, False, False, True, True)
    ]
    # RVM looks at 512 pixels of the longer side, whatever it is given.
    rvm = MODELS["rvm"].input_size
    assert rvm.scale(1080, 1920) == pytest.approx(512 / 1920)
    assert rvm.scale(200, 300) == 1


@pytest.mark.parametrize("size", [SHORT_512, InputSize("square", 1024), MODELS["birefnet-dynamic"].input_size])
def test_a_crop_is_no_finer_than_the_frame_and_no_more_work(size: InputSize) -> None:
    for seen in (
        mask(slice(50, 56), slice(60, 64)),
        mask(slice(10, 96), slice(60, 64)),
        mask(slice(50, 60), slice(9, 90)),
    ):
        track = find_crop(standing(seen), UHD, size, may_move=True)
        assert track is not None
        lines, columns = size.of(track.height, track.width)
        assert lines <= track.height + 16  # the multiple of 32 may round it up
        assert columns <= track.width + 16
        # So many pixels of the network's at most as for the whole frame, but for that rounding.
        assert lines * columns <= 1.07 * np.prod(size.of(*UHD))


def walking(seconds: int) -> tuple[Seen, list[slice]]:
    """Somebody of 12 columns who goes 5 columns a second; of each of 10 frames a second, where they are."""
    columns = [slice(int(10 + n / 2), int(22 + n / 2)) for n in range(10 * seconds)]
    numbers = tuple(range(5, 10 * seconds, 10))
    return Seen(numbers, np.stack([mask(slice(40, 80), columns[n]) for n in numbers]), (0,)), columns


def test_a_moving_crop_holds_the_subject_in_every_frame_and_goes_smoothly() -> None:
    seen, columns = walking(26)
    track = find_crop(seen, UHD, SHORT_512, may_move=True)
    assert track is not None
    assert track.moves
    scale = 3840 / COLUMNS
    boxes = [track.box(n) for n in range(len(columns))]
    for box, held in zip(boxes, columns, strict=True):
        assert box.left <= held.start * scale
        assert box.right >= held.stop * scale
        assert (box.top, box.bottom) == (boxes[0].top, boxes[0].bottom)
        assert box.top <= 40 * 22.5 < 80 * 22.5 <= box.bottom
        assert (box.left % 2, box.width) == (0, boxes[0].width)
        assert box.right <= 3840
    steps = np.diff([box.left for box in boxes])
    assert steps.min() >= 0
    assert steps.max() <= 0.5 * scale + 12  # the subject's own pace, and a little where its first and last windows end


def test_a_crop_stands_for_a_network_that_remembers() -> None:
    seen, _ = walking(26)
    track = find_crop(seen, UHD, SHORT_512, may_move=False)
    assert track is None or not track.moves


def test_a_crop_jumps_with_the_first_frame_of_a_shot() -> None:
    left, right = mask(slice(40, 80), slice(5, 17)), mask(slice(40, 80), slice(150, 162))
    seen = Seen((5, 15, 25, 35), np.stack([left, left, right, right]), (0, 22))
    track = find_crop(seen, UHD, SHORT_512, may_move=True)
    assert track is not None
    lefts = [track.box(number).left for number in range(40)]
    assert len(set(lefts[:22])) == 1
    assert len(set(lefts[22:])) == 1
    assert lefts[22] - lefts[21] > 2000


def test_a_crop_of_an_odd_frame_ends_with_it() -> None:
    track = find_crop(standing(mask(slice(60, 96), slice(140, 171))), (2161, 3841), SHORT_512, may_move=True)
    assert track is not None
    box = track.box(0)
    assert (box.bottom, box.right) == (2161, 3841)
    assert (box.top % 2, box.left % 2) == (0, 0)


def test_an_analysis_is_the_same_after_it_was_written() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (2, 5, 7), np.uint8)
    track = CropTrack(480, 640, (0, 10), (20, 30), (100, 0))
    analysis = Analysis((0, 7), track, SubjectTrack.of((3, 9), labels))
    again = Analysis.from_json(analysis.to_json())
    assert again == analysis
    assert again.subject is not None
    assert np.array_equal(again.subject.labels(), labels)
    # 0.3 of the way from 20 to 30, and from 100 to 0, rounded to even numbers.
    assert (track.box(3).top, track.box(3).left) == (2 * round(Fraction(23, 2)), 70)
    with pytest.raises(ValueError, match="crop"):
        Analysis.from_json('{"crop": 3}')
