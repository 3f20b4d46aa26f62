"""A matte without a network: alpha is luma. For bright subjects on black, for tests and for trying things out."""

from __future__ import annotations

import torch
from torch import Tensor

from vmatte.models.contract import ModelSpec, Prediction, State


class LumaKey:
    """Alpha is the display-encoded BT.709 luma of the frame."""

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self._weights = torch.tensor([0.2126, 0.7152, 0.0722], device=device).view(1, 3, 1, 1)

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """Alpha of R'G'B' (T, 3, H, W) in [0, 1]."""
        return Prediction((rgb * self._weights).sum(dim=1, keepdim=True).clamp_(0, 1), state=state)
