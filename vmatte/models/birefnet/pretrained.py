"""BiRefNet as a model of transformers: a folder or a repository in, the plain network inside, published names out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils.hub import cached_file

from vmatte.errors import ModelError
from vmatte.models.birefnet.network import SWIN_L, SWIN_T, Backbone, BiRefNet, segment
from vmatte.models.catalogue import MODELS
from vmatte.models.contract import HuggingFace, PatchOrder, Weights
from vmatte.models.tensors import shapes
from vmatte.models.weights import sha256_of

T = TypeVar("T")

BACKBONES: dict[str, Backbone] = {"swin-l": SWIN_L, "swin-t": SWIN_T}
PATCH_ORDERS: dict[str, PatchOrder] = {"wghgc": "wghgc", "chgwg": "chgwg"}

_FIRST_WEIGHT = "bb.patch_embed.proj.weight"
_WHERE = ("cache_dir", "local_files_only", "proxies", "revision", "subfolder", "token")
"""The options of from_pretrained that say where files are."""
# What a published config.json says of the code beside it, which is not run, and of the repository it was copied from.
_OF_THE_REPOSITORY = ("_name_or_path", "auto_map", "custom_pipelines")


class BiRefNetConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What a published config.json does not say: `backbone`, a word of BACKBONES, and `patch_order`.

    None means that `BiRefNetForImageSegmentation.from_pretrained` finds it out.
    """

    # A name that nobody else gives: a class of transformers' own may come one day, and will not know `patch_order`.
    model_type = "vmatte_birefnet"

    def __init__(self, backbone: str | None = None, patch_order: str | None = None, **options: Any) -> None:
        self.backbone = backbone
        self.patch_order = patch_order
        super().__init__(**options)

    @classmethod
    def get_config_dict(cls, *arguments: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """As transformers' own, of a published config.json as well."""
        found, unused = super().get_config_dict(*arguments, **options)
        return recognised(found), unused


def recognised(config: dict[str, Any]) -> dict[str, Any]:
    """A published BiRefNet's config.json as one of a BiRefNetConfig; every other one as it is.

    Theirs have no `model_type`, or, where the code beside them wrote them again, one that is not theirs.
    """
    if config.get("architectures") != ["BiRefNet"]:
        return config
    coded = str((config.get("auto_map") or {}).get("AutoConfig", ""))
    if "model_type" in config and not coded.endswith(".BiRefNetConfig"):
        return config
    kept = {key: value for key, value in config.items() if key not in _OF_THE_REPOSITORY}
    return {**kept, "model_type": BiRefNetConfig.model_type}


class BiRefNetForImageSegmentation(PreTrainedModel):
    """BiRefNet for inference. Parameters and buffers have the names and shapes of the published files."""

    config_class = BiRefNetConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: BiRefNetConfig) -> None:
        super().__init__(config)
        backbone = _chosen("backbone", config.backbone, BACKBONES)
        network = BiRefNet(backbone, _chosen("patch_order", config.patch_order, PATCH_ORDERS))
        self.bb, self.squeeze_module, self.decoder = network.bb, network.squeeze_module, network.decoder
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor, return_dict: bool = True) -> SemanticSegmenterOutput | tuple[Tensor]:
        """Logits (B, 1, H, W), as `.logits` and `[-1]`, of images (B, 3, H, W), normalised by ImageNet's mean and
        deviation; alpha is their sigmoid. H and W are multiples of 32, else ValueError."""
        if self.training:
            raise ValueError("this BiRefNet is for inference; call .eval() first")
        logits = segment(self.bb, self.squeeze_module, self.decoder, pixel_values.to(self.dtype))
        return SemanticSegmenterOutput(logits=logits) if return_dict else (logits,)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # transformers names each option; here they are handed on
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *arguments: Any, **options: Any
    ) -> Any:
        """As transformers' own. `backbone` and `patch_order` may be given; left out, they are found: the backbone in
        the weights, the patch order in vmatte's catalogue, by the file's bytes or by the repository's name.

        Raises ModelError where the patch order is not known, and for weights that are not this network's.
        """
        name = pretrained_model_name_or_path
        where = {option: options[option] for option in _WHERE if option in options}
        config = options.pop("config", None)
        if not isinstance(config, PretrainedConfig):
            chosen = {word: options.pop(word) for word in ("backbone", "patch_order") if word in options}
            config = BiRefNetConfig.from_pretrained(config or name, **where, **chosen)
        if config.backbone is None or config.patch_order is None:
            variant = options.get("variant")
            found = cached_file(name, f"model.{variant}.safetensors" if variant else "model.safetensors", **where)
            assert found is not None  # where a file is missing it raises OSError, and says where it looked
            config.backbone = config.backbone or _backbone_in(Path(found))
            config.patch_order = config.patch_order or _patch_order_of(str(name), Path(found))
        wanted = options.pop("output_loading_info", False)
        options["use_safetensors"] = True  # a pickle could run anything
        loaded: Any = super().from_pretrained(name, *arguments, config=config, output_loading_info=True, **options)
        model, loading = loaded
        _check(str(name), loading)
        return (model, loading) if wanted else model


