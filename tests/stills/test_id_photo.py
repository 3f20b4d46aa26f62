"""ID photos: the head is found in drawn people whose crown and chin are known, and comes to lie as the rule has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vmatte.errors import JobError, SourceError
from vmatte.stills.head import Head, cut_sides, find_head, head_placement
from vmatte.stills.sheet import print_sheet
from vmatte.stills.sizes import ID_PHOTOS, find_id_photo, find_sheet

Matte = NDArray[np.float32]


def person(size: tuple[int, int], top: float, tall: float, middle: float, *, hair: bool = False) -> Matte:
    """A head of `tall` rows from `top` on, three quarters as wide, on a neck of half of that and round shoulders; with
    hair that falls down to them."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    x, y = (x - middle) / tall, (y - top) / tall
    head = (x / 0.375) ** 2 + ((y - 0.5) / 0.5) ** 2 <= 1
    neck = (abs(x) < 0.22) & (y > 0.5) & (y < 1.4)
    shoulders = (x / 1.0) ** 2 + ((y - 2.3) / 1.15) ** 2 <= 1
    chest = (abs(x) < 1.0) & (y > 2.3)
    body = head | neck | shoulders | chest
    if hair:
        body |= (abs(x) < 0.4) & (y > 0.5) & (y < 1.3)
    return body.astype(np.float32)


@pytest.mark.parametrize(
    ("size", "top", "tall", "middle"),
    [
        ((1200, 900), 200, 300, 450),
        ((1200, 900), 120, 160, 300),
        ((400, 600), 30, 90, 380),
        ((4000, 3000), 500, 1300, 1500),
    ],
)
def test_crown_chin_and_middle_of_a_drawn_head_are_found(
    size: tuple[int, int], top: float, tall: float, middle: float
) -> None:
    head = find_head(person(size, top, tall, middle), "picture")
    assert abs(head.top - top) <= 0.02 * tall
    assert abs(head.chin - (top + tall)) <= 0.06 * tall
    assert abs(head.middle - middle) <= 0.02 * tall


def test_hair_over_the_neck_moves_the_chin_by_a_tenth_at_most() -> None:
    head = find_head(person((1200, 900), 200, 300, 450, hair=True), "picture")
    assert abs(head.chin - 500) <= 30


def test_somebody_else_beside_and_specks_above_do_not_count() -> None:
    matte = person((1200, 1600), 300, 300, 500)
    alone = find_head(matte, "picture")
    matte = np.maximum(matte, person((1200, 1600), 800, 120, 1400))
    matte[20:24, 500:504] = 1
    assert find_head(matte, "picture") == alone


def test_a_hand_beside_the_head_does_not_move_it() -> None:
    matte = person((1200, 900), 300, 300, 450)
    alone = find_head(matte, "picture")
    matte[350:900, 700:760] = 1  # an arm, up from the shoulder
    raised = find_head(matte, "picture")
    assert abs(raised.chin - alone.chin) <= 15
    assert abs(raised.middle - alone.middle) <= 15


def disc() -> Matte:
    y, x = np.mgrid[:600, :600]
    return ((x - 300) ** 2 + (y - 300) ** 2 <= 200**2).astype(np.float32)


def box() -> Matte:
    matte = np.zeros((600, 600), np.float32)
    matte[100:, 150:450] = 1
    return matte


@pytest.mark.parametrize("make", [disc, box])
def test_what_is_no_head_above_shoulders_is_refused(make: object) -> None:
    with pytest.raises(SourceError, match=r"ball\.jpg: no head above shoulders"):
        find_head(make(), "ball.jpg")  # type: ignore[operator]


def test_an_empty_picture_has_nobody() -> None:
    with pytest.raises(SourceError, match="nobody is seen"):
        find_head(np.zeros((300, 200), np.float32), "empty.jpg")


@pytest.mark.parametrize(
    ("name", "pixels"),
    # Width and height in millimetres × 300 / 25.4, as studios list them.
    [
        ("1inch", (295, 413)),
        ("small-1inch", (260, 378)),
        ("2inch", (413, 579)),
        ("cn-passport", (390, 567)),
        ("us-visa", (600, 600)),
        ("eu", (413, 531)),
    ],
)
def test_sizes_are_the_pixels_that_studios_list(name: str, pixels: tuple[int, int]) -> None:
    assert find_id_photo(name).pixels == pixels


RULES = {  # least and greatest head, in mm, of each rule's own text; and what is above it
    "us-visa": ((25.4, 34.925), None),
    "eu": ((32, 36), None),
    "cn-passport": ((28, 33), (3, 5)),
}


@pytest.mark.parametrize("name", RULES)
def test_the_head_is_as_high_and_as_far_from_the_edge_as_the_rule_wants(name: str) -> None:
    photo, (head_mm, room_mm) = ID_PHOTOS[name], RULES[name]
    head = Head(top=200, chin=800, middle=700)
    placement = head_placement(head, (2000, 1400), photo, "picture")
    tall_mm = 600 * float(placement.scale) / 300 * 25.4
    top_mm = (float(placement.top) + 200 * float(placement.scale)) / 300 * 25.4
    assert head_mm[0] <= tall_mm <= head_mm[1]
    if room_mm is not None:
        assert room_mm[0] <= top_mm <= room_mm[1]
    assert float(placement.left) + 700 * float(placement.scale) == pytest.approx(photo.pixels[0] / 2, abs=0.02)
    assert placement.size == photo.pixels[::-1]
    if name == "us-visa":  # eyes 1 1/8 to 1 3/8 inches above the edge, in the middle of the head or a little below
        for part in (0.5, 0.55):
            assert 1.125 <= 2 - (top_mm + part * tall_mm) / 25.4 <= 1.375


