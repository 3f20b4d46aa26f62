"""Frames get their matte from a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from vmatte.analysis import Box, CropTrack
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.fading import fade_out
from vmatte.imaging.resize import resize, resize_like_pillow
from vmatte.imaging.tonemap import ToneMap, tone_mapped_rgb
from vmatte.imaging.upsample import upsample
from vmatte.models.contract import MattingModel, State
from vmatte.options import DEFAULT_UPSAMPLING, Upsampling
from vmatte.stopwatch import Stopwatch


def matte(
    batches: Iterable[FrameBatch],
    model: MattingModel,
    batch: int,
    stopwatch: Stopwatch,
    crop: CropTrack | None = None,
    upsampling: Upsampling = DEFAULT_UPSAMPLING,
) -> Iterator[MatteBatch]:
    """The same frames with alpha at full size; a recurrent network's state goes from each batch to the next.

    With a `crop` the network sees only that part, and there is no alpha anywhere else.

    A short batch is filled up to `batch`, so that the network always computes in one shape, and a frame's matte does
    not depend on where a segment ended. Not so for a recurrent network: it would remember frames that are not there.
    """
    state: State = ()
    for whole in batches:
        boxes = [] if crop is None else [crop.box(number) for number in whole.index]
        frames = whole.cropped(boxes) if boxes else whole
        with stopwatch.step("convert"):
            rgb = network_input(frames, model)
            missing = batch - len(rgb)
            if missing > 0 and not model.spec.recurrent:
                rgb = torch.cat([rgb, rgb[-1:].expand(missing, -1, -1, -1)])
        with stopwatch.step("network"):
            prediction = model.predict(rgb, state)
            state = prediction.state
        with stopwatch.step("upsample"):
            alpha = prediction.alpha[: len(frames.index)]
            if upsampling == "guided":
                alpha = upsample(alpha, frames.luma, frames.chroma, frames.coding.bits, model.spec.edge_reach)
            else:
                alpha = resize(alpha, frames.size)
        matted = MatteBatch(frames, alpha)
        yield _pasted(matted, whole, boxes) if boxes else matted


def _pasted(part: MatteBatch, whole: FrameBatch, boxes: Sequence[Box]) -> MatteBatch:
    """The whole frames with the matte of their parts, which fades out towards a border inside the frame: a subject that
    goes beyond it must not end in a straight edge."""
    alpha = part.alpha.new_zeros(whole.luma.shape)
    for t, box in enumerate(boxes):
        inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
        alpha[t][inside] = part.alpha[t]
        fade_out(alpha[t], box)
    return MatteBatch(whole, alpha)


def network_input(frames: FrameBatch, model: MattingModel) -> Tensor:
    """Normalised R'G'B' (T, 3, h, w) at the network's input size; of HDR as SDR, for no network has seen the other."""
    spec = model.spec
    size = spec.input_size.of(*frames.size)
    if spec.antialias:
        rgb = resize_like_pillow(ycbcr_to_rgb(frames.luma, frames.chroma, frames.coding), size)
    else:
        # Scaled before they become RGB: a third of the work, and the matrix is linear.
        luma, chroma = (
            planes if size == frames.size else resize(planes, size) for planes in (frames.luma, frames.chroma)
        )
        rgb = ycbcr_to_rgb(luma, chroma, frames.coding)
    if frames.coding.is_hdr:
        # With the usual peak, for a batch does not know its clip's: what a network sees is not delivered.
        rgb = tone_mapped_rgb(rgb, ToneMap(frames.coding))
    return rgb.sub_(_channels(spec.mean, rgb.device)).div_(_channels(spec.std, rgb.device))


@lru_cache  # a copy to a GPU waits until it is idle
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """(1, 3, 1, 1)."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)
