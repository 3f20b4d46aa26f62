"""What comes of a picture: its matte, the subject alone, or the subject over a plate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vmatte.analysis import Grade, Grain
from vmatte.canvas import Canvas, plan_canvas
from vmatte.clip import ClipInfo
from vmatte.errors import JobError
from vmatte.frames import MatteBatch, SubjectBatch
from vmatte.imaging.color import black, ycbcr_to_rgb
from vmatte.imaging.compositing import alpha_codes, alpha_of_codes, blank_hidden, near_matte
from vmatte.imaging.grade import match_of
from vmatte.imaging.grain import grain_of
from vmatte.imaging.resize import resize
from vmatte.job import RenderJob
from vmatte.masks import check_mask, open_masks
from vmatte.options import BlurPlate, FilePlate, NoPlate, Screen
from vmatte.outputs import LayerName
from vmatte.plates import check_plate, open_plate
from vmatte.screens import check_clean_plate
from vmatte.stages.compose import Look, PlatePlanes, compose
from vmatte.stages.despill import despill
from vmatte.stages.foreground import foreground
from vmatte.stages.key import ScreenKey
from vmatte.stages.multiply import multiply
from vmatte.stages.place import place
from vmatte.stages.shape import shape
from vmatte.stills.coding import CODING, as_clip, as_codes, as_frame
from vmatte.stills.head import cut_sides, find_head, head_placement
from vmatte.stills.matting import StillNetwork, matte_still
from vmatte.stills.picture import Codes, Picture, Tags
from vmatte.stills.profile import converted, is_like_srgb
from vmatte.stills.sizes import IdPhoto
from vmatte.stills.write import Pixels, as_8_bits
from vmatte.survey import small_size

logger = logging.getLogger(__name__)

_WIDTH_TAG, _HEIGHT_TAG, _EXIF = 0xA002, 0xA003, 0x8769
Planes = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A picture's subject, where the output has it."""

    picture: Picture
    canvas: Canvas
    subject: SubjectBatch
    screen: ScreenKey | None


def render_still(
    picture: Picture,
    job: RenderJob,
    network: StillNetwork,
    layers: Sequence[LayerName],
    id_photo: IdPhoto | None = None,
) -> dict[LayerName, Pixels]:
    """The layers of a picture, in its own depth and colour space; an ID photo in 8 bits and sRGB.

    Raises VmatteError for what the user can mend.
    """
    if id_photo is not None:
        picture = _in_srgb(picture)
    with network.clear_errors(picture.name):
        made = _make_subject(picture, job, network, id_photo, colors=any(layer != "alpha" for layer in layers))
        rendered = {layer: _layer(made, job, layer) for layer in layers}
    tags = picture.tags if id_photo is None else Tags(dpi=(id_photo.dpi, id_photo.dpi))
    return {layer: Pixels(codes, _tags(tags, layer, codes.shape)) for layer, codes in rendered.items()}


def _in_srgb(picture: Picture) -> Picture:
    """Who asks for a photo for a document does not ask for a colour space."""
    rgb = as_8_bits(picture.rgb)
    if not is_like_srgb(picture.tags.icc):
        rgb = converted(np.ascontiguousarray(rgb), picture.tags.icc, None)
    alpha = None if picture.alpha is None else as_8_bits(picture.alpha)
    return Picture(picture.name, rgb, alpha, Tags())


def _tags(tags: Tags, layer: LayerName, shape: tuple[int, ...]) -> Tags:
    if layer == "alpha":
        tags = replace(tags, icc=None)  # it is of colours
    if tags.exif is None:
        return tags
    camera = tags.exif.get_ifd(_EXIF)
    for tag, side in ((_HEIGHT_TAG, shape[0]), (_WIDTH_TAG, shape[1])):
        if tag in camera:
            camera[tag] = side
    return tags


def _make_subject(
    picture: Picture, job: RenderJob, network: StillNetwork, id_photo: IdPhoto | None, *, colors: bool
) -> _Made:
    clip, device = as_clip(picture), network.device
    if network.choice.spec.keys_a_screen and job.screen is None:
        job = job.model_copy(update={"screen": Screen()})
    check_mask(job.garbage, "garbage matte", clip.path, picture.size)
    check_mask(job.hold_out, "hold-out matte", clip.path, picture.size)
    check_clean_plate(job.screen, clip.path, picture.size)
    canvas = plan_canvas(job, clip, check_plate(job.background) if isinstance(job.background, FilePlate) else None)
    shown = picture if job.own_alpha == "multiply" else replace(picture, alpha=None)
    matted, screen = matte_still(as_frame(shown, device), clip, job, network)
    with open_masks(job, clip, device) as masks:
        matted = next(shape([matted], job.edges, masks))
    if id_photo is not None:
        canvas = _id_canvas(matted, clip, id_photo)
    subject = next(multiply(foreground([matted], job.foreground if colors else "source")))
    if screen is not None and job.screen is not None and job.screen.despill:
        subject = next(despill([subject], screen.screens.hue, job.screen.despill))
    if canvas.placement is not None:
        subject = next(place([subject], canvas.placement))
    return _Made(picture, canvas, subject, screen)


