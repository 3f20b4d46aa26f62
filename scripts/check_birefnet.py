"""Compare BiRefNet with stored vectors: what its authors' code gives for weights and a picture that anyone can draw.

    python scripts/check_birefnet.py FOLDER

FOLDER holds `{lite|large}_{wghgc|chgwg}_{H}x{W}.npz`, arrays of a network's tensors by name, and may hold `probes.json`
(shape, mean, deviation, largest value and a few values of every tensor, for several networks) and manifests (the names
and shapes of the published files). Every network is compared as loaded and again after `prepare()`. One line a file
says which tensor differs most. Exit code 1 when that is by more than LIMIT, when names differ, and when there is
nothing to compare; 2 when the folder cannot be read.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vmatte.models.birefnet import load
from vmatte.models.birefnet.decoder import resize, size_of
from vmatte.models.birefnet.network import SIDE_MULTIPLE, Backbone, BiRefNet
from vmatte.models.contract import IMAGENET_MEAN, IMAGENET_STD, PatchOrder

LIMIT = 1e-4
"""The authors' code differs from itself by 3e-5 with another number of threads; the smallest mistake costs 8e-4."""
BACKBONES = {"lite": load.BACKBONES["birefnet-lite"], "large": load.BACKBONES["birefnet"]}
"""By the word in the vectors' names."""
MANIFESTS = {"lite": "manifest_birefnet_lite.json", "large": "manifest_rmbg2.json"}
PROBES = "probes.json"

Array = NDArray[Any]


# Weights and pictures


def weight(name: str, shape: Sequence[int]) -> Array:
    """The weight of this name and shape: uniform noise whose seed is the name, scaled to keep signals at their size."""
    if name.endswith("relative_position_index"):
        window = math.isqrt(shape[0])
        y, x = np.divmod(np.arange(window**2), window)
        down, right = y[:, None] - y + window - 1, x[:, None] - x + window - 1
        index: Array = down * (2 * window - 1) + right
        return index
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    unit = np.random.RandomState(zlib.crc32(name.encode())).random_sample(math.prod(shape)).reshape(shape)
    centred = 2 * unit - 1
    if name.endswith("running_mean"):
        drawn = 0.1 * centred
    elif name.endswith("running_var"):
        drawn = 0.6 + 0.8 * unit
    elif name.endswith("relative_position_bias_table"):
        drawn = centred
    elif name.endswith("offset_conv.bias"):
        drawn = 2 * centred  # pixels: many samples lie outside the map
    elif name.endswith(".bias"):
        drawn = 0.1 * centred
    elif len(shape) == 1:
        drawn = 1 + 0.2 * centred
    else:
        drawn = 1.2 * math.sqrt(3 / math.prod(shape[1:])) * centred
    return drawn.astype(np.float32)


