"""The subject becomes the layers that are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from vmatte.analysis import Grade, Grain
from vmatte.clip import Coding
from vmatte.frames import LayerBatch, SubjectBatch
from vmatte.imaging.color import black, downsample_chroma
from vmatte.imaging.compositing import alpha_codes, blank_hidden, matte_planes, near_matte, over
from vmatte.imaging.grade import graded
from vmatte.imaging.grain import grained
from vmatte.imaging.light import Space, Wrap, curve_of, glow_of, over_as_light, wrap_weight
from vmatte.imaging.shadow import contact_shadow, cut_off, shaded
from vmatte.options import Blend, ContactShadow, LightWrap

PlatePlanes = Callable[[SubjectBatch], tuple[Tensor, Tensor]]
"""Luma (T or 1, 1, H, W) and chroma (T or 1, 2, h, w) of the plate behind these frames: float32, in their codes."""
GradeOf = Callable[[int], Grade | None]
"""How the subject of a frame is graded, by its number in the clip: the same for all frames of a shot."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the subject comes to belong to its plate; `grain` is what the plate lacks of the clip's."""

    blend: Blend
    light_wrap: LightWrap | None = None
    shadow: ContactShadow | None = None
    scale: float | None = None
    """Of the clip's picture, where it was moved or scaled; None where it lies as it is."""
    grade_of: GradeOf | None = None
    grain: Grain | None = None


def compose(subjects: Iterable[SubjectBatch], plate: PlatePlanes, look: Look) -> Iterator[LayerBatch]:
    """The subject over the plate."""
    glow = _Glow(look.light_wrap)
    for subject in subjects:
        coding, alpha = subject.coding, subject.alpha
        front, behind = _graded(subject, look.grade_of), plate(subject)
        space = Space(coding, curve_of(coding.color.transfer) if look.blend == "linear" else None)
        wrap = glow.wrap(subject, behind, space)
        if look.shadow is not None:
            behind = shaded(*behind, _shadow(subject, look.shadow.strength, look.scale), coding)
        if look.grain is not None:
            behind = grained(behind[0], look.grain, subject.index, coding), behind[1]
        if space.curve is None and wrap is None:
            chroma_alpha = downsample_chroma(alpha, subject.chroma_size)
            luma, chroma = over(front[0], behind[0], alpha), over(front[1], behind[1], chroma_alpha)
        else:
            luma, chroma = over_as_light(front, behind, alpha, space, wrap)
        yield LayerBatch(subject.index, luma, chroma, alpha=None)


def _graded(subject: SubjectBatch, grade_of: GradeOf | None) -> tuple[Tensor, Tensor]:
    """Luma and chroma of a subject's frames, each by its own shot's grade."""
    front = subject.luma, subject.chroma
    if grade_of is None:
        return front
    grades = [grade_of(number) for number in subject.source.frames.index]
    return graded(*front, subject.alpha, grades, subject.coding)


def _shadow(subject: SubjectBatch, strength: float, scale: float | None) -> Tensor:
    """The light (T, 1, H, W) that the plate loses under the subject."""
    side = min(subject.source.frames.size)
    if scale is None:
        return contact_shadow(subject.alpha, strength, side)
    # Where it was moved, the end of the clip's picture may look like where it stands.
    return contact_shadow(subject.alpha, strength, side * scale) * (1 - cut_off(subject.source.alpha))


class _Glow:
    """The light of the plate round the subject. A plate that stands is gathered once."""

    def __init__(self, options: LightWrap | None) -> None:
        self._options = options
        self._gathered: tuple[Tensor, Tensor] | None = None

    def wrap(self, subject: SubjectBatch, behind: tuple[Tensor, Tensor], space: Space) -> Wrap | None:
        if self._options is None:
            return None
        sigma = self._options.radius / 3 * subject.size[0]
        if self._gathered is None or self._gathered[0] is not behind[0]:
            self._gathered = behind[0], glow_of(behind, sigma, space)
        return Wrap(self._gathered[1], wrap_weight(subject.alpha, sigma, self._options.strength))


def cut_out(subjects: Iterable[SubjectBatch], alpha_bits: int) -> Iterator[LayerBatch]:
    """The subject in straight colour with its alpha; far outside the matte the colour is black, and costs no bytes."""
    for subject in subjects:
        alpha = alpha_codes(subject.alpha, alpha_bits)
        near = near_matte(alpha)
        black_luma, black_chroma = black(subject.coding)
        yield LayerBatch(
            subject.index,
            blank_hidden(subject.luma, near, black_luma, subject.size),
            blank_hidden(subject.chroma, near, black_chroma, subject.size),
            alpha,
        )


def colors_alone(subjects: Iterable[SubjectBatch]) -> Iterator[LayerBatch]:
    """The colours of a cutout without its alpha: what an editor calls the fill."""
    for layer in cut_out(subjects, alpha_bits=8):
        yield replace(layer, alpha=None)


def matte_alone(subjects: Iterable[SubjectBatch], coding: Coding) -> Iterator[LayerBatch]:
    """The matte as a gray picture in `coding`, from black to white."""
    for subject in subjects:
        yield LayerBatch(subject.index, *matte_planes(subject.alpha, coding, subject.chroma_size), alpha=None)
