"""What the bench says of networks whose cost and error are known."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.benchmark import measure
from vmatte.benchmark.measure import (
    Cost,
    Failure,
    Meter,
    NetworkCase,
    PlainLoopCase,
    Subject,
    difference,
    measure_apart,
    pictures,
)
from vmatte.benchmark.memory import peak_mib, resident_mib
from vmatte.benchmark.plain_loop import PlainBiRefNetLoop
from vmatte.benchmark.work import counted_gflop, gflop_of
from vmatte.models.birefnet.load import load
from vmatte.models.catalogue import MODELS
from vmatte.models.contract import Prediction, State
from vmatte.models.placement import Placement

CPU = torch.device("cpu")
LITE, LUMA_KEY = MODELS["birefnet-lite"], MODELS["luma-key"]
REPOSITORY = Path(__file__).parent.parent.parent


class Sleeper:
    """A network that takes 20 ms for a batch, and whose alpha is 2 steps too high in bfloat16."""

    spec, device = LUMA_KEY, CPU

    def __init__(self, placement: Placement) -> None:
        self.error = 2 / 255 if placement.precision == torch.bfloat16 else 0.0

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        if len(rgb) == 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")
        if len(rgb) == 16:
            torch.empty(1 << 60)
        if len(rgb) == 32:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        time.sleep(0.02)
        return Prediction(rgb[:, :1] * 0 + 0.5 + self.error, state=state)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    monkeypatch.setattr(measure, "build", lambda _, placement: Sleeper(placement))
    return Meter(Subject(LUMA_KEY, CPU, seconds=0.05, product_side=64))


def test_time_is_that_of_a_frame_not_of_a_batch(meter: Meter) -> None:
    cost = meter.measure(NetworkCase((32, 64), 4, "fp32"))
    assert isinstance(cost, Cost)
    assert 5 <= cost.ms < 15
    assert cost.fps == pytest.approx(1000 / cost.ms)
    assert cost.cpu_ms is not None
    assert cost.cpu_ms < 5  # sleeping costs none
    assert cost.gflop is None
    assert cost.difference is None


def test_half_precision_is_compared_with_fp32_of_the_same_network(meter: Meter) -> None:
    cost = meter.measure(NetworkCase((32, 32), 1, "bf16"))
    assert isinstance(cost, Cost)
    assert cost.difference is not None
    assert cost.difference.most == pytest.approx(2, abs=1e-4)
    assert cost.difference.quantile_999 == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("batch", [8, 16])
def test_a_case_without_enough_memory_is_a_line_and_the_next_one_runs(batch: int, meter: Meter) -> None:
    assert meter.measure(NetworkCase((32, 32), batch, "fp32")) == Failure("out of memory")
    assert isinstance(meter.measure(NetworkCase((32, 32), 1, "fp32")), Cost)


def test_any_other_error_of_a_network_is_told_in_its_line_and_the_next_one_runs(meter: Meter) -> None:
    told = Failure("RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert meter.measure(NetworkCase((32, 32), 32, "fp32")) == told
    assert isinstance(meter.measure(NetworkCase((32, 32), 1, "fp32")), Cost)


def test_the_difference_is_told_in_steps_of_8_bits() -> None:
    truth = torch.linspace(0, 1, 10_000).view(1, 100, 100)
    alpha = truth.clone()
    alpha[0, 0, :5] += 10 / 255  # 0.05 % of the pixels
    alpha[0, 1:21] -= 1 / 255  # 20 %
    found = difference(alpha, truth)
    assert found.most == pytest.approx(10, abs=1e-3)
    assert found.quantile_999 == pytest.approx(1, abs=1e-3)


def test_shares_of_the_matrix_product_follow_from_time_and_work() -> None:
    product = measure.Rate(tflops=0.1, cpu_tflops=0.05)
    cost = Cost(ms=20_000, cpu_ms=25_000, first_s=1, peak_mib=None, network_mib=None, gflop=1000, product=product)
    assert cost.tflops == pytest.approx(0.05)
    assert cost.of_product == pytest.approx(0.5)
    assert cost.of_product_cpu == pytest.approx(0.8)


def test_published_work_is_what_is_counted_and_what_rewrites_save() -> None:
    published = gflop_of(LITE, (1024, 1024))
    assert published == 642.0  # counted in the network as it was published
    counted = counted_gflop("birefnet-lite", (1024, 1024))
    assert 0.85 * published < counted < published
    assert gflop_of(MODELS["modnet"], (512, 512)) is None


def test_a_network_is_measured_with_its_work_its_memory_and_the_matrix_product() -> None:
    cost = Meter(Subject(LITE, CPU, seconds=0, product_side=64)).measure(NetworkCase((32, 32), 2, "fp32"))
    assert isinstance(cost, Cost)
    assert cost.gflop == counted_gflop("birefnet-lite", (32, 32))
    assert cost.product is not None
    assert cost.of_product == pytest.approx(cost.gflop / cost.ms / cost.product.tflops)
    assert cost.peak_mib is not None
    assert cost.network_mib is not None
    assert cost.peak_mib > 100
    assert cost.network_mib < 600  # 44 million parameters in float32 are 169 MiB


def test_the_plain_loop_computes_what_the_network_does() -> None:
    torch.manual_seed(0)  # as `load` does for its random weights
    loop = PlainBiRefNetLoop(LITE, (64, 64), CPU)
    frame = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rgb = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (LITE.mean, LITE.std))
    alpha = load(LITE, None, Placement(CPU, torch.float32, False)).predict((rgb - mean) / std).alpha
    assert np.abs(np.asarray(loop(frame)) - 255 * alpha[0, 0].numpy()).max() < 1.01


def test_the_plain_loop_is_measured_from_and_to_1080p(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Watched(PlainBiRefNetLoop):
        def __call__(self, frame: np.ndarray) -> object:
            mask = super().__call__(frame)
            seen.append((frame.shape, mask.size))
            return mask

    monkeypatch.setattr(measure, "PlainBiRefNetLoop", Watched)
    cost = Meter(Subject(LITE, CPU, seconds=0, product_side=64)).measure(PlainLoopCase((32, 32)))
    assert isinstance(cost, Cost)
    assert set(seen) == {((1080, 1920, 3), (1920, 1080))}


def test_test_pictures_are_normalised_as_the_network_wants_them() -> None:
    frames = pictures(LITE, (64, 96), 3)
    assert frames.shape == (3, 3, 64, 96)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (LITE.mean, LITE.std))
    rgb = frames * std + mean
    assert rgb.min() >= 0
    assert rgb.max() <= 1 + 1e-6
    assert rgb[0, 0, 32, 48] == pytest.approx(0.8, abs=0.1)  # the disc, not what is behind it


def test_memory_in_use_and_its_peak_follow_what_is_allocated() -> None:
    before = resident_mib(CPU)
    if before is None:
        pytest.skip("this system does not tell what is resident")
    block = np.ones(400 << 20, np.uint8)
    during = resident_mib(CPU)
    del block
    after, peak = resident_mib(CPU), peak_mib(CPU)
    assert during is not None
    assert after is not None
    assert peak is not None
    assert 390 < during - before < 450
    assert after < during - 390
    assert peak > during - 10


def test_a_case_apart_has_a_peak_of_its_own_and_its_errors_arrive() -> None:
    block = np.ones(1500 << 20, np.uint8)
    cost = measure_apart(Subject(LUMA_KEY, CPU, seconds=0), NetworkCase((32, 32), 1, "fp32"))
    assert isinstance(cost, Cost)
    assert cost.peak_mib is not None
    assert cost.peak_mib < len(block) >> 20
    failure = measure_apart(Subject(LITE, CPU, weights=Path(__file__), seconds=0), NetworkCase((32, 32), 1, "fp32"))
    assert isinstance(failure, Failure)
    assert failure.reason.startswith(f"{__file__} cannot be read as a safetensors file")


@pytest.mark.parametrize(
    ("last_words", "told"),
    [
        ("os._exit(7)", "its process ended with exit code 7"),
        ("os.kill(os.getpid(), 11)", "its process ended with exit code -11, by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "killed, most likely for want of memory"),
    ],
)
def test_a_case_whose_process_dies_is_told_with_how_it_ended(
    last_words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\nif '-m' in sys.orig_argv: {last_words}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    outcome = measure_apart(Subject(LUMA_KEY, CPU, seconds=0), NetworkCase((32, 32), 1, "fp32"))
    assert outcome == Failure(told)


def test_a_case_apart_may_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('a library greets')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    outcome = measure_apart(Subject(LUMA_KEY, CPU, seconds=0), NetworkCase((32, 32), 1, "fp32"))
    assert isinstance(outcome, Cost)


def test_a_network_is_measured_beside_nothing_but_torch_and_numpy() -> None:
    absent = (
        "PIL av cv2 huggingface_hub onnxruntime platformdirs pydantic rich safetensors torchvision transformers typer"
    )
    script = f"""
