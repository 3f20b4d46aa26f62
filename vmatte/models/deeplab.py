"""DeepLabV3+ (Chen et al. 2018) over MobileNetV2, by transformers' own class: a baseline for comparisons.

It says for each pixel which of PASCAL VOC's classes it belongs to. The probability of a person is taken for alpha,
which knows no hair: the network's answer is an eighth of its input's size.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation

from vmatte.models.contract import ModelSpec, Prediction, State
from vmatte.models.placement import Placement
from vmatte.models.tensors import read

CLASSES = 21
"""Of PASCAL VOC, the background being the first."""
PERSON = 15
OUTPUT_STRIDE = 8


class DeepLab:
    """The network on a device."""

    def __init__(self, spec: ModelSpec, network: nn.Module, placement: Placement) -> None:
        self.spec = spec
        self.device = placement.device
        self._precision = placement.precision
        network.eval().requires_grad_(False).to(self.device, self._precision)
        self._network = torch.compile(network) if placement.compile else network

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of normalised R'G'B' (T, 3, h, w) float32."""
        logits = self._network(rgb.to(self._precision)).logits.float()
        person = torch.softmax(logits, dim=1)[:, PERSON : PERSON + 1]
        return Prediction(F.interpolate(person, size=rgb.shape[-2:], mode="bilinear"), state=state)


def load(spec: ModelSpec, weights: Path | None, placement: Placement) -> DeepLab:
    """The network with the weights of a safetensors file; random ones, always the same, for None.

    Raises ModelError for a file that cannot be read, and for one whose tensors are not this network's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MobileNetV2Config(num_labels=CLASSES, output_stride=OUTPUT_STRIDE)  # type: ignore[call-arg]
        network = MobileNetV2ForSemanticSegmentation(config)
    if weights is not None:
        network.load_state_dict(read(weights, network.state_dict()))
    return DeepLab(spec, network, placement)
