"""A matte from a coloured screen: the colour difference (Vlahos 1971, US patent 3 595 987), measured as light.

Where the subject lets the share 1 − alpha of the screen through, that share of the screen's own difference is left:
its channel above the stronger one of the other two. A subject that is not of the screen's colour has none.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.analysis import Hue, Rgb, ScreenColor, Surface
from vmatte.clip import Coding
from vmatte.imaging.color import codes_to_rgb, strips, upsample_chroma
from vmatte.imaging.resize import resize

HUES: tuple[Hue, ...] = ("green", "blue")
_CHANNEL: dict[Hue, tuple[int, int, int]] = {"green": (1, 0, 2), "blue": (2, 0, 1)}
"""The screen's channel, and the other two."""

LIGHT = 2.2
"""Exponent that takes display-encoded values to light."""
MOST_SPREAD = 0.25
"""A screen that spreads by more leaves nothing of a soft edge: what goes beyond shows."""
_MARGIN = 1.25
"""How far beyond what was seen of a screen it still is the screen: later frames have other noise."""
_UNEVEN = (0.4, 1.8)
"""How dim and how bright a screen may be, against the middle of the frame."""
_SOLID = (0.5, 0.75)
"""Where all round a pixel alpha is above the second it is solid, whatever green it reflects; below the first it is
glass."""
_ROUND = 0.01
"""How far "all round" is, as a part of the short side."""
_NEAR_SUBJECT = 0.5
"""Of the screen's spread, what is taken off near the subject: there a little noise is not seen, but thin hair is."""
_FAINT = 1e-6
CELL = 4
"""Side of the cells of pixels in which that is looked for."""

# Beside a network
_CORE_DEPTH = 0.015
"""How far inside a network's edge its matte is taken for solid, as a part of the short side: beyond its own errors."""
_REACH = 0.04
"""How far outside it the key still counts: hair flies beyond what a network sees of it."""
_SURE = 0.1
"""A network's alpha below it is nothing, above 1 less it solid; one half may be a veil, which the key knows better."""
_WORKING_LINES = 135
"""Short side, at least, of the grid on which both are found."""

# Finding a screen
_SATURATION = 0.3
"""A screen's difference is at least this part of its channel's light; grass and sky mostly have less."""
_DARKEST = 0.015
"""Light of the screen's channel below which a colour is noise."""
_BORDER = 8
"""The border at which a screen is looked for: a part of each side, this many to a picture."""
_INSIDE_WEIGHT = 0.25
"""Of a pixel further in, against one at the border."""
_LEAST_SHARE = 0.1
"""Of the weights, which a screen has."""
_BINS = 32
"""A side of the cube in which the commonest colour is looked for."""
_ONE_COLOUR = 0.08
"""How far from the commonest colour, display-encoded, its own pixels may be."""
_ROUND_PAINT = 0.25
"""The same of a colour that was given: no camera sees a screen just so."""
_FITS = 3
"""How often the screen's light is fitted, each time to what the last fit takes for screen."""
_EVEN = 1e-3
"""How much the fit is held to an even light, against what is seen."""
_NEARLY_ALL = 0.999
_SUBJECT = 0.4
"""Alpha above it, as a mean of nine pixels, is no screen."""
_CLEAR_OF_SUBJECT = 0.04
"""How far from there nothing of the subject is left, as a part of the short side."""


def difference(rgb: Tensor, hue: Hue) -> Tensor:
    """The colour difference (T, 1, H, W), as light, of R'G'B' (T, 3, H, W) in [0, 1]."""
    own, one, other = (rgb[:, channel : channel + 1] for channel in _CHANNEL[hue])
    return own.clamp(0, 1) ** LIGHT - torch.maximum(one, other).clamp(0, 1) ** LIGHT


