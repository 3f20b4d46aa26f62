"""Published weights become a network that is ready to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vmatte.errors import ModelError
from vmatte.models.birefnet.network import SWIN_L, SWIN_T, Backbone, BiRefNet
from vmatte.models.contract import ModelSpec, Prediction, State
from vmatte.models.placement import Placement

BACKBONES: dict[str, Backbone] = {"birefnet": SWIN_L, "birefnet-lite": SWIN_T}
"""By the architecture that a row of MODELS names."""

Shapes = Mapping[str, tuple[int, ...]]


class BiRefNetMatting:
    """A network of BiRefNet's family on a device."""

    def __init__(self, spec: ModelSpec, network: BiRefNet, placement: Placement) -> None:
        self.spec = spec
        self.device = placement.device
        self._precision = placement.precision
        network.to(self.device, self._precision)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs do not know it
        # One shape all along, so that the whole network is one CUDA graph.
        self._network = torch.compile(network, mode="reduce-overhead", dynamic=False) if placement.compile else network

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of normalised R'G'B' (T, 3, h, w) float32; h and w are multiples of 32."""
        try:
            logits = self._network(rgb.to(self._precision))
        except NotImplementedError as error:  # an operator that MPS does not have yet
            reason = str(error).splitlines()[0]
            raise ModelError(f"{self.spec.name} cannot run on {self.device.type}: {reason} Use the CPU") from error
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
        with torch.device("meta"):
            network = BiRefNet(backbone, order)
        network.load_state_dict(read(weights, network.state_dict()), assign=True)
    network.prepare()
    return BiRefNetMatting(spec, network, placement)


def read(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in the precision of `expected`, whose names and shapes they must have."""
    from safetensors import SafetensorError, safe_open  # random weights, for the bench, need nothing but torch

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check(path, found, {name: tuple(tensor.shape) for name, tensor in expected.items()})
            # Files in float16 gain nothing and lose nothing by float32, in which norms are folded.
            return {name: file.get_tensor(name).to(expected[name].dtype) for name in found}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as a safetensors file: {error}") from error


def _check(path: Path, found: Shapes, expected: Shapes) -> None:
    if found == expected:
        return
    differences = [
        _listed("missing", (name for name in expected if name not in found)),
        _listed("unknown", (name for name in found if name not in expected)),
        _listed(
            "of another shape",
            (
                f"{name} {found[name]}, not {shape}"
                for name, shape in expected.items()
                if found.get(name, shape) != shape
            ),
        ),
    ]
    raise ModelError(
        f"{path} does not hold this network{_other_kind(found, expected)}: {'; '.join(filter(None, differences))}"
    )


def _listed(what: str, names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - 3} more" if len(every) > 3 else ""
    return f"{what}: {', '.join(every[:3])}{more}" if every else ""


def _other_kind(found: Shapes, expected: Shapes) -> str:
    """A hint where the file is of the family, with the other backbone."""
    first = "bb.patch_embed.proj.bias"
    if found.get(first) == expected.get(first):
        return ""
    kinds = [name for name, backbone in BACKBONES.items() if found.get(first) == (backbone.width,)]
    return f" but {kinds[0]}" if kinds else ""
