"""Who is who in mattes: pieces that hang together, followed over time, and split where people touch.

All in small pictures (h, w) of numpy: a label is 0 for nobody, and else the number of a person.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]

SOLID = 128
"""Of 255: alpha from here on makes a piece; what is softer goes with the nearest one."""
_CLAIM = 0.3
"""The part of the smaller of a piece and a place that both must share for the piece to belong there."""
_OF_ITS_OWN = 0.125
"""A piece is a person of its own, and not a hand or a book, from this part of the largest piece's area on."""
_LEAST = 0.001
"""The same, as a part of the picture."""
_OF_NO_WEIGHT = 1 / 16
"""Pieces below this part of the largest one's area may be a network's mistakes."""
_NEAR = 0.25
"""Of the largest one's longer side: what is no further away is a hand, or hair."""
_STRIDE = 0.25
"""How far somebody comes at most between two samples, as a part of the picture's longer side."""
_REMEMBERED = 10
"""Samples for which a place is still somebody's who is not seen there: behind another one, for instance."""


def pieces(solid: Mask) -> list[Mask]:
    """What hangs together, the largest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=8)
    by_area = sorted(range(1, count), key=lambda label: (-int(stats[label, cv2.CC_STAT_AREA]), label))
    return [labels == label for label in by_area]


def nearest(places: Mapping[int, Mask], shape: tuple[int, int]) -> Labels:
    """For each pixel the number of the nearest place; of those equally near the one that is named first."""
    labels = np.zeros(shape, np.int32)
    least = np.full(shape, np.inf, np.float32)
    for number, place in places.items():
        if place.any():
            distance = cv2.distanceTransform((~place).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            labels = np.where(distance < least, number, labels)
            least = np.minimum(distance, least)
    return labels


def share_out(solid: Sequence[Mask], places: Mapping[int, Mask]) -> tuple[dict[int, Mask], list[Mask]]:
    """Who has which of some pieces, when these are the places of people: a number's mask, and the pieces that nobody
    claims. Where several claim one piece, each pixel goes to the nearest place inside it."""
    found: dict[int, Mask] = {}
    unclaimed = []
    for piece in solid:
        claims = {number: piece & place for number, place in places.items() if _claims(piece, place)}
        if not claims:
            unclaimed.append(piece)
            continue
        owners = nearest(claims, (piece.shape[0], piece.shape[1]))
        for number in claims:
            mask = piece & (owners == number)
            found[number] = found[number] | mask if number in found else mask
    return found, unclaimed


def _claims(piece: Mask, place: Mask) -> bool:
    smaller = min(np.count_nonzero(piece), np.count_nonzero(place))
    return bool(smaller > 0 and np.count_nonzero(piece & place) >= _CLAIM * smaller)


def label_people(alphas: NDArray[np.uint8], shot_of: NDArray[np.int64]) -> Labels:
    """Labels (N, h, w) of mattes (N, h, w), samples of a clip in order, each with its shot's number.

    A shot is followed from the sample in which most people stand apart, to its end and to its beginning: who was told
    apart once is, as far as that goes, also where they touch.
    """
    labels: Labels = np.zeros(alphas.shape, np.int32)
    people = 0
    for shot in np.unique(shot_of):
        samples = np.flatnonzero(shot_of == shot).tolist()
        solid = {sample: pieces(alphas[sample] >= SOLID) for sample in samples}
        apart = [len(_persons(solid[sample])) for sample in samples]
        start = apart.index(max(apart))
        places: dict[int, Mask] = {}
        for person in _persons(solid[samples[start]]):
            people += 1
            places[people] = person
        _add(labels[samples[start]], places, solid[samples[start]])
        for way in (samples[start:], samples[start::-1]):
            people = _follow(labels, way, solid, people)
    return labels


def _persons(solid: Sequence[Mask]) -> list[Mask]:
    """The pieces that are not merely a hand."""
    if not solid:
        return []
    least = max(_OF_ITS_OWN * np.count_nonzero(solid[0]), _LEAST * solid[0].size)
    return [piece for piece in solid if np.count_nonzero(piece) >= least]


def _add(labels: Labels, found: Mapping[int, Mask], solid: Sequence[Mask]) -> None:
    """Write into labels (h, w) who has which pixels; pieces that nobody has go with the nearest."""
    for number, mask in found.items():
        labels[mask] = number
    left = [piece for piece in solid if not labels[piece].any()]
    owners = nearest(found, (labels.shape[0], labels.shape[1]))
    for piece in left:
        labels[piece] = np.bincount(owners[piece]).argmax()


def _follow(labels: Labels, way: Sequence[int], solid: Mapping[int, Sequence[Mask]], people: int) -> int:
    """Label the samples of a way one after the other, from the first on, which is; returns how many people there are
    by then."""
    seen = {int(number): [labels[way[0]] == number] for number in np.unique(labels[way[0]]) if number}
    missed = dict.fromkeys(seen, 0)
    for sample in way[1:]:
        places = {number: _expected(masks) if not missed[number] else masks[-1] for number, masks in seen.items()}
        found, unclaimed = share_out(solid[sample], places)
        persons = {id(person) for person in _persons(solid[sample])}
        away = {number: place for number, place in places.items() if number not in found and not missed[number]}
        for piece in unclaimed:
            if id(piece) in persons:
                number = _walked_here(piece, away)
                if number is None:
                    people += 1
                    number = people
                away.pop(number, None)
                found[number] = piece
        _add(labels[sample], found, solid[sample])
        for number in found:
            mask = labels[sample] == number
            seen[number] = [*seen.get(number, []), mask][-2:] if not missed.get(number) else [mask]
        missed = {number: 0 if number in found else missed[number] + 1 for number in seen}
        seen = {number: masks for number, masks in seen.items() if missed[number] <= _REMEMBERED}
    return people


def _walked_here(piece: Mask, away: Mapping[int, Mask]) -> int | None:
    """Who of those that were just elsewhere is this piece: the nearest one of about its size."""
    area, middle = np.count_nonzero(piece), _middle(piece)
    far = {
        number: math.dist(middle, _middle(place))
        for number, place in away.items()
        if place.any() and area / 2 <= np.count_nonzero(place) <= 2 * area
    }
    number = min(far, key=lambda one: far[one], default=None)
    return None if number is None or far[number] > _STRIDE * max(piece.shape) else number


def _expected(masks: Sequence[Mask]) -> Mask:
    """Where somebody is next who was seen in the last two samples, or the last one."""
    if len(masks) < 2:
        return masks[-1]
    (y, x), (next_y, next_x) = (_middle(mask) for mask in masks)
    return moved(masks[-1], next_y - y, next_x - x)


def _middle(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def moved(mask: Mask, down: float, right: float) -> Mask:
    """A mask moved by so many pixels; what comes in from outside is empty."""
    matrix = np.array([[1, 0, round(right)], [0, 1, round(down)]], np.float32)
    shifted = cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(shifted > 0)


def without_specks(masks: Mask) -> Mask:
    """Masks (N, h, w) of a clip's samples without what a network sees in a chair or a plant now and then: pieces that
    are small beside the largest, apart from it, and not there in half of the samples."""
    often = 2 * masks.sum(axis=0) >= len(masks)
    cleaned = np.zeros_like(masks)
    for clean, mask in zip(cleaned, masks, strict=True):
        found = pieces(mask)
        large = [piece for piece in found if np.count_nonzero(piece) >= _OF_NO_WEIGHT * np.count_nonzero(found[0])]
        if large:
            clean |= np.logical_or.reduce(large)
            away = cv2.distanceTransform((~clean).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            reach = _NEAR * max(side.any(axis=axis).sum() for side in large for axis in (0, 1))
            for piece in found[len(large) :]:
                if away[piece].min() <= reach or often[piece].any():
                    clean |= piece
    return cleaned


def choose_subject(labels: Labels, shot_of: NDArray[np.int64], keep: Literal["largest", "center"]) -> NDArray[np.uint8]:
    """The same labels with 1 for the one who is kept, and the others from 2 on: one of each shot.

    `largest` has the largest area over the shot; `center` is, in the mean, nearest the picture's middle column, of
    those who are there at least half as long as anybody.
    """
    chosen = np.zeros(labels.shape, np.uint8)
    for shot in np.unique(shot_of):
        own = labels[shot_of == shot]
        areas = {int(number): (own == number).sum(axis=(1, 2)) for number in np.unique(own) if number}
        if not areas:
            continue
        order = sorted(areas, key=lambda number: (-int(areas[number].sum()), number))
        if keep == "center":
            longest = max(np.count_nonzero(area) for area in areas.values())
            long = [number for number in order if 2 * np.count_nonzero(areas[number]) >= longest]
            first = min(long, key=lambda number: _off_middle(own == number))
            order.remove(first)
            order.insert(0, first)
        new = np.zeros(labels.max() + 1, np.uint8)
        for place, number in enumerate(order):
            new[number] = min(place + 1, 255)
        chosen[shot_of == shot] = new[own]
    return chosen


def _off_middle(masks: Mask) -> float:
    """How many columns somebody is off the picture's middle, in the mean over the samples in which they are."""
    middle = (masks.shape[2] - 1) / 2
    return float(np.mean([abs(_middle(mask)[1] - middle) for mask in masks if mask.any()]))


