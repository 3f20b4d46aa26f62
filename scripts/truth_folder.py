"""Truth folders, as scripts/make_truth.py makes them, and what a network says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vmatte.clip import ClipInfo
from vmatte.errors import SourceError
from vmatte.frames import FrameBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.models.contract import MattingModel, State
from vmatte.stages.matte import matte, network_input
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.alpha import decode_alpha
from vmatte.video.probe import probe
from vmatte.video.read import decode

Plane = NDArray[np.float32]

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, eq=False)
class TruthFolder:
    """A clip whose matte is known."""

    name: str
    clip: ClipInfo
    """The source."""
    frames: list[FrameBatch]
    """The source's, one in each."""
    alphas: list[Plane]
    """The true ones, (H, W) in [0, 1]."""

    def luma(self, number: int) -> Plane:
        """A frame's of the source, (H, W), from 0 for black to 1 for white."""
        black, white = self.clip.delivery.luma_ends
        codes: NDArray[np.generic] = self.frames[number].luma[0, 0].numpy()
        return (codes.astype(np.float32) - np.float32(black)) / np.float32(white - black)

    def alpha(self, number: int) -> torch.Tensor:
        """A frame's true alpha, (1, 1, H, W)."""
        return torch.from_numpy(self.alphas[number])[None, None]


def read_truth_folder(folder: Path) -> TruthFolder:
    """A folder's source and mattes, all of their frames. SourceError where it is none, or they do not fit together."""
    clip = probe(folder / "source.mp4")
    frames = list(upload(decode(clip, range(clip.frames), batch=1), clip.delivery, CPU))
    alphas = list(decode_alpha(probe(folder / "alpha.mkv")))
    _check_fit(folder / "alpha.mkv", len(alphas), alphas[0].shape, frames)
    return TruthFolder(folder.resolve().name, clip, frames, alphas)


def read_foregrounds(truth: TruthFolder) -> Iterator[torch.Tensor]:
    """The subject's true colours in each frame: straight R'G'B' (1, 3, H, W) in [0, 1], 0 where alpha is.

    SourceError where the folder has none, or they do not fit.
    """
    path = truth.clip.path.parent / "foreground.mkv"
    if not path.exists():
        raise SourceError(f"{path} is missing, which --edges needs; make the folder again with scripts/make_truth.py")
    clip = probe(path)
    _check_fit(path, clip.frames, (clip.height, clip.width), truth.frames)
    for codes in decode(clip, range(clip.frames), batch=1):
        yield ycbcr_to_rgb(torch.from_numpy(codes.luma), torch.from_numpy(codes.chroma), codes.coding)


def _check_fit(path: Path, count: int, size: tuple[int, ...], frames: list[FrameBatch]) -> None:
    if (count, size) != (len(frames), frames[0].size):
        counted = f"{count} frames of {size}, {len(frames)} of {frames[0].size}"
        raise SourceError(f"{path} does not fit the source.mp4 beside it ({counted}); make the folder again")


def network_alphas(clip: ClipInfo, model: MattingModel, cache: Path | None) -> torch.Tensor:
    """The network's mattes of a whole clip as a render has them, (T, 1, H, W), from the cache where they are in it."""

    def computed() -> Iterator[torch.Tensor]:
        frames = upload(decode(clip, range(clip.frames), batch=1), clip.delivery, model.device)
        return (batch.alpha for batch in matte(frames, model, 1, Stopwatch()))

    return _kept(clip, model, cache, "", computed)


def network_answers(clip: ClipInfo, model: MattingModel, cache: Path | None) -> torch.Tensor:
    """The network's mattes of a whole clip at the size at which it answers, (T, 1, h, w), from the cache likewise."""

    def computed() -> Iterator[torch.Tensor]:
        state: State = ()
        for frames in upload(decode(clip, range(clip.frames), batch=1), clip.delivery, model.device):
            prediction = model.predict(network_input(frames, model), state)
            state = prediction.state
            yield prediction.alpha

    return _kept(clip, model, cache, ".answer", computed)


def _kept(
    clip: ClipInfo, model: MattingModel, cache: Path | None, kind: str, computed: Callable[[], Iterator[torch.Tensor]]
) -> torch.Tensor:
    weights = "" if model.spec.weights is None else model.spec.weights.sha256
    key = hashlib.sha256(clip.path.read_bytes() + weights.encode()).hexdigest()[:16]
    path = None if cache is None else cache / f"{key}.{model.spec.name}{kind}.npy"
    if path is not None and path.exists():
        return torch.from_numpy(np.load(path))
    alphas = torch.cat([alpha.cpu() for alpha in computed()])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, alphas.numpy())
    return alphas