def key(
    luma: Tensor,
    chroma: Tensor,
    coding: Coding,
    hue: Hue,
    screen: ScreenColor,
    shade: Tensor | None = None,
    picture: tuple[tuple[int, int], tuple[int, int]] | None = None,
) -> Tensor:
    """Alpha (T, 1, H, W) float32 in [0, 1] of codes: luma (T, 1, H, W), chroma (T, 2, h, w) full or half size.

    `shade` (1, 1, H, W) is the difference of the screen alone in every pixel, from a clean plate. `picture`: the rows
    and the columns over which the screen was found, where bars lie beside them. What is within the screen's spread of
    its colour is exactly 0 away from the subject, what is as near to having no difference and deep inside exactly 1.
    """
    alpha = torch.empty(luma.shape, dtype=torch.float32, device=luma.device)
    height, width = luma.shape[-2:]
    of_rows, of_columns = picture or ((0, height), (0, width))
    down, across = _places(height, luma.device, *of_rows), _places(width, luma.device, *of_columns)
    for rows in strips(luma):
        own, stronger = _channels(luma[rows], _rows_of(chroma, rows[1], luma.shape[-2:]), coding, hue)
        part = own.pow_(LIGHT).sub_(stronger.pow_(LIGHT))
        whole = surface(screen.difference, down[rows[1]], across)
        part.div_(whole if shade is None else whole * shade[rows]).neg_()
        alpha[rows] = _clipped(part.add_(1), _NEAR_SUBJECT * screen.spread)
    return _settled(alpha, screen)


def _places(side: int, device: torch.device, first: int = 0, behind: int | None = None) -> Tensor:
    """The middles of so many pixels: −1 is where pixel `first` begins, 1 where the one before `behind` ends."""
    places = torch.arange(side, device=device, dtype=torch.float32)
    return (places + 0.5 - first) * (2 / ((side if behind is None else behind) - first)) - 1


def surface(light: Surface, down: Tensor, across: Tensor) -> Tensor:
    """The light (h, w) at places from −1 to 1: down (h,), across (w,); nowhere far from that in the middle of it."""
    one, x, y, xx, xy, yy = light
    by_row, by_column = (down * y + down.square() * yy + one)[:, None], (across * x + across.square() * xx)[None]
    # Behind the subject it is not seen: there a fit must not run away.
    low, high = (one * limit for limit in _UNEVEN)
    return torch.addmm(by_row + by_column, down[:, None], (across * xy)[None]).clamp_(low, high)


def _fitted(seen: Tensor, weight: Tensor) -> Surface:
    """The smooth light that is nearest, by least squares, to what is seen (T, 1, h, w), where `weight` is not 0."""
    down, across = (_places(side, seen.device) for side in seen.shape[-2:])
    y, x = (part.flatten().to(torch.float64) for part in torch.meshgrid(down, across, indexing="ij"))
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=1)
    weights = weight.sum(0).flatten().to(torch.float64)
    sums = (seen * weight).sum(0).flatten().to(torch.float64)
    middle = float(sums.sum() / weights.sum())
    # A little is held to one even light: what a narrow screen does not tell is not made up.
    held = torch.eye(6, dtype=torch.float64) * (_EVEN * float(weights.sum()))
    target = torch.tensor([middle, 0, 0, 0, 0, 0], dtype=torch.float64)
    found = torch.linalg.solve(terms.T @ (terms * weights[:, None]) + held, terms.T @ sums + held @ target)
    one, *others = found.tolist()
    return (one, others[0], others[1], others[2], others[3], others[4])


def _channels(luma: Tensor, chroma: Tensor, coding: Coding, hue: Hue) -> tuple[Tensor, Tensor]:
    """The screen's channel and the stronger of the others, (T, 1, H, W) in [0, 1], of codes at full size."""
    matrix, offset = (part.tolist() for part in codes_to_rgb(coding, torch.device("cpu")))
    cb, cr = chroma[:, :1], chroma[:, 1:]
    own, one, other = _CHANNEL[hue]
    # Luma counts the same in all three, Cb and Cr not at all in one of them each.
    y = luma.to(torch.float32).mul_(matrix[own][0])
    above = [_weighted(cb, cr, matrix[channel]).add_(offset[channel][0]) for channel in (one, other)]
    stronger = torch.maximum(*above, out=above[0]).add_(y).clamp_(0, 1)
    return y.add_(_weighted(cb, cr, matrix[own])).add_(offset[own][0]).clamp_(0, 1), stronger


def _weighted(cb: Tensor, cr: Tensor, row: list[float]) -> Tensor:
    """What chroma adds to a channel, with its row of the matrix; a plane that adds nothing costs nothing."""
    if abs(row[1]) < _FAINT or abs(row[2]) < _FAINT:
        return cb * row[1] if abs(row[2]) < _FAINT else cr * row[2]
    return (cb * row[1]).add_(cr, alpha=row[2])