def picture(height: int, width: int) -> Tensor:
    """The network's input (1, 3, height, width): ramps, a checkerboard and rings, in codes of 8 bits, normalised."""
    y, x, c = np.ogrid[:height, :width, :3]
    ramps = 3 * x // 4 + 5 * y // 4 + 40 * c
    checks = 60 * ((x // 16 + y // 24) % 2)
    rings = (x * x + 2 * y * y) // (64 + 16 * c) % 64
    normalised = ((ramps + checks + rings) % 256 / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    return torch.from_numpy(normalised.transpose(2, 0, 1)[None].astype(np.float32))


def drawn_network(backbone: Backbone, order: PatchOrder) -> BiRefNet:
    """A network with drawn weights, as it is after loading."""
    with torch.device("meta"):
        network = BiRefNet(backbone, order)
    drawn = {name: torch.from_numpy(weight(name, like.shape)) for name, like in network.state_dict().items()}
    network.load_state_dict(drawn, assign=True)
    return network.eval()


# What happens inside


def watch(network: BiRefNet, image: Tensor, see: Callable[[str, Tensor], None]) -> None:
    """Run the network and show every tensor of the vectors under its name there, as soon as it exists.

    Some are overwritten later: `see` copies what it keeps. Tensors that the network never builds, as its own way to the
    logits is shorter, are put together from its parts.
    """
    decoder, last = network.decoder, network.decoder.decoder_block1
    passes: list[Sequence[Tensor]] = []

    def see_maps(_: nn.Module, __: object, maps: Sequence[Tensor]) -> None:
        passes.append(maps)
        if len(passes) < 2:
            return
        for k, (full, half) in enumerate(zip(*passes, strict=True), start=1):
            see(f"half_x{k}", half)
            see(f"x{k}", torch.cat([full, resize(half, size_of(full))], dim=1))
        passes.clear()

    def see_last(_: nn.Module, __: object, inner: Tensor) -> None:
        see("dec1", last.bn_out(last.conv_out(inner)))

    def under(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _, __, output: see(name, output)

    named = {"squeeze": network.squeeze_module}
    named |= {f"ipt{k}": getattr(decoder, f"ipt_blk{k}") for k in (5, 4, 3, 2)}
    named |= {f"dec{k}": getattr(decoder, f"decoder_block{k}") for k in (4, 3, 2)}
    named |= {f"gdt_logit{k}": getattr(decoder, f"gdt_convs_attn_{k}") for k in (4, 3, 2)}
    named |= {f"lat{k}": getattr(decoder, f"lateral_block{k}") for k in (4, 3, 2)}
    with ExitStack() as hooks, torch.inference_mode():
        hooks.enter_context(network.bb.register_forward_hook(see_maps))
        hooks.enter_context(
            network.squeeze_module.register_forward_pre_hook(lambda _, inputs: see("x4_cxt", inputs[0]))
        )
        hooks.enter_context(last.dec_att.register_forward_hook(see_last))
        for name, module in named.items():
            hooks.enter_context(module.register_forward_hook(under(name)))
        see("input", image)
        logits = network(image)
        see("logits", logits)
        see("alpha", torch.sigmoid(logits))
        see("ipt1", decoder.ipt_blk1(image))


# Vectors


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a tensor that is too large to be stored."""

    shape: tuple[int, ...]
    mean: float
    std: float
    absmax: float
    values: tuple[float, ...]
    """Those at places that the tensor's name decides."""

    @classmethod
    def of(cls, name: str, array: Array, count: int) -> Probe:
        """The probe of an array, with `count` values."""
        places = np.random.RandomState(zlib.crc32(f"probe:{name}".encode())).randint(0, array.size, size=count)
        values = tuple(array.reshape(-1)[places].tolist())
        mean, std = array.mean(dtype=np.float64), array.std(dtype=np.float64)
        return cls(array.shape, float(mean), float(std), float(np.abs(array).max()), values)

    def numbers(self) -> Array:
        """All but the shape."""
        return np.array([self.mean, self.std, self.absmax, *self.values])


def difference(name: str, expected: Array | Probe, seen: Tensor) -> float:
    """The largest difference of a tensor from what is expected of it; infinite where shapes differ or numbers fail."""
    array = seen.numpy()
    if array.shape != expected.shape:
        return math.inf
    if isinstance(expected, Probe):
        array, expected = Probe.of(name, array, len(expected.values)).numbers(), expected.numbers()
    largest = float(np.abs(array - expected).max())
    return math.inf if math.isnan(largest) else largest


@dataclass(frozen=True, slots=True)
class Case:
    """A network and the size of its input."""

    backbone: str
    order: PatchOrder
    height: int
    width: int

    @classmethod
    def named(cls, name: str) -> Case | None:
        """The case of a name such as `lite_wghgc_256x256`; None for another kind of name."""
        orders = "|".join(get_args(PatchOrder))
        found = re.fullmatch(rf"({'|'.join(BACKBONES)})_({orders})_(\d+)x(\d+)", name)
        if found is None:
            return None
        height, width = int(found[3]), int(found[4])
        if not height or not width or height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
            raise ValueError(f"{name}: both sides must be multiples of {SIDE_MULTIPLE}")
        return cls(found[1], cast(PatchOrder, found[2]), height, width)


@dataclass(slots=True)
class Vectors:
    """Expected tensors of one network, and how far it is from them in each of its forms."""

    label: str
    expected: dict[str, Array | Probe]
    worst: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By form: the largest difference and the tensor that has it."""

    def compare(self, form: str, differences: dict[str, float]) -> None:
        found = dict.fromkeys(self.expected, math.inf) | differences
        self.worst[form] = max((found[name], name) for name in self.expected)

    @property
    def passed(self) -> bool:
        return all(largest <= LIMIT for largest, _ in self.worst.values())

    def __str__(self) -> str:
        forms = ", ".join(f"{form} {largest:.2e} ({name})" for form, (largest, name) in self.worst.items())
        return f"{self.label}: {forms}; {len(self.expected)} tensors: {'PASS' if self.passed else 'FAIL'}"


@dataclass(frozen=True, slots=True)
class Folder:
    """All that a folder holds."""

    vectors: dict[Case, list[Vectors]]
    manifests: dict[str, dict[str, tuple[int, ...]]]
    """By backbone: shapes of the published file's tensors, by name."""


def read_folder(folder: Path) -> Folder:
    """What lies in a folder. Raises OSError and ValueError where it cannot be read."""
    vectors = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".npz" and (case := Case.named(path.stem)):
            vectors[case].append(Vectors(path.name, read_arrays(path)))
    if (folder / PROBES).exists():
        for name, probes in read_probes(folder / PROBES).items():
            if (case := Case.named(name)) and probes:
                vectors[case].append(Vectors(f"{PROBES} {name}", dict(probes)))
    paths = {backbone: folder / name for backbone, name in MANIFESTS.items()}
    return Folder(vectors, {backbone: read_manifest(path) for backbone, path in paths.items() if path.exists()})


def read_arrays(path: Path) -> dict[str, Array | Probe]:
    """The arrays of a file, by name."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            found = dict(arrays)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not found:
        raise ValueError(f"{path.name}: holds no array")
    return found


def read_probes(path: Path) -> dict[str, dict[str, Probe]]:
    """Probes by network and tensor."""
    try:
        return {
            case: {
                name: Probe(tuple(of["shape"]), of["mean"], of["std"], of["absmax"], tuple(of["values"]))
                for name, of in tensors.items()
                if not name.startswith("_")
            }
            for case, tensors in json.loads(path.read_text()).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: not a list of probes: {error!r}") from error


def read_manifest(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a published file's tensors, by name."""
    try:
        return {name: tuple(tensor[0]) for name, tensor in json.loads(path.read_text())["tensors"].items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path.name}: not a manifest: {error!r}") from error


# Comparison


def own_shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's tensors, by name."""
    with torch.device("meta"):
        network = BiRefNet(backbone, "wghgc")
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def compare_names(backbone: str, published: dict[str, tuple[int, ...]]) -> bool:
    """Whether the network has the names and shapes of the published file; prints it."""
    own, manifest = own_shapes(BACKBONES[backbone]), MANIFESTS[backbone]
    odd = sorted(name for name in own.keys() | published.keys() if own.get(name) != published.get(name))
    if odd:
        print(f"{manifest}: {len(odd)} names or shapes differ, such as {', '.join(odd[:3])}: FAIL")
        return False
    print(f"{manifest}: {len(own)} tensors, names and shapes are equal: PASS")
    return True


def compare_case(case: Case, vectors: Sequence[Vectors]) -> bool:
    """Whether the network agrees with its vectors, as loaded and prepared; prints it."""
    network, image = drawn_network(BACKBONES[case.backbone], case.order), picture(case.height, case.width)
    for form in ("as loaded", "prepared"):
        if form == "prepared":
            network.prepare()
        differences: list[dict[str, float]] = [{} for _ in vectors]

        def see(name: str, seen: Tensor, differences: list[dict[str, float]] = differences) -> None:
            for of, found in zip(vectors, differences, strict=True):
                if name in of.expected:
                    found[name] = difference(name, of.expected[name], seen)

        watch(network, image, see)
        for of, found in zip(vectors, differences, strict=True):
            of.compare(form, found)
    for of in vectors:
        print(of, flush=True)
    return all(of.passed for of in vectors)


def compare(found: Folder) -> bool:
    """Whether all that lies in a folder agrees with the network; prints it."""
    passed = [compare_names(backbone, published) for backbone, published in found.manifests.items()]
    smallest_first = sorted(
        found.vectors, key=lambda case: (case.backbone == "large", case.height * case.width, case.order)
    )
    passed += [compare_case(case, found.vectors[case]) for case in smallest_first]
    if not smallest_first:
        print("no vectors such as lite_wghgc_256x256.npz: FAIL")
        return False
    return all(passed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    try:
        found = read_folder(parser.parse_args(arguments).folder)
    except (OSError, ValueError) as error:
        print(f"check_birefnet: {error}", file=sys.stderr)
        return 2
    return 0 if compare(found) else 1


if __name__ == "__main__":
    sys.exit(main())
