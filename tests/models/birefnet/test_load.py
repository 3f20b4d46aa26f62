"""Files of weights become networks: what is loaded, what is refused, and what the network is made into."""

from pathlib import Path

import pytest
import torch
from networks import TINY
from safetensors.torch import save_file

from vmatte.errors import ModelError
from vmatte.models.birefnet import load as loading
from vmatte.models.birefnet.graph import Graphed
from vmatte.models.birefnet.network import BiRefNet
from vmatte.models.birefnet.swin import WindowAttention
from vmatte.models.catalogue import MODELS, load_model

SPEC = MODELS["birefnet-lite"]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.BACKBONES, "birefnet-lite", TINY)


@pytest.fixture
def network() -> BiRefNet:
    torch.manual_seed(4)
    return BiRefNet(TINY, "wghgc").eval()


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_published_file_gives_the_alpha_of_its_weights(dtype: torch.dtype, network: BiRefNet, tmp_path: Path) -> None:
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    network.load_state_dict(tensors)
    expected = torch.sigmoid(network(pictures())).detach()
    alpha = load_model("birefnet-lite", tmp_path, device="cpu").predict(pictures()).alpha
    torch.testing.assert_close(alpha, expected, atol=1e-5, rtol=0)


def test_a_file_with_other_tensors_is_refused_with_what_differs(network: BiRefNet, tmp_path: Path) -> None:
    tensors = network.state_dict()
    tensors["bb.norm0.weigh"] = tensors.pop("bb.norm0.weight")
    tensors["bb.norm0.bias"] = torch.zeros(3)
    save_file(tensors, tmp_path / "own.safetensors")
    with pytest.raises(
        ModelError, match=r"missing: bb\.norm0\.weight; unknown: bb\.norm0\.weigh; .*bb\.norm0\.bias \(3,\)"
    ):
        load_model("birefnet-lite", tmp_path / "own.safetensors", device="cpu")


@pytest.mark.parametrize("content", [b"", b"\x80\x02pickle", b"\x10\x00\x00\x00\x00\x00\x00\x00{"])
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a safetensors file"):
        load_model("birefnet-lite", tmp_path / "own.safetensors", device="cpu")


def test_random_weights_are_always_the_same_and_leave_the_callers_chance_alone() -> None:
    torch.manual_seed(1)
    first = load_model("birefnet-lite", "random", device="cpu").predict(pictures()).alpha
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    assert torch.equal(load_model("birefnet-lite", "random", device="cpu").predict(pictures()).alpha, first)


def test_position_biases_lie_in_rows_as_fused_attention_wants_them() -> None:
    network = load_model("birefnet-lite", "random", device="cpu")._network  # type: ignore[attr-defined]
    biases = [module.kept_bias for module in network.modules() if isinstance(module, WindowAttention)]
    assert biases
    assert all(bias is not None and bias.stride(-1) == 1 for bias in biases)
    assert all(
        conv.weight.is_contiguous(memory_format=torch.channels_last)
        for conv in network.modules()
        if isinstance(conv, torch.nn.Conv2d)
    )


def test_a_network_that_cannot_be_compiled_says_what_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: no g++\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: failing)
    model = load_model("birefnet-lite", "random", device="cpu", compile=True)
    with pytest.raises(
        ModelError, match=r"cannot be compiled here.*leave out --compile \(InvalidCxxCompiler: no g\+\+\)$"
    ):
        model.predict(pictures())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_graph_answers_for_each_shape_what_the_network_answers(network: BiRefNet) -> None:
    network.prepare()
    network.cuda()
    graphed = Graphed(network)
    answers = []
    for seed, size in ((1, (64, 64)), (2, (64, 96)), (3, (64, 64))):
        given = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed)).cuda()
        answers.append((graphed(given), network(given)))
    for ours, theirs in answers:  # compared at the end: an answer must outlive the next replay
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