def places_between(before: NDArray[np.uint8], behind: NDArray[np.uint8], part: float) -> dict[int, Mask]:
    """Where people are at this part of the way from one sample's labels (h, w) to the next one's.

    Who is in both has moved in a straight line; who is in one of them is where that has them.
    """
    places = {}
    for number in sorted(set(np.unique(before)) | set(np.unique(behind))):
        first, last = before == number, behind == number
        if number == 0:
            continue
        if first.any() and last.any():
            (y, x), (last_y, last_x) = _middle(first), _middle(last)
            down, right = last_y - y, last_x - x
            place = moved(first, part * down, part * right)
            place |= moved(last, (part - 1) * down, (part - 1) * right)
        else:
            place = first | last
        places[int(number)] = place
    return places


def part_of_subject(alpha: NDArray[np.float32], places: Mapping[int, Mask]) -> NDArray[np.float32] | None:
    """How much of a small matte (h, w) in [0, 1] is the subject's, who is number 1 of those in these places: (h, w) in
    [0, 1]; None where all of it is, or nobody is known.

    Pieces go to who claims them, else to whoever is nearest; soft edges go with their piece, and between two people
    the border lies half-way.
    """
    if not places:
        return None
    solid = pieces(alpha * 255 >= SOLID)
    found, unclaimed = share_out(solid, places)
    owners = nearest(found or places, (alpha.shape[0], alpha.shape[1]))
    for piece in unclaimed:
        number = int(np.bincount(owners[piece]).argmax())
        found[number] = found[number] | piece if number in found else piece
    if not set(found) - {1}:
        return None
    others = np.zeros(alpha.shape, bool)
    for number, mask in found.items():
        others |= mask if number != 1 else False
    if 1 not in found:
        return np.zeros(alpha.shape, np.float32)
    to_subject, to_others = (
        cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for mask in (found[1], others)
    )
    return np.clip(0.5 + (to_others - to_subject) / 2, 0, 1).astype(np.float32)