def _rows_of(chroma: Tensor, rows: slice, size: torch.Size) -> Tensor:
    """Some rows of chroma (T, 2, h, w) at full (height, width), float32: as `upsample_chroma` of all of it has them."""
    height, width = size
    step = -(-height // chroma.shape[-2])
    # A row more either side, for the rows at the ends lie between two.
    top = max(rows.start // step - 1, 0)
    part = chroma[..., top : -(-rows.stop // step) + 1, :].to(torch.float32)
    part = upsample_chroma(part, (step * int(part.shape[-2]), width))
    return part[..., rows.start - top * step : min(rows.stop, height) - top * step, :]


def _clipped(alpha: Tensor, spread: float) -> Tensor:
    """Alpha with the screen's spread taken off at both ends, at twice the slope; what lies between stays as it is."""
    toe = (alpha * 2).sub_(2 * spread)
    head = toe + (4 * spread - 1)
    return torch.minimum(alpha, toe, out=toe).maximum(head).clamp_(0, 1)


def _settled(alpha: Tensor, screen: ScreenColor) -> Tensor:
    """Alpha, in place: 0 where all round there is nothing but the screen's noise, 1 where all round it is nearly solid,
    for a reflection of the screen is no hole."""
    height, width = alpha.shape[-2:]
    grid = (-(-height // CELL), -(-width // CELL))
    reach = max(1, round(min(height, width) * _ROUND / CELL))
    least, mean = _over_cells(alpha, grid)
    low, high = _SOLID
    solid = ((lowest(least, reach) - low) / (high - low)).clamp_(0, 1)
    # A screen without noise has no spread: there nothing is taken off.
    seen = ((highest(mean, reach) - screen.calm) / max(screen.calm, _FAINT)).clamp_(0, 1)
    # One plane, to enlarge but once: up to 1 how much is seen, above it how solid it is.
    both = resize(seen + solid, (grid[0] * CELL, grid[1] * CELL))[..., :height, :width]
    for rows in strips(alpha):
        part = both[rows]
        torch.maximum(alpha[rows].mul_(part.clamp(max=1)), part - 1, out=alpha[rows])
    return alpha


def _over_cells(alpha: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The least and the mean of every cell of alpha (T, 1, H, W); the border goes on."""
    height, width = alpha.shape[-2:]
    if (height, width) != (grid[0] * CELL, grid[1] * CELL):
        alpha = F.pad(alpha, (0, grid[1] * CELL - width, 0, grid[0] * CELL - height), mode="replicate")
    least = alpha.view(len(alpha), 1, grid[0], CELL, grid[1] * CELL).amin(3)
    while least.shape[-1] > grid[1]:  # CELL is a power of two; amin over so few neighbours is slow
        least = torch.minimum(least[..., 0::2], least[..., 1::2])
    return least, resize(alpha, grid)


def lowest(planes: Tensor, reach: int) -> Tensor:
    """The least of the pixels within `reach` rows and columns, of (T, 1, h, w) float32."""
    return -highest(-planes, reach)


def highest(planes: Tensor, reach: int) -> Tensor:
    """The greatest of the pixels within `reach` rows and columns, of (T, 1, h, w) float32."""
    side = 2 * reach + 1
    if planes.device.type != "cpu":
        return F.max_pool2d(F.max_pool2d(planes, (side, 1), 1, (reach, 0)), (1, side), 1, (0, reach))
    # A twentieth of max_pool2d's time.
    found = torch.empty(planes.shape, dtype=torch.float32)
    for plane, target in zip(planes[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        cv2.dilate(plane, np.ones((side, side), np.uint8), dst=target)
    return found


def find_screen(
    pictures: Tensor, cells: Tensor, hue: Hue, paint: Rgb | None = None, shade: Tensor | None = None
) -> ScreenColor | None:
    """The screen of a shot, from small pictures of it; None where there is none of that hue.

    `pictures` (T, 3, h, w) R'G'B' in [0, 1] are pixels picked out, not means, so that they have the clip's noise;
    `cells`, of the same size, are the means of the cells round them.
    `paint` is the screen's colour where it is known; `shade` (1, 1, h, w) as for `key`, picked out likewise.
    """
    excess, own = difference(pictures, hue), pictures[:, _CHANNEL[hue][0]][:, None].clamp(0, 1) ** LIGHT
    saturated = ((excess > _SATURATION * own) & (own > _DARKEST)).to(torch.float32)
    place = _border_weight(pictures)
    place /= place.sum() * len(pictures)
    weight = (saturated * place).flatten()
    colours = pictures.permute(0, 2, 3, 1).flatten(0, 2)
    rgb = paint
    if rgb is None:
        if float(weight.sum()) < _LEAST_SHARE:
            return None
        rgb = _commonest(colours, weight)
    near = (colours - torch.tensor(rgb)).square().sum(dim=1).sqrt() < (_ONE_COLOUR if paint is None else _ROUND_PAINT)
    near &= saturated.flatten() > 0
    share = float((near * place.expand_as(excess).flatten()).sum())
    if share < _LEAST_SHARE / 2:
        return None
    relative = excess if shade is None else excess / shade
    seen = near.view(relative.shape)
    light: Surface = (float(relative[seen].median()), 0, 0, 0, 0, 0)
    down, across = (_places(side, pictures.device) for side in pictures.shape[-2:])
    if paint is not None and shade is None:
        light = (float(difference(torch.tensor(paint).view(1, 3, 1, 1), hue)), 0, 0, 0, 0, 0)
    else:
        for _ in range(_FITS):
            clear = _clear(1 - relative / surface(light, down, across))
            if not bool(clear.any()):
                break
            light = _fitted(relative, clear.to(torch.float32))
    whole = surface(light, down, across) * (1 if shade is None else shade)
    clear = _clear(1 - excess / whole)
    spread, calm = (_spread(1 - difference(each, hue) / whole, clear) for each in (pictures, cells))
    return ScreenColor(rgb, light, spread, calm, share)


def _border_weight(pictures: Tensor) -> Tensor:
    """(1, 1, h, w): 1 at the border but the lower one, where the subject stands."""
    height, width = pictures.shape[-2:]
    place = torch.full((1, 1, height, width), _INSIDE_WEIGHT)
    place[..., : -(-height // _BORDER), :] = 1
    side = -(-width // _BORDER)
    place[..., :side] = 1
    place[..., width - side :] = 1
    return place


def _commonest(colours: Tensor, weight: Tensor) -> Rgb:
    """The mode of colours (N, 3) in [0, 1] with weights (N,): the fullest cell of a cube, then the mean round it."""
    cells = (colours * _BINS).to(torch.int64).clamp_(0, _BINS - 1)
    number = (cells[:, 0] * _BINS + cells[:, 1]) * _BINS + cells[:, 2]
    fullest = torch.bincount(number, weight, minlength=_BINS**3).argmax()
    middle = (colours * (weight * (number == fullest))[:, None]).sum(0) / (weight * (number == fullest)).sum()
    for _ in range(5):
        near = weight * ((colours - middle).square().sum(dim=1).sqrt() < _ONE_COLOUR)
        middle = (colours * near[:, None]).sum(0) / near.sum()
    red, green, blue = middle.tolist()
    return red, green, blue


def _clear(alpha: Tensor) -> Tensor:
    """Where, in alpha (T, 1, h, w), there is the screen and nothing of the subject near."""
    reach = max(1, round(min(alpha.shape[-2:]) * _CLEAR_OF_SUBJECT))
    # Means of nine: a single pixel of noise is no subject.
    calm = F.avg_pool2d(F.pad(alpha, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return highest(calm, reach) < _SUBJECT


def _spread(alpha: Tensor, clear: Tensor) -> float:
    """How far the screen goes from 0 in alpha (T, 1, h, w), where it is clear."""
    seen = alpha[clear]
    if len(seen) == 0:
        return MOST_SPREAD
    farthest = float(seen.sort().values[min(int(len(seen) * _NEARLY_ALL), len(seen) - 1)])
    return min(max(farthest, 0) * _MARGIN, MOST_SPREAD)


def edge_keyed(alpha: Tensor, keyed: Tensor) -> Tensor:
    """A network's alpha with the key's edge, both (T, 1, H, W) in [0, 1].

    Well inside the network's matte it is solid, whatever the key sees there (a green tie); far outside it is nothing (a
    lamp beside the screen); between the two it is the key's.
    """
    height, width = alpha.shape[-2:]
    short = min(height, width)
    step = max(1, short // _WORKING_LINES)
    small = resize(alpha, (max(1, height // step), max(1, width // step)))
    core = lowest(small, max(1, round(short * _CORE_DEPTH / step)))
    near = highest(small, max(1, round(short * _REACH / step)))
    core = ((core - 0.5) / (0.5 - _SURE)).clamp_(0, 1)
    near = (near / _SURE).clamp_(0, 1)
    core, near = (resize(part, (height, width)) for part in (core, near))
    return torch.maximum(torch.minimum(keyed, near, out=near), core, out=near)