import sys
sys.modules.update(dict.fromkeys({absent.split()!r}))
sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "scripts")!r}]
import bench_gpu
from vmatte.benchmark.measure import Meter, NetworkCase
cost = Meter(bench_gpu.on_cpu().subject("birefnet-lite", 32)).measure(NetworkCase((32, 32), 1, "fp32"))
print(cost.ms > 0)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "True\n", ended.stderr


@pytest.mark.gpu
def test_on_cuda_memory_is_what_the_network_uses_and_tf32_is_off_for_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device, allowed = torch.device("cuda", 0), []
    timed: Callable[..., tuple[float, float]] = measure.timed

    def watched(*arguments: object) -> tuple[float, float]:
        allowed.append(torch.backends.cuda.matmul.allow_tf32)
        return timed(*arguments)

    monkeypatch.setattr(measure, "timed", watched)
    cost = Meter(Subject(LITE, device, seconds=0.1, product_side=512)).measure(NetworkCase((256, 256), 2, "fp32"))
    assert isinstance(cost, Cost)
    assert cost.network_mib is not None
    assert cost.peak_mib is not None
    assert 160 < cost.network_mib < 200  # 44 million parameters in float32 are 169 MiB
    assert cost.network_mib < cost.peak_mib
    assert not any(allowed)
