"""No network, and no key: the alpha that a clip has already is its matte."""

from __future__ import annotations

import torch
from torch import Tensor

from vmatte.models.contract import ModelSpec, Prediction, State


class OwnAlpha:
    """What stands for it where a model is asked for; `stages/own_alpha.py` has the mattes."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """Opaque all over, for the picture (T, 3, H, W) does not tell it."""
        return Prediction(rgb.new_ones(len(rgb), 1, *rgb.shape[2:]), state=state)
