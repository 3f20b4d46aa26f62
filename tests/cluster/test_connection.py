"""The way to a cluster, and what each worker gets of it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmatte.cluster.connection import Share, connected, nodes_of, share
from vmatte.errors import JobError

ROOT = Path(__file__).parent.parent.parent
GPU_NODE = {"CPU": 48.0, "GPU": 8.0}
CPU_NODE = {"CPU": 10.0, "memory": 1e9}
HEAD = {"CPU": 2.0}


@pytest.fixture
def has_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        if os.environ.get("CI"):
            pytest.fail("ray is missing, and CI must have it")
        pytest.skip("ray is missing")


@pytest.mark.parametrize(
    ("nodes", "wanted", "gpus", "each", "workers"),
    [
        ([GPU_NODE, GPU_NODE, HEAD], None, True, Share(1, 6), 16),
        ([GPU_NODE], None, False, Share(0, 4), 12),
        ([CPU_NODE, CPU_NODE], None, True, Share(0, 4), 4),
        ([CPU_NODE, HEAD], None, True, Share(0, 2), 6),
        ([CPU_NODE], 5, True, Share(0, 2), 5),
        ([CPU_NODE], 30, True, Share(0, 1), 10),
        ([HEAD], None, True, Share(0, 2), 1),
        ([HEAD], 2, True, Share(0, 1), 2),
        # Two workers of eleven cores each would fit on neither node.
        ([{"CPU": 12.0}, CPU_NODE], 2, True, Share(0, 10), 2),
    ],
)
def test_each_worker_gets_a_gpu_or_its_share_of_the_cores(
    nodes: list[Mapping[str, float]], wanted: int | None, gpus: bool, each: Share, workers: int
) -> None:
    found = share(nodes, wanted, gpus=gpus)
    assert (found, found.fitting(nodes)) == (each, workers)


def test_a_cluster_without_cores_is_an_error() -> None:
    with pytest.raises(JobError, match="neither GPUs nor cores"):
        share([{"memory": 1e9}], None, gpus=True)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(JobError, match=r'pip install "vmatte\[ray\]"'), connected("auto"):
        pass


@pytest.mark.usefixtures("has_ray")
def test_a_ray_of_ones_own_leaves_signals_alone_and_ends_with_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with connected("auto") as ray:
        assert ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) is before
        assert share(nodes_of(ray), 1, gpus=False).fitting(nodes_of(ray)) == 1
        with connected("somewhere:1") as again:  # who is connected stays so
            assert again.is_initialized()
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("has_ray")
def test_an_address_where_nobody_answers_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens on it, and nobody else can
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(JobError, match=f"no Ray cluster can be used at {address}: .*refused"), connected(address):
            pass


@pytest.mark.parametrize("address", ["cluster", "cluster:", ":6379", "ray://head:x"])
@pytest.mark.usefixtures("has_ray")
def test_what_is_no_address_is_an_error(address: str) -> None:
    with pytest.raises(JobError, match="is no address of a Ray cluster; give auto, or HOST:PORT"), connected(address):
        pass


@pytest.mark.usefixtures("has_ray")
def test_the_example_cluster_is_one_that_ray_up_takes() -> None:
    # Ray's own reading of it, in a process of its own for what it imports on the way.
    program = (
        "import json, sys, yaml\n"
        "from ray.autoscaler._private.util import prepare_config, validate_config\n"
        "config = prepare_config(yaml.safe_load(open(sys.argv[1])))\n"
        "validate_config(config)\n"
        "print(json.dumps(sorted(config['available_node_types'])))\n"
    )
    command = [sys.executable, "-c", program, str(ROOT / "configs" / "cluster.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"})
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == ["local.cluster.node"]


def test_the_example_for_slurm_is_a_script_that_bash_takes() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "configs" / "slurm.sh")], check=True)
