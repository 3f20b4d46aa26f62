"""`vmatte bench`, from its words to its files."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Ended

from vmatte.benchmark import run
from vmatte.benchmark.measure import Case, Cost, NetworkCase, PlainLoopCase, Subject
from vmatte.errors import VmatteError

Command = Callable[..., Ended]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Subject, Case]]:
    """What would be measured."""
    seen: list[tuple[Subject, Case]] = []

    def note(subject: Subject, case: Case) -> Cost:
        seen.append((subject, case))
        return Cost(ms=10, cpu_ms=10, first_s=1, peak_mib=100, network_mib=50, gflop=None)

    monkeypatch.setattr(run, "measure_apart", note)
    return seen


def test_every_size_and_batch_is_a_case_beside_the_plain_loop(measured: list[tuple[Subject, Case]]) -> None:
    run.bench("rmbg-2.0", device="cpu", sizes="1024,2560x1440", batches="1,2", threads=1, seconds=3)
    assert [case for _, case in measured] == [
        PlainLoopCase((1024, 1024)),
        NetworkCase((1024, 1024), 1, "fp32"),
        NetworkCase((1024, 1024), 2, "fp32"),
        PlainLoopCase((1440, 2560)),
        NetworkCase((1440, 2560), 1, "fp32"),
        NetworkCase((1440, 2560), 2, "fp32"),
    ]
    subject = measured[0][0]
    assert (subject.device, subject.weights, subject.threads, subject.seconds) == (torch.device("cpu"), None, 1, 3)


def test_without_a_size_it_is_the_network_s_own_for_1080p(measured: list[tuple[Subject, Case]]) -> None:
    report = run.bench("luma-key", device="cpu")
    assert [case for _, case in measured] == [NetworkCase((1080, 1920), 1, "fp32")]
    assert (report.weights, report.threads) == ("no weights", None)
    measured.clear()
    report = run.bench("birefnet-lite-2k", device="cpu", threads=2)
    assert [case.size for _, case in measured] == 2 * [(1440, 2560)]
    assert (report.weights, report.threads) == ("random weights", 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"model": "rmbg"}, "did you mean rmbg-2.0"),
        ({"sizes": "100"}, "multiples of 32"),
        ({"sizes": "0"}, "multiples of 32"),
        ({"sizes": "big"}, "size cannot be 'big'"),
        ({"batches": "1,0"}, "batch cannot be '0'"),
        ({"batches": ""}, "batch cannot be ''"),
        ({"precisions": "fp8"}, "precision cannot be 'fp8'"),
        ({"precisions": "fp16"}, "slower than fp32 on a CPU"),
        ({"precisions": "bf16"}, "bf16 is refused where fp16 is, and here fp16 is slower than fp32 on a CPU"),
        ({"model": "modnet", "precisions": "bf16"}, "bf16 is refused where fp16 is, and here modnet computes in fp32"),
        ({"precisions": "tf32"}, "tf32 is a precision of CUDA"),
        ({"device": "tpu"}, "no device is called 'tpu'"),
        ({"weights": "missing.safetensors"}, "does not exist"),
        ({"model": "modnet", "weights": "random"}, "cannot have random weights"),
        ({"model": "luma-key", "threads": 2}, "does not run in PyTorch"),
        ({"model": "luma-key", "compile": True}, "nothing to compile"),
    ],
)
def test_words_that_cannot_be_are_told_before_anything_runs(
    words: dict, told: str, measured: list[tuple[Subject, Case]]
) -> None:
    with pytest.raises(VmatteError, match=told):
        run.bench(**{"model": "rmbg-2.0", "device": "cpu", **words})
    assert not measured


def test_the_command_prints_a_table_and_writes_files(vmatte_command: Command, tmp_path: Path) -> None:
    numbers, table = tmp_path / "numbers.json", tmp_path / "table.md"
    options = ["--size", "64x32", "--batch", "1,3", "--seconds", "0", "--json", numbers, "--markdown", table]
    ended = vmatte_command("bench", "--model", "luma-key", "--device", "cpu", *options)
    assert ended.code == 0, ended.err
    assert table.read_text() in ended.out
    assert "64×32, 3, fp32: " in ended.err
    lines = json.loads(numbers.read_text())["lines"]
    assert [(line["size"], line["batch"]) for line in lines] == [([32, 64], 1), ([32, 64], 3)]
    assert all(line["fps"] == pytest.approx(1000 / line["ms"]) for line in lines)


def test_a_folder_that_is_not_there_is_told_at_once(vmatte_command: Command, tmp_path: Path) -> None:
    ended = vmatte_command("bench", "--model", "luma-key", "--json", tmp_path / "missing" / "numbers.json")
    assert ended.code == 2
    assert ended.err == f"vmatte: the folder {tmp_path / 'missing'} for numbers.json does not exist\n"


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    vmatte_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[tuple[Subject, Case]]
) -> None:
    ended = vmatte_command("bench", "--model", "luma-key", "--device", "cpu", "--markdown", tmp_path)
    assert (ended.code, ended.err) == (2, f"vmatte: {tmp_path} is a folder; give the name of a file\n")
    numbers = tmp_path / "numbers.json"

    def access(path: Path, mode: int) -> bool:  # root, who may run this test, may write anywhere
        return mode != os.W_OK or path not in (tmp_path, numbers)

    monkeypatch.setattr(os, "access", access)
    for _ in range(2):
        ended = vmatte_command("bench", "--model", "luma-key", "--device", "cpu", "--json", numbers)
        assert (ended.code, ended.err) == (2, f"vmatte: {numbers} cannot be written: permission denied\n")
        numbers.write_text("of an earlier bench")
    assert not measured


def test_a_network_of_which_no_case_can_be_measured_is_an_error_after_its_table(
    vmatte_command: Command, tmp_path: Path
) -> None:
    weights, table = tmp_path / "model.safetensors", tmp_path / "table.md"
    weights.write_bytes(b"no tensors at all")
    options = ["--device", "cpu", "--size", "32", "--seconds", "0", "--weights", weights, "--markdown", table]
    ended = vmatte_command("bench", "--model", "birefnet-lite", *options)
    assert ended.code == 2
    told = f"{weights} cannot be read as a safetensors file"
    assert ended.err.splitlines()[-1].startswith(f"vmatte: birefnet-lite: nothing could be measured: {told}")
    assert str(weights)[:40] in table.read_text()
