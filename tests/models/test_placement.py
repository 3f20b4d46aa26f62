"""Which device and precision a row gets. No test needs the device: what torch and ONNX Runtime say is put in place."""

import re
import sys

import onnxruntime
import pytest
import torch

from vmatte.errors import JobError
from vmatte.job import Runtime
from vmatte.models.catalogue import MODELS
from vmatte.models.placement import CUDA_PRECISION, Placement, find_device, frames_at_once, place

BIREFNET, MODNET, LUMA_KEY = MODELS["birefnet"], MODELS["modnet"], MODELS["luma-key"]
CPU, MPS = torch.device("cpu"), torch.device("mps")


class Machine:
    """What torch and ONNX Runtime find on a machine; by default a CPU and a build for CPUs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch.setattr
        self.patch(torch.cuda, "is_available", lambda: False)
        self.patch(torch.backends.mps, "is_available", lambda: False)
        self.patch(torch.version, "cuda", None)
        self.patch(torch.version, "hip", None)
        self.patch(torch, "__version__", "2.13.0+cpu")
        self.patch(sys, "platform", "linux")
        self.patch(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])

    def has_cuda(self, count: int = 1, *, onnx: bool = False) -> None:
        self.patch(torch.cuda, "is_available", lambda: True)
        self.patch(torch.cuda, "device_count", lambda: count)
        self.patch(torch.cuda, "get_device_name", lambda device: f"GPU number {device.index}")
        self.patch(torch.version, "cuda", "13.0")
        if onnx:
            self.patch(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])

    def has_mps(self) -> None:
        self.patch(torch.backends.mps, "is_available", lambda: True)
        self.patch(sys, "platform", "darwin")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


# Devices


def test_auto_takes_cuda_before_mps_before_the_cpu(machine: Machine) -> None:
    assert find_device("auto")[0] == CPU
    machine.has_mps()
    assert find_device("auto")[0] == MPS
    machine.has_cuda()
    assert find_device("auto")[0] == torch.device("cuda", 0)


def test_a_build_for_cpus_is_the_reason_for_the_cpu(machine: Machine) -> None:
    assert find_device("auto")[1] == "torch 2.13.0+cpu is a build for CPUs"
    machine.patch(torch.version, "cuda", "13.0")
    assert find_device("auto")[1] == "torch finds no GPU"


@pytest.mark.parametrize(
    ("word", "device"), [("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_a_device_that_is_named_is_taken_without_a_word(word: str, device: str, machine: Machine) -> None:
    machine.has_cuda(2)
    assert find_device(word) == (torch.device(device), "")


@pytest.mark.parametrize("word", ["gpu", "", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "cuda:1 "])
def test_a_word_that_is_no_device_is_answered_with_those_there_are(word: str, machine: Machine) -> None:
    machine.has_cuda()
    with pytest.raises(JobError, match=re.escape(f"no device is called {word!r}; there are: auto, cuda, cuda:1")):
        find_device(word)


def test_cuda_in_a_build_for_cpus_names_the_build_and_the_extra(machine: Machine) -> None:
    assert not torch.cuda.is_available()
    with pytest.raises(JobError) as refusal:
        find_device("cuda")
    assert "torch 2.13.0+cpu is a build for CPUs" in str(refusal.value)
    assert "the extra `cuda`" in str(refusal.value)
    assert "://" not in str(refusal.value)
    machine.patch(torch.version, "cuda", "13.0")
    with pytest.raises(JobError, match="finds no device; see what `nvidia-smi` says"):
        find_device("cuda:0")
    machine.has_mps()
    with pytest.raises(JobError, match="no CUDA on a Mac"):
        find_device("cuda")


@pytest.mark.parametrize(("count", "there"), [(1, "cuda:0"), (2, "cuda:0 to cuda:1")])
def test_a_cuda_device_too_many_is_answered_with_those_there_are(count: int, there: str, machine: Machine) -> None:
    machine.has_cuda(count)
    with pytest.raises(JobError, match=f"there is no cuda:{count}: this machine has {there}$"):
        find_device(f"cuda:{count}")


def test_mps_on_another_machine_is_refused(machine: Machine) -> None:
    assert not torch.backends.mps.is_available(), machine
    with pytest.raises(JobError, match="no MPS device"):
        find_device("mps")


# ONNX Runtime


def test_an_onnx_network_stays_on_the_cpu_where_its_runtime_has_no_cuda(machine: Machine) -> None:
    machine.has_cuda()
    placement, why = place("auto", "auto", False, MODNET)
    assert placement == Placement(CPU, torch.float32, compile=False)
    assert why == "this ONNX Runtime has no CUDA (the extra `onnx-gpu` brings it)"


def test_an_onnx_network_goes_to_cuda_where_its_runtime_can(machine: Machine) -> None:
    machine.has_cuda(2, onnx=True)
    placement, _ = place("cuda:1", "auto", False, MODNET)
    assert placement == Placement(torch.device("cuda", 1), torch.float32, compile=False)


def test_a_runtime_built_for_cuda_is_no_gpu(machine: Machine) -> None:
    machine.patch(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert place("auto", "auto", False, MODNET)[0].device == CPU


def test_an_onnx_network_is_not_moved_from_a_device_that_was_named(machine: Machine) -> None:
    machine.has_cuda()
    with pytest.raises(JobError, match=r"modnet cannot run on cuda: this ONNX Runtime has no CUDA.*onnx-gpu"):
        place("cuda", "auto", False, MODNET)
    machine.has_mps()
    with pytest.raises(JobError, match="modnet cannot run on mps: ONNX Runtime runs on the CPU"):
        place("mps", "auto", False, MODNET)


# Precision


def test_auto_is_half_precision_on_cuda_and_single_elsewhere(machine: Machine) -> None:
    assert place("auto", "auto", False, BIREFNET)[0] == Placement(CPU, torch.float32, compile=False)
    machine.has_mps()
    assert place("mps", "auto", False, BIREFNET)[0].precision == torch.float32
    machine.has_cuda()
    assert place("auto", "auto", False, BIREFNET)[0].precision == CUDA_PRECISION
    assert CUDA_PRECISION.itemsize == 2


def test_a_precision_that_is_named_is_taken(machine: Machine) -> None:
    machine.has_cuda()
    words = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    assert {word: place("cuda", word, True, BIREFNET)[0].precision for word in words} == words  # type: ignore[arg-type]
    assert place("cuda", "fp16", True, BIREFNET)[0].compile


@pytest.mark.parametrize("word", ["fp16", "bf16"])
def test_half_precision_on_a_cpu_is_refused_with_the_reason(word: str, machine: Machine) -> None:
    with pytest.raises(JobError, match=f"{word} is slower than fp32 on a CPU"):
        place("auto", word, False, BIREFNET)  # type: ignore[arg-type]
    machine.has_cuda()
    with pytest.raises(JobError, match=f"{word} is slower than fp32 on a CPU"):
        place("cpu", word, False, BIREFNET)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [MODNET, LUMA_KEY], ids=lambda spec: spec.name)
def test_what_only_pytorch_networks_can_is_refused_for_others(spec: object, machine: Machine) -> None:
    machine.has_cuda(onnx=True)
    with pytest.raises(JobError, match="computes in fp32 only, not in fp16"):
        place("auto", "fp16", False, spec)  # type: ignore[arg-type]
    with pytest.raises(JobError, match="nothing to compile"):
        place("auto", "auto", True, spec)  # type: ignore[arg-type]
    assert place("auto", "fp32", False, spec)[0].precision == torch.float32  # type: ignore[arg-type]


# Words and numbers


def test_a_placement_reads_as_a_place(machine: Machine) -> None:
    machine.has_cuda(2)
    assert str(Placement(CPU, torch.float32, compile=False)) == "the CPU, fp32"
    assert str(Placement(torch.device("cuda", 1), torch.bfloat16, compile=True)) == (
        "cuda:1 (GPU number 1), bf16, compiled"
    )


class Costly:
    """A network that takes a known share of a GPU's memory for each frame."""

    spec = MODELS["birefnet-lite"]

    def __init__(self, device: torch.device) -> None:
        self.device = device