def _id_canvas(matted: MatteBatch, clip: ClipInfo, photo: IdPhoto) -> Canvas:
    own = matted.frames.alpha
    alpha = (matted.alpha if own is None else matted.alpha * alpha_of_codes(own))[0, 0].cpu().numpy()
    head = find_head(alpha, str(clip.path))
    placement = head_placement(head, (clip.height, clip.width), photo, str(clip.path))
    if placement.scale > 1:
        logger.warning(
            "%s: the head is %.0f pixels high, which are enlarged %.1f times for %s; a larger picture is sharper",
            clip.path,
            head.chin - head.top,
            float(placement.scale),
            photo.name,
        )
    width, height = photo.pixels
    if cut := cut_sides(alpha, placement):
        logger.warning(
            "%s: the body is cut off at its %s edge, which is seen in the photo", clip.path, " and ".join(cut)
        )
    return Canvas(clip, replace(clip, width=width, height=height), np.arange(1), placement)


def _layer(made: _Made, job: RenderJob, layer: LayerName) -> Codes:
    subject, bits = made.subject, made.picture.bits
    alpha = alpha_codes(subject.alpha, bits)[0, 0].cpu().numpy()
    if layer == "alpha":
        return alpha
    if layer == "composite":
        return _composite(made, job)
    luma, chroma = subject.luma, subject.chroma
    if layer == "cutout":
        # 15 bits tell where alpha is as well as 16 do, and torch finds their maximum.
        near, (black_luma, black_chroma) = near_matte(alpha_codes(subject.alpha, 15)), black(CODING)
        luma, chroma = (
            blank_hidden(luma, near, black_luma, subject.size),
            blank_hidden(chroma, near, black_chroma, subject.size),
        )
    codes = as_codes(luma, chroma, bits)
    return codes if layer == "foreground" else np.dstack([codes, alpha])


def _composite(made: _Made, job: RenderJob) -> Codes:
    subject, canvas, icc = made.subject, made.canvas, made.picture.tags.icc
    if isinstance(job.background, NoPlate):
        raise JobError("a composite needs a background; give --bg")
    with ExitStack() as stack:
        plate = stack.enter_context(open_plate(job.background, canvas, subject.luma.device))
        behind = plate(subject)
    if not isinstance(job.background, BlurPlate) and not is_like_srgb(icc):
        behind = _in_space(behind, icc)
    scale = None if canvas.placement is None else float(canvas.placement.scale)
    grade, grain = _grade(made, job, behind), _grain(made, job, behind)
    look = Look(job.blend, job.light_wrap, job.shadow, scale, None if grade is None else lambda _: grade, grain)
    standing: PlatePlanes = lambda _: behind  # noqa: E731
    layer = next(compose([subject], standing, look))
    return as_codes(layer.luma, layer.chroma, made.picture.bits)


def _in_space(plate: Planes, icc: bytes | None) -> Planes:
    """A plate in sRGB as the same colours in a picture's own space; 8 bits of it, as ICC transforms have them here."""
    rgb = converted(as_codes(*plate, 8), None, icc)
    moved = as_frame(Picture("the plate", rgb), plate[0].device)
    return moved.luma.to(torch.float32), moved.chroma.to(torch.float32)


def _grade(made: _Made, job: RenderJob, behind: Planes) -> Grade | None:
    """A blurred background is the subject's own, which it matches."""
    if job.color_match is None or isinstance(job.background, BlurPlate):
        return None
    source, size = made.subject.source, small_size(made.canvas.clip)
    rgb = _small_rgb((source.frames.luma, source.frames.chroma), size)
    plate = _small_rgb(behind, small_size(made.canvas.output))
    return match_of(rgb, resize(source.alpha, size), plate, job.color_match.strength)


def _small_rgb(planes: Planes, size: tuple[int, int]) -> Tensor:
    luma, chroma = (resize(plane, size) for plane in planes)
    return ycbcr_to_rgb(luma, chroma, CODING)


def _grain(made: _Made, job: RenderJob, behind: Planes) -> Grain | None:
    """What the plate lacks of the picture's grain; a blurred background has none left."""
    if job.grain is None:
        return None
    luma, placement = made.subject.source.frames.luma, made.canvas.placement
    if placement is not None:
        height, width = (max(16, round(side * float(placement.scale))) for side in luma.shape[-2:])
        luma = resize(luma, (height, width))
    grain = grain_of(luma, CODING)
    if not isinstance(job.background, BlurPlate):
        grain = grain.beyond(grain_of(behind[0], CODING))
    return grain.scaled(job.grain.strength)
