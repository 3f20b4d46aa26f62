"""A folder such as the hub's: a published BiRefNet's config.json, and weights under the published names at random."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vmatte.models.birefnet.network import Backbone, BiRefNet
from vmatte.models.contract import PatchOrder

# As published beside ZhengPeng7's weights and, with three more lines, beside RMBG-2.0.
PUBLISHED_CONFIG: dict[str, object] = {
    "_name_or_path": "ZhengPeng7/BiRefNet",
    "architectures": ["BiRefNet"],
    "auto_map": {
        "AutoConfig": "BiRefNet_config.BiRefNetConfig",
        "AutoModelForImageSegmentation": "birefnet.BiRefNet",
    },
    "custom_pipelines": {"image-segmentation": {"pt": ["AutoModelForImageSegmentation"], "tf": [], "type": "image"}},
    "bb_pretrained": False,
}


def write_folder(folder: Path, backbone: Backbone, config: dict[str, object] | None = None) -> Path:
    """The folder, with code that must not be run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or PUBLISHED_CONFIG))
    for code in ("birefnet.py", "BiRefNet_config.py"):
        (folder / code).write_text("raise RuntimeError('the code beside the weights was run')")
    save_file(random_weights(backbone), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def random_weights(backbone: Backbone) -> dict[str, Tensor]:
    """Weights under which every part of the network is heard."""
    torch.manual_seed(1)
    weights = BiRefNet(backbone, "wghgc").state_dict()
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        else:
            tensor.normal_(std=(2 / max(tensor[0].numel(), 8)) ** 0.5)
    return {name: tensor.contiguous() for name, tensor in weights.items()}


@torch.inference_mode()
def plain_logits(folder: Path, backbone: Backbone, order: PatchOrder, pictures: Tensor) -> Tensor:
    """What the network without transformers says."""
    network = BiRefNet(backbone, order).eval()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    logits: Tensor = network(pictures)
    return logits
