"""The bench's table and JSON."""

import dataclasses
import json

import torch

from vmatte.benchmark.measure import Cost, Difference, Failure, NetworkCase, PlainLoopCase, Rate
from vmatte.benchmark.report import Line, Report, device_name


def cost(ms: float, apart: Difference | None = None) -> Cost:
    rate = Rate(tflops=100.0, cpu_tflops=None)
    return Cost(ms, None, 1.5, 900.0, 850.0, gflop=2000.0, product=rate, difference=apart)


SIZE = (1024, 2048)
REPORT = Report(
    "rmbg-2.0",
    "random weights",
    "a GPU",
    "2.11.0",
    None,
    (
        Line(PlainLoopCase(SIZE), cost(100)),
        Line(NetworkCase(SIZE, 1, "fp32"), cost(50)),
        Line(NetworkCase(SIZE, 8, "fp16", compile=True), cost(25, Difference(1.25, 0.5))),
        Line(NetworkCase(SIZE, 64, "fp32"), Failure("out of memory")),
        Line(NetworkCase((512, 512), 1, "fp32"), cost(10)),
    ),
)


def rows(text: str) -> list[list[str]]:
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_table_tells_speed_memory_and_ratios_of_each_case() -> None:
    titles, _, *cases = rows(REPORT.as_markdown())
    found = [dict(zip(titles, case, strict=True)) for case in cases]
    assert found[0]["precision"] == "plain loop"
    assert found[1] == {
        "size": "2048×1024",
        "batch": "1",
        "precision": "fp32",
        "ms/frame": "50.0",
        "frames/s": "20.00",
        "TFLOP/s": "40",
        "of torch.mm": "0.40",
        "peak MiB": "900",
        "network MiB": "850",
        "first run s": "1.5",
        "alpha, most": "",
        "99.9 %": "",
        "× plain loop": "2.00",
    }
    assert found[2]["precision"] == "fp16, compiled"
    assert (found[2]["alpha, most"], found[2]["99.9 %"], found[2]["× plain loop"]) == ("1.250", "0.500", "4.00")
    assert found[3]["ms/frame"] == "out of memory"
    assert found[4]["× plain loop"] == ""  # another size than the plain loop's


def test_json_holds_the_facts_and_what_follows_from_them() -> None:
    found = json.loads(REPORT.as_json())
    assert (found["device"], found["torch_version"], found["weights"]) == ("a GPU", "2.11.0", "random weights")
    plain, fp32, fp16, failed, _ = found["lines"]
    assert plain["kind"] == "plain loop"
    assert fp32["speedup"] == 2
    assert fp32["tflops"] == 40
    assert (fp32["of_product"], fp32["of_product_cpu"]) == (0.4, None)
    assert fp16["difference"] == {"most": 1.25, "quantile_999": 0.5}
    assert fp16["size"] == [1024, 2048]
    assert failed["failure"] == "out of memory"


def test_a_long_reason_is_cut_in_the_table_and_whole_in_json() -> None:
    reason = "RuntimeError: a | b " + 40 * "long "
    report = Report("n", "w", "d", "2", None, (Line(NetworkCase(SIZE, 1, "fp32"), Failure(reason)),))
    cell = rows(report.as_markdown())[2][3]
    assert cell == "RuntimeError: a / b " + 11 * "long " + "long…"
    assert json.loads(report.as_json())["lines"][0]["failure"] == reason


def test_a_bench_has_failed_when_no_network_case_was_measured() -> None:
    failure = Failure("out of memory")
    plain = Line(PlainLoopCase(SIZE), cost(100))
    assert REPORT.failed is None
    assert dataclasses.replace(REPORT, lines=(plain, Line(NetworkCase(SIZE, 1, "fp32"), failure))).failed == failure


def test_a_cpu_has_a_name() -> None:
    assert device_name(torch.device("cpu"))
