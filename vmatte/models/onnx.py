"""Networks that run in ONNX Runtime: MODNet (Ke et al. 2022), U²-Net (Qin et al. 2020), and files of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.errors import ModelError
from vmatte.models.contract import ModelSpec, Prediction, State
from vmatte.models.placement import Placement

Floats = NDArray[np.float32]

_CUDA = "CUDAExecutionProvider"


class OnnxMatting:
    """A network with one image input and alpha, or its logits, as its first output."""

    def __init__(self, spec: ModelSpec, path: Path, placement: Placement) -> None:
        self.spec = spec
        self.device = torch.device("cpu")  # the runtime takes its frames from there, wherever it computes
        self._session = open_network(path, spec.name, placement)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ModelError(f"{path} is no {spec.name} network: it does not take one batch of pictures")
        frames, channels, *self._sides = inputs[0].shape
        if inputs[0].type != "tensor(float)" or not (_admits(frames, 1) and _admits(channels, 3)):
            takes = f"{inputs[0].type} {inputs[0].shape}"
            raise ModelError(f"{path} is no {spec.name} network: it takes {takes}, not float (1, 3, height, width)")
        self._input = inputs[0].name
        self._output = self._session.get_outputs()[0].name
        self._batched = not isinstance(frames, int)

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of normalised R'G'B' (T, 3, h, w) float32."""
        pictures = rgb.contiguous().numpy()
        if not all(_admits(declared, side) for declared, side in zip(self._sides, pictures.shape[2:], strict=True)):
            height, width = self._sides
            given = f"{self.spec.name} gives it {pictures.shape[3]}×{pictures.shape[2]}"
            raise ModelError(f"the weights file takes pictures of {width}×{height}, and {given}; name one that fits")
        parts = [pictures] if self._batched else np.split(pictures, len(pictures))
        alphas = [run_network(self._session, [self._output], {self._input: part}, self.spec.name)[0] for part in parts]
        if any(alpha.shape != (len(part), 1, *pictures.shape[2:]) for alpha, part in zip(alphas, parts, strict=True)):
            raise ModelError(f"the weights are no {self.spec.name} network: what they give is no matte of their input")
        alpha = torch.from_numpy(alphas[0] if len(alphas) == 1 else np.concatenate(alphas))
        alpha = alpha.sigmoid_() if self.spec.output == "logits" else alpha.clamp_(0, 1)
        return Prediction(alpha, state=state)


def _admits(declared: int | str | None, side: int) -> bool:
    """Whether an input that declares a number, or a name for any number, takes `side`."""
    return not isinstance(declared, int) or declared == side


def open_network(path: Path, name: str, placement: Placement) -> onnxruntime.InferenceSession:
    """The network of a file, ready to run; ModelError, which calls it `name`, where it is none."""
    options = onnxruntime.SessionOptions()
    # A spinning worker burns a core that the decoder and the encoder need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():  # PyTorch obeys it by itself
        options.intra_op_num_threads = int(threads)
    providers: list[Any] = ["CPUExecutionProvider"]
    cuda = placement.device.type == "cuda"
    if cuda:
        providers.insert(0, (_CUDA, {"device_id": placement.device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the runtime's own exceptions share no base class
        raise ModelError(f"{path} cannot be loaded as the network {name}: {error}") from error
    if cuda:
        # Left to itself the runtime goes on with the CPU, both here and where a run fails.
        if session.get_providers()[0] != _CUDA:
            raise ModelError(
                f"{name} cannot run on {placement.device}: ONNX Runtime {onnxruntime.__version__} cannot load its CUDA "
                "libraries; install the CUDA and cuDNN that it was built for, or use --device cpu"
            )
        session.disable_fallback()
    return session


def run_network(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], inputs: Mapping[str, Floats], name: str
) -> list[Any]:
    """The named outputs for these inputs, of which the first are pictures (T, 3, h, w); ModelError where it fails."""
    try:
        return list(session.run(outputs, inputs))
    except Exception as error:
        height, width = next(iter(inputs.values())).shape[-2:]
        raise ModelError(f"the network {name} cannot run on pictures of {width}×{height}: {error}") from error