def test_a_number_of_frames_is_taken_and_auto_is_one_on_a_cpu() -> None:
    assert frames_at_once(Runtime(), Costly(CPU), (720, 1280)) == 1
    assert frames_at_once(Runtime(batch=6), Costly(CPU), (720, 1280)) == 6
    assert frames_at_once(Runtime(batch=6), Costly(torch.device("cuda", 1)), (720, 1280)) == 6


@pytest.mark.parametrize(("free_gib", "frames"), [(1, 1), (8, 2), (20, 8), (70, 8)])
def test_auto_on_cuda_is_what_the_memory_holds(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, free_gib: int, frames: int
) -> None:
    machine.has_cuda(1)
    seen: list[tuple[int, ...]] = []
    made = torch.zeros
    gib = 1 << 30
    network = Costly(torch.device("cuda", 0))
    monkeypatch.setattr(Costly, "predict", lambda _, rgb: seen.append(tuple(rgb.shape)), raising=False)
    monkeypatch.setattr(torch, "zeros", lambda *shape, **_: made(*shape))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_gib * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: gib)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 2 * gib + gib // 2)  # 1.5 GiB a frame
    assert frames_at_once(Runtime(), network, (720, 1280)) == frames
    assert seen == [(1, 3, 1024, 1024)]


@pytest.mark.gpu
def test_this_machines_own_cuda_is_found() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    placement, _ = place("auto", "auto", False, BIREFNET)
    assert torch.ones(1, device=placement.device, dtype=placement.precision).item() == 1
    assert torch.cuda.get_device_name(0) in str(placement)