def _chosen(word: str, value: str | None, choices: Mapping[str, T]) -> T:
    if value is None or value not in choices:
        raise ModelError(f"BiRefNet needs {word}, one of {', '.join(map(repr, choices))}; it has {value!r}")
    return choices[value]


def _backbone_in(file: Path) -> str:
    """The word for the backbone whose width a weights file has."""
    shape = shapes(file).get(_FIRST_WEIGHT)
    for word, backbone in BACKBONES.items():
        if shape and shape[0] == backbone.width:
            return word
    raise ModelError(f"{file} holds no BiRefNet with one of the backbones {', '.join(BACKBONES)}")


def _patch_order_of(name: str, file: Path) -> PatchOrder:
    """The order that the catalogue knows of a file by its bytes, or else, with a warning, by its repository's name."""
    size_bytes = file.stat().st_size
    alike = [(weights, order) for weights, order in _rows() if weights.size_bytes == size_bytes]
    sha256 = sha256_of(file) if alike else None
    for weights, order in alike:
        if weights.sha256 == sha256:
            return order
    choices = " or ".join(f"patch_order={order!r}" for order in PATCH_ORDERS)
    # A folder may be called like a repository and hold anything.
    named = None if os.path.isdir(name) else _order_of_repository(name)
    if named is None:
        raise ModelError(
            f"{name}: it is not known in which order these weights take the patches of a picture: they are in no row "
            f"of vmatte's catalogue, the file does not say it, and the wrong order ruins every matte. Give {choices} "
            "to from_pretrained: as a rule wghgc for BiRefNets trained before November 2024, chgwg for later ones"
        )
    warnings.warn(
        f"{name}: these weights are not those of vmatte's catalogue; they are taken to have the same patch order, "
        f"{named}. If the matte is a ruin, give {choices}",
        stacklevel=3,
    )
    return named


def _rows() -> Iterator[tuple[Weights, PatchOrder]]:
    """Weights and patch order of each row of BiRefNet's family."""
    for spec in MODELS.values():
        if spec.weights is not None and spec.patch_order is not None:
            yield spec.weights, spec.patch_order


def _order_of_repository(repository: str) -> PatchOrder | None:
    """The patch order of the row that names a repository of Hugging Face, which takes capitals for small letters."""
    for weights, order in _rows():
        for source in weights.sources:
            if isinstance(source, HuggingFace) and source.repository.lower() == repository.lower():
                return order
    return None


def _check(name: str, loading: Mapping[str, Iterable[Any]]) -> None:
    # transformers only warns, and a network with a tensor at random gives a picture that looks like a bad matte.
    differences = []
    for what, key in (("missing", "missing_keys"), ("unknown", "unexpected_keys")):
        names = sorted(str(key) for key in loading[key] if not str(key).endswith("num_batches_tracked"))
        if names:
            differences.append(f"{what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")
    if differences:
        raise ModelError(f"{name} does not hold this network: {'; '.join(differences)}")
