"""Mattes become steady: each agrees with its neighbours in time, along the motion and within the shot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vmatte.frames import MatteBatch
from vmatte.imaging.blur import box_mean
from vmatte.imaging.motion import find_flow, warp
from vmatte.imaging.resize import resize
from vmatte.imaging.shots import SAME_SHOT, agreement, thumbnail
from vmatte.imaging.smoothing import agree, along, mismatch, standing, unsteadiness
from vmatte.options import GaussianSmoothing, MotionSmoothing

WORKING_LINES = 448
"""Short side of the grid on which motion is found and mattes are reconciled; larger mattes get the difference."""
_TOLERANCE = 5.0
"""8-bit levels by which a neighbour's colours may be off before its matte counts for little."""
_UNSTEADY_PX = 4.0
"""Pixels of the picture's grid by which the way there and back may miss its beginning before it counts for little."""
_FADING_FRAMES = 6.0
"""Frames after which a neighbour counts for little because of its distance alone."""


@dataclass(slots=True, eq=False)
class _Seen:
    """A frame in the window, with what its neighbours will ask of it."""

    matte: MatteBatch
    alpha: Tensor
    """(1, 1, h, w) on the working grid."""
    luma: Tensor
    """On the same grid, uint8, for the flow."""
    picture: Tensor
    """(1, 3, h/2, w/2) in 8-bit levels, blurred a little: noise is no motion."""
    thumbnail: Tensor
    flows: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """To the frame before (−1) and behind (1): flow on the picture's grid, in its pixels, and its unsteadiness."""
    follows: dict[int, bool] = field(default_factory=dict)
    """Whether it shows the shot of the frame 1 and 2 before it."""

    @property
    def number(self) -> int:
        return self.matte.frames.index.start


def smooth(mattes: Iterable[MatteBatch], options: GaussianSmoothing | MotionSmoothing) -> Iterator[MatteBatch]:
    """The same frames one by one, `reach` frames later; a frame's matte depends on those within `radius`, and on
    nothing else but one frame more on each side, which tells a cut from a flash."""
    window: list[_Seen] = []
    done = 0
    for matte in mattes:
        for one in _singly(matte):
            window.append(_see(one))
            _compare_with_those_before(window)
            if isinstance(options, MotionSmoothing) and len(window) > 1:
                _find_motion(window[-2], window[-1])
            while window[done].number + options.reach <= window[-1].number:
                yield _smoothed(window, done, options)
                done += 1
            while window[0].number + options.reach < window[done].number:
                window.pop(0)
                done -= 1
    for place in range(done, len(window)):
        yield _smoothed(window, place, options)


def _singly(matte: MatteBatch) -> Iterator[MatteBatch]:
    frames = matte.frames
    for t, number in enumerate(frames.index):
        one = slice(t, t + 1)
        yield MatteBatch(frames.part(range(number, number + 1)), matte.alpha[one])


def _see(matte: MatteBatch) -> _Seen:
    frame = matte.frames
    size = _working_size(frame.size)
    level = 2.0 ** (8 - frame.coding.bits)
    luma, chroma = (resize(planes, size).to(torch.float32) * level for planes in (frame.luma, frame.chroma))
    picture = box_mean(_halved(torch.cat([luma, chroma], dim=1)), 3)
    small = thumbnail(frame.luma, frame.chroma, frame.coding.bits)
    return _Seen(matte, resize(matte.alpha, size), luma.round().to(torch.uint8), picture, small)


def _working_size(frame: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, WORKING_LINES / min(frame))
    return max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale))


def _halved(planes: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    return resize(planes, (-(-height // 2), -(-width // 2)))


def _find_motion(before: _Seen, behind: _Seen) -> None:
    ways = (before.luma, behind.luma), (behind.luma, before.luma)
    there, back = (_halved(find_flow(*pictures)) / 2 for pictures in ways)
    before.flows[1] = there, unsteadiness(there, back)
    behind.flows[-1] = back, unsteadiness(back, there)


def _smoothed(window: list[_Seen], place: int, options: GaussianSmoothing | MotionSmoothing) -> MatteBatch:
    seen = window[place]
    if isinstance(options, GaussianSmoothing):
        smoothed = _mean_in_place(window, place, options)
    else:
        smoothed = _agreed_along_motion(window, place, options)
    alpha = seen.matte.alpha
    if smoothed is seen.alpha:
        return seen.matte
    if smoothed.shape == alpha.shape:
        return replace(seen.matte, alpha=smoothed)
    size = int(alpha.shape[-2]), int(alpha.shape[-1])
    return replace(seen.matte, alpha=(alpha + resize(smoothed - seen.alpha, size)).clamp_(0, 1))


def _agreed_along_motion(window: list[_Seen], place: int, options: MotionSmoothing) -> Tensor:
    seen = window[place]
    mattes, weights = [seen.alpha], []
    for way in (-1, 1):
        flow = unsteady = None
        for there in _neighbours(window, place, way, options.frames):
            step, step_unsteady = window[there - way].flows[way]
            if flow is None or unsteady is None:
                flow, unsteady = step, step_unsteady
            else:
                unsteady = unsteady + warp(step_unsteady, flow)
                flow = flow + warp(step, flow)
            moved = mismatch(seen.picture, warp(window[there].picture, flow))
            in_place = mismatch(seen.picture, window[there].picture)
            stands = standing(flow, in_place, moved)
            off = torch.where(stands, in_place, moved) / _TOLERANCE
            lost = unsteady.masked_fill(stands, 0) / _UNSTEADY_PX**2
            distance = (window[there].number - seen.number) / _FADING_FRAMES
            mattes.append(along(window[there].alpha, flow.masked_fill(stands, 0)))
            weights.append(torch.exp(-(off.square() + distance**2) / 2 - lost))
    if not weights:
        return seen.alpha
    return agree(torch.cat(mattes), torch.cat(weights), options.own_weight)


def _mean_in_place(window: list[_Seen], place: int, options: GaussianSmoothing) -> Tensor:
    seen = window[place]
    sigma = options.radius / 2
    total, weight = seen.alpha.clone(), 1.0
    for way in (-1, 1):
        for there in _neighbours(window, place, way, options.radius):
            share = math.exp(-(((window[there].number - seen.number) / sigma) ** 2) / 2)
            total += share * window[there].alpha
            weight += share
    return total / weight


def _neighbours(window: list[_Seen], place: int, way: int, radius: int) -> Iterator[int]:
    """Places of the frames before (way −1) or behind (1) that are near enough and of the same shot, nearest first."""
    there = place + way
    while 0 <= there < len(window) and abs(window[there].number - window[place].number) <= radius:
        if _is_cut(window, min(there, there - way)):
            return
        yield there
        there += way


def _is_cut(window: list[_Seen], place: int) -> bool:
    """Whether a shot ends with the frame at `place`; not where those on both sides of a strange one agree: a flash."""
    behind, after = window[place + 1], window[place + 2] if place + 2 < len(window) else None
    return not (
        behind.follows[1] or behind.follows.get(2, False) or (after is not None and after.follows.get(2, False))
    )


def _compare_with_those_before(window: list[_Seen]) -> None:
    last = window[-1]
    for back in (1, 2):
        # Beside a frame that is lost no other can be a flash: nobody is two before.
        if len(window) > back and (back == 1 or window[-1 - back].number == last.number - back):
            last.follows[back] = float(agreement(window[-1 - back].thumbnail, last.thumbnail)) > SAME_SHOT
