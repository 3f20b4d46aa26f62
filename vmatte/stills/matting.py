"""A picture gets its matte: from a network, which is loaded once for all pictures, or from its own screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from vmatte.analyse import crops
from vmatte.analysis import CropTrack, Screens, SubjectTrack
from vmatte.clip import ClipInfo
from vmatte.crop import Seen, find_crop
from vmatte.errors import ModelError, SourceError
from vmatte.frames import DecodedFrames, FrameBatch, MatteBatch
from vmatte.imaging.people import choose_subject, label_people, without_specks
from vmatte.imaging.resize import resize
from vmatte.imaging.upsample import upsample
from vmatte.job import RenderJob
from vmatte.models.catalogue import build_model
from vmatte.models.choice import Choice
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.models.own_alpha import check_own_alpha
from vmatte.models.placement import frames_device, is_out_of_memory
from vmatte.models.weights import Progress
from vmatte.options import Screen
from vmatte.screens import find_screens, screen_key
from vmatte.stages.hold import hold
from vmatte.stages.key import ScreenKey, key_edges, matte_by_key
from vmatte.stages.matte import matte
from vmatte.stages.settle import settle
from vmatte.stopwatch import Stopwatch
from vmatte.survey import LINES

_LOOKS = 3
"""How often a recurrent network sees a picture: it begins with nothing to remember. On three portraits the second look
moved RVM's alpha by up to 0.0017 in the mean over the picture, the third by 0.0007, the fourth by 0.0004."""
_LONG_SIDE = 1920
"""What networks that take frames at full size, which are for video, get of a picture at most. Its edges are then found
in the whole of it, as those of every other network."""
_THERE = 26 / 255
"""What a network gives at least where somebody may be."""
_LONGEST = 16
"""Times as long as wide, at most: networks see the shorter side in hundreds of pixels, whatever the other is."""
_ONLY = (0,)
"""The one frame's number, which begins the one shot."""


class StillNetwork:
    """The model of a choice; a network is loaded when a picture first needs it."""

    def __init__(self, choice: Choice, on_weights: Progress | None = None) -> None:
        self.choice, self.on_weights = choice, on_weights
        self._loaded: MattingModel | None = None

    @property
    def device(self) -> torch.device:
        return frames_device(self.choice.spec, self.choice.placement)

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None or self.choice.spec.keys_a_screen

    def load(self) -> MattingModel:
        if self._loaded is None:
            choice = self.choice
            self._loaded = build_model(choice.spec, choice.own, choice.placement, self.on_weights)
        return self._loaded

    @contextmanager
    def clear_errors(self, name: str) -> Iterator[None]:
        """What the device lacks in memory for the picture of this name becomes a ModelError that says so."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not is_out_of_memory(error):
                raise
            raise ModelError(
                f"{name}: {self.device} has too little free memory for it with {self.choice.spec.name}; close what "
                "else uses it, scale the picture down, or choose a smaller model"
            ) from error


def matte_still(
    frame: FrameBatch, clip: ClipInfo, job: RenderJob, network: StillNetwork
) -> tuple[MatteBatch, ScreenKey | None]:
    """The frame with its settled matte, before edges and masks; and what keys its screen, where it has one."""
    spec = network.choice.spec
    check_own_alpha(spec, clip.path, has_alpha=frame.alpha is not None)
    if not spec.is_key and max(frame.size) > _LONGEST * min(frame.size):
        height, width = frame.size
        raise SourceError(f"{clip.path} is {width}×{height}, which no network can see as a whole; give a part of it")
    screen = screen_of(frame, clip, job.screen, network.device)
    if spec.keys_a_screen:
        assert screen is not None
        made = matte_by_key([frame], screen)
    else:
        made = iter([_matted(frame, clip, job, network.load())])
    made = settle(made)
    if job.subject.keep != "all":
        made = _held(made, job)
    if screen is not None and not spec.keys_a_screen:
        made = key_edges(made, screen)
    return next(iter(made)), screen


def screen_of(frame: FrameBatch, clip: ClipInfo, options: Screen | None, device: torch.device) -> ScreenKey | None:
    """What keys the screen behind a frame; None where none is asked for. JobError where none is seen."""
    if options is None:
        return None

    def decoded(*_: object) -> Iterator[DecodedFrames]:
        yield DecodedFrames(range(1), frame.luma.cpu().numpy(), frame.chroma.cpu().numpy(), frame.coding)

    screens: Screens = find_screens(clip, options, _ONLY, decoded)
    return screen_key(clip, options, screens, device)


def _matted(frame: FrameBatch, clip: ClipInfo, job: RenderJob, model: MattingModel) -> MatteBatch:
    seen = _shrunk(frame, model.spec)
    crop = _find_crop(seen, model) if crops(job, clip, model.spec) else None
    looks = [seen] * (_LOOKS if model.spec.recurrent else 1)
    *_, matted = matte(looks, model, 1, Stopwatch(), crop, job.upsample)
    if seen is frame:
        return matted
    if job.upsample == "guided":
        alpha = upsample(matted.alpha, frame.luma, frame.chroma, frame.coding.bits, model.spec.edge_reach)
    else:
        alpha = resize(matted.alpha, frame.size)
    return MatteBatch(frame, alpha)


def _shrunk(frame: FrameBatch, spec: ModelSpec) -> FrameBatch:
    scale = _LONG_SIDE / max(frame.size)
    if spec.input_size.rule != "full" or spec.is_key or scale >= 1:
        return frame
    size = max(1, round(frame.size[0] * scale)), max(1, round(frame.size[1] * scale))
    return FrameBatch(frame.index, resize(frame.luma, size), resize(frame.chroma, size), frame.coding)


def _find_crop(frame: FrameBatch, model: MattingModel) -> CropTrack | None:
    """Where the subject is in a first look at the whole; None where the network would not see it much finer."""
    *_, matted = matte([frame], model, 1, Stopwatch(), upsampling="bilinear")
    there = (_small(matted) >= _THERE)[0].numpy()
    seen = Seen(_ONLY, np.asarray(without_specks(there)), _ONLY)
    return find_crop(seen, frame.size, model.spec.input_size, may_move=False)


def _held(mattes: Iterator[MatteBatch], job: RenderJob) -> Iterator[MatteBatch]:
    """Without the others in the picture."""
    for matted in mattes:
        alphas = (_small(matted)[0] * 255).round().to(torch.uint8).numpy()
        shot_of = np.zeros(1, np.int64)
        assert job.subject.keep != "all"
        labels = choose_subject(label_people(alphas, shot_of), shot_of, job.subject.keep)
        yield from hold([matted], SubjectTrack.of(_ONLY, labels), _ONLY)


def _small(matted: MatteBatch) -> torch.Tensor:
    """(1, 1, h, w) alpha on the CPU, the shorter side as in a survey."""
    height, width = matted.frames.size
    scale = min(1.0, LINES / min(height, width))
    return resize(matted.alpha, (max(1, round(height * scale)), max(1, round(width * scale)))).cpu()
