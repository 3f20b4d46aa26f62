"""BiRefNet as a whole against what its authors' own code gives for the weights that scripts/check_birefnet.py draws.

probes.json holds a few numbers of every tensor; scripts/check_birefnet.py compares whole ones, where they are stored.
"""

from pathlib import Path

import pytest
import torch
from check_birefnet import (
    BACKBONES,
    LIMIT,
    MANIFESTS,
    Case,
    difference,
    drawn_network,
    own_shapes,
    picture,
    read_manifest,
    read_probes,
    watch,
)
from networks import TINY
from torch import Tensor

from vmatte.models.birefnet.network import SWIN_L, SWIN_T, Backbone, BiRefNet
from vmatte.models.contract import PatchOrder

PROBES = read_probes(Path(__file__).with_name("probes.json"))
LARGE_IS_SLOW = [pytest.param(name, marks=pytest.mark.slow) if "large" in name else name for name in PROBES]


def logits(network: BiRefNet, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(image).float()


@pytest.mark.parametrize("prepared", [False, True], ids=["as loaded", "prepared"])
@pytest.mark.parametrize("name", LARGE_IS_SLOW)
def test_every_tensor_is_the_one_that_the_authors_code_computes(name: str, prepared: bool) -> None:
    case = Case.named(name)
    assert case is not None
    network = drawn_network(BACKBONES[case.backbone], case.order)
    if prepared:
        network.prepare()
    off: dict[str, float] = {}
    probes = PROBES[name]
    watch(
        network,
        picture(case.height, case.width),
        lambda tensor, seen: off.update({tensor: difference(tensor, probes[tensor], seen)}),
    )
    assert off.keys() == probes.keys()
    assert max(off.values()) < LIMIT, off


# Counted in the headers of the published files.
@pytest.mark.parametrize(("backbone", "tensors", "parameters"), [(SWIN_T, 586, 44_313_720), (SWIN_L, 754, 220_176_498)])
def test_a_network_has_as_many_tensors_as_its_published_file(backbone: Backbone, tensors: int, parameters: int) -> None:
    with torch.device("meta"):
        network = BiRefNet(backbone, "wghgc")
    assert len(network.state_dict()) == tensors
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("name", MANIFESTS)
def test_names_and_shapes_are_those_of_the_published_file(name: str, birefnet_vectors: Path) -> None:
    assert own_shapes(BACKBONES[name]) == read_manifest(birefnet_vectors / MANIFESTS[name])


# Odd maps in the half pass; one token; whole windows.
@pytest.mark.parametrize("size", [(96, 160), (32, 32), (128, 64)], ids=str)
def test_a_prepared_network_says_the_same(size: tuple[int, int]) -> None:
    network, image = drawn_network(TINY, "chgwg"), picture(*size)
    before = logits(network, image)
    assert before.shape == (1, 1, *size)
    assert before.std() > 0.1
    network.prepare()
    torch.testing.assert_close(logits(network, image), before, rtol=0, atol=2e-5)
    assert not [name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]


def test_the_wrong_order_of_patches_is_far_from_the_right_one() -> None:
    image = picture(256, 256)
    old, new = (logits(drawn_network(SWIN_T, order), image) for order in ("wghgc", "chgwg"))
    # 2.2 to 2.4 in the authors' code.
    assert (old - new).abs().max() > 2


@pytest.mark.parametrize("size", [(80, 96), (96, 112), (33, 32), (16, 16)], ids=str)
def test_sides_that_do_not_divide_into_patches_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 32, not {size[0]} × {size[1]}"):
        drawn_network(TINY, "wghgc")(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("order", ["wghgc", "chgwg"])
@pytest.mark.parametrize("prepared", [False, True], ids=["as loaded", "prepared"])
def test_images_of_a_batch_do_not_see_each_other(order: PatchOrder, prepared: bool) -> None:
    network = drawn_network(TINY, order)
    if prepared:
        network.prepare()
    one = picture(96, 160)
    other = one.flip(-1) * 0.5
    together = logits(network, torch.cat([one, other]))
    apart = torch.cat([logits(network, one), logits(network, other)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    assert (apart[0] - apart[1]).abs().max() > 0.1


def test_a_channels_last_image_is_the_same_image() -> None:
    network, image = drawn_network(TINY, "wghgc"), picture(64, 96)
    last = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(logits(network, last), logits(network, image), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_half_precision_moves_alpha_by_two_codes_at_most() -> None:
    network, image = drawn_network(SWIN_T, "wghgc"), picture(256, 256)
    network.prepare()
    alpha = torch.sigmoid(logits(network, image))
    halved = torch.sigmoid(logits(network.half(), image.half()))
    assert ((halved - alpha).abs() <= 2 / 255).float().mean() > 0.999


@pytest.mark.slow
def test_the_compiler_takes_the_network_whole() -> None:
    network = drawn_network(TINY, "wghgc")
    network.prepare()
    # Where windows lie is a constant of each size, so a graph holds for one size.
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    for size in [(64, 96), (32, 64)]:
        image = picture(*size)
        torch.testing.assert_close(logits(compiled, image), logits(network, image), rtol=0, atol=1e-6)


def test_what_inference_mode_leaves_behind_serves_outside_of_it() -> None:
    network, image = drawn_network(TINY, "wghgc"), picture(32, 64)
    inside = logits(network, image)
    # Where gradients are tracked, autograd refuses tensors that inference mode has made.
    torch.testing.assert_close(network(image), inside, rtol=0, atol=1e-6)
