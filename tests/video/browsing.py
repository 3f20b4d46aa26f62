"""A headless Chromium, and a server for the pages that it is to show."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from footage import need


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, with the byte ranges that seeking needs, and says nothing."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), int(last) + 1 if last else len(content)
        part = content[start:stop]
        self.send_response(206)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address at which a folder is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def chromium(profile: Path, *more: str) -> Iterator[Any]:
    """A browser with these flags beside the usual ones."""
    program, driver = need("chromium"), need("chromedriver")
    try:
        from selenium import webdriver
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("selenium is missing")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    flags = ["headless", "no-sandbox", "disable-quic", "no-first-run", "disable-sync"]
    flags += ["disable-background-networking", "disable-component-update", "disable-dev-shm-usage"]
    flags += ["autoplay-policy=no-user-gesture-required", "force-color-profile=srgb", "window-size=400,300"]
    for flag in [*flags, *more, f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.set_script_timeout(30)
    yield started
    started.quit()
