"""Networks that run in ONNX Runtime: MODNet (Ke et al. 2022), U²-Net (Qin et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from vmatte.errors import ModelError
from vmatte.models.contract import ModelSpec, Prediction, State


class OnnxMatting:
    """A network with one image input and alpha as its first output."""

    def __init__(self, spec: ModelSpec, path: Path) -> None:
        self.spec = spec
        self.device = torch.device("cpu")
        options = onnxruntime.SessionOptions()
        # A spinning worker burns a core that the decoder and the encoder need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions share no base class
            raise ModelError(f"{path} cannot be loaded as the network {spec.name}: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ModelError(f"{path} is no {spec.name} network: it does not take one batch of pictures")
        self._input = inputs[0].name
        self._output = self._session.get_outputs()[0].name
        self._batched = not isinstance(inputs[0].shape[0], int)

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of normalised R'G'B' (T, 3, h, w) float32."""
        pictures = rgb.contiguous().numpy()
        parts = [pictures] if self._batched else np.split(pictures, len(pictures))
        try:
            alphas = [self._session.run([self._output], {self._input: part})[0] for part in parts]
        except Exception as error:
            sides = f"{pictures.shape[3]}×{pictures.shape[2]}"
            raise ModelError(f"the network {self.spec.name} cannot run on pictures of {sides}: {error}") from error
        if any(alpha.shape != (len(part), 1, *pictures.shape[2:]) for alpha, part in zip(alphas, parts, strict=True)):
            raise ModelError(f"the weights are no {self.spec.name} network: what they give is no matte of their input")
        alpha = torch.from_numpy(alphas[0] if len(alphas) == 1 else np.concatenate(alphas))
        return Prediction(alpha.clamp_(0, 1), state=state)
