"""Published weights become a network that is ready to run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vmatte.errors import ModelError
from vmatte.models.birefnet.graph import Graphed, Network
from vmatte.models.birefnet.network import SWIN_L, SWIN_T, Backbone, BiRefNet
from vmatte.models.contract import ModelSpec, Prediction, State
from vmatte.models.placement import Placement, is_out_of_memory
from vmatte.models.tensors import read, shapes

BACKBONES: dict[str, Backbone] = {"birefnet": SWIN_L, "birefnet-lite": SWIN_T}
"""By the architecture that a row of MODELS names."""


class BiRefNetMatting:
    """A network of BiRefNet's family on a device."""

    def __init__(self, spec: ModelSpec, network: BiRefNet, placement: Placement) -> None:
        self.spec = spec
        self.device = placement.device
        self._precision = placement.precision
        self._network: Network = network.to(self.device, self._precision)
        self._untried = placement.compile
        if placement.compile:
            self._network = torch.compile(network, dynamic=False)
            if self.device.type == "cuda":
                self._network = Graphed(self._network)

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of normalised R'G'B' (T, 3, h, w) float32; h and w are multiples of 32."""
        try:
            logits = self._network(rgb.to(self._precision))
        except NotImplementedError as error:  # an operator that MPS does not have yet
            reason = str(error).splitlines()[0]
            raise ModelError(f"{self.spec.name} cannot run on {self.device.type}: {reason} Use the CPU") from error
        except Exception as error:  # the compiler's own errors share no public root
            if not self._untried or is_out_of_memory(error):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(
                f"{self.spec.name} cannot be compiled here: that takes a C compiler, and on CUDA Triton; install them, "
                f"or leave out --compile ({reason})"
            ) from error
        self._untried = False
        return Prediction(torch.sigmoid(logits.float()), state=state)


def load(spec: ModelSpec, weights: Path | None, placement: Placement) -> BiRefNetMatting:
    """The network of a row of MODELS with the weights of a safetensors file; random ones, always the same, for None.

    Raises ModelError for a file that cannot be read, and for one whose tensors are not this network's.
    """
    backbone, order = BACKBONES[spec.architecture], spec.patch_order
    if order is None:
        raise ValueError(f"{spec.name} says no patch order")
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = BiRefNet(backbone, order)
    else:
        _check_backbone(weights, spec.architecture)
        with torch.device("meta"):
            network = BiRefNet(backbone, order)
        network.load_state_dict(read(weights, network.state_dict()), assign=True)
    network.prepare()
    return BiRefNetMatting(spec, network, placement)


def _check_backbone(weights: Path, architecture: str) -> None:
    """That a file of the family is not one with another backbone, of which nearly every shape would be told."""
    found = shapes(weights).get("bb.patch_embed.proj.bias")
    for name, backbone in BACKBONES.items():
        if name != architecture and found == (backbone.width,):
            raise ModelError(f"{weights} does not hold this network but {name}")
