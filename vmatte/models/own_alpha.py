"""No network, and no key: the alpha that a clip has already is its matte."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vmatte.errors import SourceError
from vmatte.models.contract import ModelSpec, Prediction, State


def check_own_alpha(spec: ModelSpec, source: Path, *, has_alpha: bool) -> None:
    """SourceError where a clip or a picture is to be matted by its own alpha, and has none."""
    if spec.is_own_alpha and not has_alpha:
        raise SourceError(f"{source} has no alpha of its own, or it is to be ignored; choose another model")


class OwnAlpha:
    """What stands for it where a model is asked for; `stages/own_alpha.py` has the mattes."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """Opaque all over, for the picture (T, 3, H, W) does not tell it."""
        return Prediction(rgb.new_ones(len(rgb), 1, *rgb.shape[2:]), state=state)
