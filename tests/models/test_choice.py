"""What `auto` means on a machine, what the licence guard lets through, and the line that tells the user."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch

from vmatte.errors import JobError, ModelError
from vmatte.job import Runtime
from vmatte.models import choice
from vmatte.models.catalogue import MODELS
from vmatte.models.choice import CPU_MODELS, GPU_MODELS, choose
from vmatte.models.contract import Licence
from vmatte.models.weights import in_cache

AS_IS, COMMERCIAL, PERMISSIVE = (Runtime(licence_guard=guard) for guard in (None, "commercial", "permissive"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no account: what this machine has of either must not matter."""
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return tmp_path / "cache"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")


def own(path: Path, content: bytes = b"trained further") -> Path:
    path.write_bytes(content)
    return path


def pin(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    """Let a row pin these bytes."""
    weights = MODELS[name].weights
    assert weights is not None
    pinned = dataclasses.replace(weights, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    monkeypatch.setitem(MODELS, name, dataclasses.replace(MODELS[name], weights=pinned))


# auto


def test_without_a_gpu_auto_takes_the_model_for_a_cpu() -> None:
    chosen = choose("auto", None, AS_IS)
    assert chosen.spec.name == CPU_MODELS[0]
    assert chosen.placement.device.type == "cpu"
    assert chosen.why.startswith("auto takes it without CUDA; torch ")


@pytest.mark.usefixtures("cuda")
def test_on_cuda_without_an_account_auto_takes_the_free_portrait_model_and_says_why() -> None:
    chosen = choose("auto", None, AS_IS)
    assert chosen.spec.name == "birefnet-portrait"
    assert str(chosen) == (
        "model birefnet-portrait on cuda:0 (NVIDIA H100), fp16 (licence MIT, free for commercial use): auto takes it "
        "on a GPU; rmbg-2.0 is gated, not in the cache, and there is no Hugging Face token; torch finds CUDA"
    )


@pytest.mark.usefixtures("cuda", "token")
def test_on_cuda_with_an_account_auto_takes_rmbg() -> None:
    chosen = choose("auto", None, AS_IS)
    assert chosen.spec.name == "rmbg-2.0"
    assert "licence CC BY-NC 4.0, NOT free for commercial use; a commercial licence is sold by Bria" in str(chosen)


@pytest.mark.usefixtures("cuda")
def test_on_cuda_auto_takes_rmbg_that_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    content = b"rmbg"
    pin(monkeypatch, "rmbg-2.0", content)
    weights = MODELS["rmbg-2.0"].weights
    assert weights is not None
    assert choose("auto", None, AS_IS).spec.name == "birefnet-portrait"
    place = cache / "weights" / weights.sha256[:12] / "model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert in_cache(weights)
    assert choose("auto", None, AS_IS).spec.name == "rmbg-2.0"


@pytest.mark.usefixtures("cuda", "token")
def test_the_device_that_is_named_decides_not_the_one_there_is() -> None:
    assert choose("auto", None, Runtime(device="cpu")).spec.name == CPU_MODELS[0]
    assert choose("auto", None, Runtime(device="cuda:0")).spec.name == "rmbg-2.0"


def test_mps_is_used_by_those_who_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose("auto", None, AS_IS).spec.name == CPU_MODELS[0]
    named = choose("auto", None, Runtime(device="mps"))
    assert (named.spec.name, str(named.placement)) == ("birefnet-portrait", "mps, fp32")


@pytest.mark.usefixtures("cuda", "token")
@pytest.mark.parametrize("runtime", [COMMERCIAL, PERMISSIVE], ids=lambda runtime: runtime.licence_guard)
def test_on_cuda_a_licence_guard_turns_auto_to_the_free_model(runtime: Runtime) -> None:
    chosen = choose("auto", None, runtime)
    assert chosen.spec.name == "birefnet-portrait"
    assert "the licence guard refuses rmbg-2.0" in chosen.why


def test_a_copyleft_model_is_passed_over_by_the_permissive_guard_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpl = dataclasses.replace(
        MODELS["u2netp"], name="gpl", licence=Licence("GPL-3.0", commercial_use=True, copyleft=True)
    )
    monkeypatch.setitem(MODELS, "gpl", gpl)
    monkeypatch.setattr(choice, "CPU_MODELS", ("gpl", "modnet"))
    assert [choose("auto", None, r).spec.name for r in (AS_IS, COMMERCIAL, PERMISSIVE)] == ["gpl", "gpl", "modnet"]
    assert "(licence GPL-3.0, free for commercial use, copyleft)" in str(choose("auto", None, AS_IS))


@pytest.mark.parametrize("names", [GPU_MODELS, CPU_MODELS], ids=["GPU", "CPU"])
def test_whatever_the_machine_and_the_guard_auto_finds_a_model(names: tuple[str, ...]) -> None:
    last = MODELS[names[-1]]
    assert last.licence.passes("permissive")
    assert last.weights is not None
    assert last.weights.gate is None


def test_weights_without_their_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"net\.onnx are given, but not the model"):
        choose("auto", tmp_path / "net.onnx", AS_IS)


def test_random_weights_are_not_for_renders() -> None:
    with pytest.raises(JobError, match="random weights are for benches and tests"):
        choose("birefnet", Path("random"), AS_IS)


# A model that was named


def test_a_named_model_on_a_named_device_needs_no_reason() -> None:
    chosen = choose("modnet", None, Runtime(device="cpu"))
    assert str(chosen) == "model modnet on the CPU, fp32 (licence Apache-2.0, free for commercial use)"
    assert chosen.weights_sha256 == "07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9"


def test_a_model_without_weights_has_no_checksum() -> None:
    chosen = choose("luma-key", None, PERMISSIVE)
    assert (chosen.own, chosen.weights_sha256) == (None, None)


def test_own_weights_are_found_in_a_folder_and_told_by_their_bytes(tmp_path: Path) -> None:
    file = own(tmp_path / "modnet.onnx")
    chosen = choose("modnet", tmp_path, Runtime(device="cpu"))
    assert (chosen.own, chosen.licence) == (file, None)
    assert chosen.weights_sha256 == hashlib.sha256(b"trained further").hexdigest()
    assert str(chosen) == (f"model modnet on the CPU, fp32 (weights of your own, {file}: their licence is not known)")


def test_weights_that_are_not_there_are_an_error_before_anything_else_happens(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        choose("birefnet", tmp_path / "gone", COMMERCIAL)


# The licence guard


@pytest.mark.parametrize(
    ("licence", "passes"),
    [
        (Licence("MIT", commercial_use=True), {None, "commercial", "permissive"}),
        (Licence("GPL-3.0", commercial_use=True, copyleft=True), {None, "commercial"}),
        (Licence("CC BY-NC 4.0", commercial_use=False), {None}),
        (Licence("CC BY-NC-SA 4.0", commercial_use=False, copyleft=True), {None}),
    ],
    ids=lambda case: getattr(case, "name", ""),
)
def test_each_guard_lets_its_licences_through(licence: Licence, passes: set[str | None]) -> None:
    assert {guard for guard in (None, "commercial", "permissive") if licence.passes(guard)} == passes  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", [COMMERCIAL, PERMISSIVE], ids=lambda runtime: runtime.licence_guard)
def test_the_guard_refuses_rmbg_with_its_licence_and_what_passes(runtime: Runtime) -> None:
    with pytest.raises(JobError) as refusal:
        choose("rmbg-2.0", None, runtime)
    said = str(refusal.value)
    assert f"the licence guard {runtime.licence_guard!r} refuses rmbg-2.0" in said
    assert "CC BY-NC 4.0, NOT free for commercial use" in said
    passing = said.split("these models pass: ")[1].split(", ")
    assert {"birefnet-portrait", "modnet"} <= set(passing)
    assert "rmbg-2.0" not in passing


@pytest.mark.parametrize("runtime", [COMMERCIAL, PERMISSIVE], ids=lambda runtime: runtime.licence_guard)
def test_the_guard_refuses_weights_that_nobody_knows(runtime: Runtime, tmp_path: Path) -> None:
    file = own(tmp_path / "mine.onnx")
    with pytest.raises(JobError, match=r"refuses .*mine\.onnx: its licence is not known.*these models pass: .*modnet"):
        choose("modnet", file, runtime)
    assert choose("modnet", file, AS_IS).licence is None


def test_a_copy_of_the_pinned_file_has_its_rows_licence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = own(tmp_path / "mine.onnx", b"the pinned bytes")
    pin(monkeypatch, "modnet", b"the pinned bytes")
    assert choose("modnet", file, PERMISSIVE).licence == Licence("Apache-2.0", commercial_use=True)


def test_rmbg_is_known_by_its_bytes_under_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = own(tmp_path / "harmless.safetensors", b"rmbg")
    pin(monkeypatch, "rmbg-2.0", b"rmbg")
    assert "NOT free for commercial use" in str(choose("birefnet", file, AS_IS))
    with pytest.raises(JobError, match=r"refuses .*harmless\.safetensors: its licence is CC BY-NC"):
        choose("birefnet", file, COMMERCIAL)
