"""Robust Video Matting (Lin et al. 2022): a recurrent network that remembers the clip so far."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmatte.errors import ModelError
from vmatte.models.contract import ModelSpec, Prediction, State
from vmatte.models.onnx import open_network, run_network
from vmatte.models.placement import Placement

_STATES_IN, _STATES_OUT = ("r1i", "r2i", "r3i", "r4i"), ("r1o", "r2o", "r3o", "r4o")
_INPUTS = ("src", *_STATES_IN, "downsample_ratio")
_OUTPUTS = ("pha", *_STATES_OUT)
"""Of the foreground that it answers too nothing is asked: the one that is estimated from its matte is nearer."""


class RobustVideoMatting:
    """RVM as its authors export it to ONNX: frames at full size, four tensors of state, and alpha."""

    def __init__(self, spec: ModelSpec, path: Path, placement: Placement) -> None:
        self.spec = spec
        self.device = torch.device("cpu")
        self._session = open_network(path, spec.name, placement)
        found = {node.name for node in [*self._session.get_inputs(), *self._session.get_outputs()]}
        if missing := [name for name in (*_INPUTS, *_OUTPUTS) if name not in found]:
            raise ModelError(f"{path} is no {spec.name} network: it has no {', '.join(missing)}")

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of R'G'B' (T, 3, H, W) float32, one frame after the other.

        `state` is (r1, r2, r3, r4), each (1, C, h, w) float32. ValueError for that of frames of another size.
        """
        ratio = self.spec.input_size.scale(*rgb.shape[-2:])
        _check_state(state, rgb, ratio)
        states = [part.numpy() for part in state] or [np.zeros((1, 1, 1, 1), np.float32)] * len(_STATES_IN)
        alphas = []
        for picture in np.split(rgb.contiguous().numpy(), len(rgb)):
            given = [picture, *states, np.array([ratio], np.float32)]
            inputs = dict(zip(_INPUTS, given, strict=True))
            alpha, *states = run_network(self._session, _OUTPUTS, inputs, self.spec.name)
            alphas.append(torch.from_numpy(alpha))
        return Prediction(torch.cat(alphas), tuple(torch.from_numpy(part) for part in states))


def _check_state(state: State, rgb: Tensor, ratio: float) -> None:
    if not state:
        return
    # r1 is at half the coarse size; how a half is rounded is the network's own affair.
    apart = [abs(side - ratio * whole / 2) for side, whole in zip(state[0].shape[-2:], rgb.shape[-2:], strict=True)]
    if len(state) != len(_STATES_IN) or max(apart) > 1:
        shapes = ", ".join(str(tuple(part.shape)) for part in state)
        raise ValueError(f"a state of {shapes} is not that of frames of {rgb.shape[-1]}×{rgb.shape[-2]}")