def test_a_picture_that_ends_early_is_enlarged_as_far_as_the_rule_allows_and_else_refused() -> None:
    photo = ID_PHOTOS["eu"]
    usual = head_placement(Head(200, 800, 700), (2000, 1400), photo, "picture").scale
    short = head_placement(Head(200, 800, 700), (895, 1400), photo, "picture")
    assert usual < short.scale
    assert float(short.top + 895 * short.scale) == pytest.approx(photo.pixels[1], abs=0.1)
    with pytest.raises(SourceError, match=r"short\.jpg: eu shows more below the chin"):
        head_placement(Head(200, 800, 700), (850, 1400), photo, "short.jpg")
    with pytest.raises(SourceError, match="cut off above"):
        head_placement(Head(0, 800, 700), (2000, 1400), photo, "picture")


def test_a_body_that_is_cut_off_within_the_photo_is_told() -> None:
    photo, matte = ID_PHOTOS["us-visa"], person((1600, 900), 300, 400, 450)
    whole = head_placement(find_head(person((1600, 1200), 300, 400, 600), "picture"), (1600, 1200), photo, "picture")
    assert cut_sides(person((1600, 1200), 300, 400, 600), whole) == []
    narrow = matte[:, 180:]  # the shoulder on the left ends with the picture
    placement = head_placement(find_head(narrow, "picture"), (1600, 720), photo, "picture")
    assert cut_sides(narrow, placement) == ["left"]


def test_a_size_of_ones_own_is_taken_and_nonsense_is_not() -> None:
    assert find_id_photo("26x32mm@350").pixels == (358, 441)  # China's identity card, GA 461: 358 × 441
    own = find_id_photo("33x48mm")
    assert (own.width_mm, own.height_mm, own.dpi) == (33, 48, 300)
    assert own.head_mm == pytest.approx((0.55 * 48, 0.7 * 48))
    for word in ("3inch", "33x48", "0x48mm", "33x48mm@9999"):
        with pytest.raises(JobError):
            find_id_photo(word)


def test_a_sheet_has_as_many_photos_as_fit_at_their_true_size_with_marks_between() -> None:
    photo = np.random.default_rng(0).integers(0, 128, (413, 295, 3), np.uint8)  # no white in it, and no gray 128
    sheet = print_sheet(photo, ID_PHOTOS["1inch"], find_sheet("4x6in"))
    # Lying, 152.4 mm hold five of 25 mm and 101.6 mm two of 35 mm, 3 mm apart; upright it would be three by three.
    assert sheet.shape == (1200, 1800, 3)
    corners = [(y, x) for y in range(1200 - 413) for x in np.flatnonzero((sheet[y] == photo[0, 0]).all(-1)) if x < 1506]
    found = [(y, x) for y, x in corners if np.array_equal(sheet[y : y + 413, x : x + 295], photo)]
    assert len(found) == 10
    lefts, tops = sorted({x for _, x in found}), sorted({y for y, _ in found})
    assert set(np.diff(lefts)) == {295 + 35}
    assert set(np.diff(tops)) == {413 + 35}
    assert (lefts[0] + lefts[-1] + 295, tops[0] + tops[-1] + 413) == pytest.approx((1800, 1200), abs=1)
    assert sheet[tops[0] - 10, lefts[0] - 1].tolist() == [128] * 3  # a mark, outside the photo
    assert sheet[tops[0] - 10, lefts[0] + 5].tolist() == [255] * 3
    assert sheet[0, 0].tolist() == [255] * 3


def test_a_photo_larger_than_the_paper_is_refused() -> None:
    with pytest.raises(JobError, match="does not fit"):
        print_sheet(np.zeros((4, 4, 3), np.uint8), find_id_photo("120x160mm"), find_sheet("5inch"))


def test_an_id_photo_of_a_file_has_the_rules_size_head_ground_and_resolution(
    tmp_path: Path, vmatte_command: object
) -> None:
    matte = person((1600, 1200), 300, 400, 620)
    Image.fromarray((matte * 255).astype(np.uint8)).save(tmp_path / "portrait.png")
    ended = vmatte_command(  # type: ignore[operator]
        "image", tmp_path / "portrait.png", "--model", "luma-key", "--id-photo", "us-visa", "--bg", "blue",
        "--sheet", "4x6in", "-o", tmp_path / "id.png",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, ended.err)
    with Image.open(tmp_path / "id.png") as photo:
        assert photo.size == (600, 600)
        assert [round(dots) for dots in photo.info["dpi"]] == [300, 300]
        seen = np.asarray(photo)
    assert seen[5, 5].tolist() == [0x43, 0x8E, 0xDB]
    white = (seen > 250).all(axis=-1)
    rows = np.flatnonzero(white.any(axis=1))
    assert rows[0] == pytest.approx(4.5 / 25.4 * 300, abs=4)
    columns = np.flatnonzero(white[rows[0] + 100])
    assert columns.mean() == pytest.approx(299.5, abs=3)
    wide_mm = max(np.count_nonzero(row) for row in white[rows[0] : rows[0] + 330]) / 300 * 25.4
    assert wide_mm == pytest.approx(0.75 * (27 + 33.5) / 2, rel=0.06)
    with Image.open(tmp_path / "id_sheet.png") as sheet:
        assert sheet.size in ((1200, 1800), (1800, 1200))
