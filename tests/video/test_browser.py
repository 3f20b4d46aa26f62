"""Outputs in a real browser: Chromium plays them, and reads the alpha that the formula gives."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import chromium, serving
from footage import BT709_TAGS, Array, gray, write_clip
from PIL import Image

from vmatte.job import JobWords
from vmatte.render import run

pytestmark = pytest.mark.browser

WIDTH, HEIGHT, FRAMES, RATE = 160, 96, 20, 10
ALPHAS = np.array([0, 0.1, 0.25, 0.5, 0.75, 1])
AS_CODED: JobWords = {"model": "luma-key", "foreground": "source", "blend": "display"}
"""So that a pixel follows from its own codes."""

PAGE = """<!doctype html><style>html, body {{ margin: 0; background: rgb(0, 160, 255) }}</style>
<video id="film" src="{name}" muted preload="auto"></video>"""

FRAME_AT = """
const [seconds, answer] = arguments;
const film = document.getElementById("film");
const canvas = document.createElement("canvas");
const grab = () => {
  canvas.width = film.videoWidth;
  canvas.height = film.videoHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(film, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let text = "";
  for (const value of pixels) text += String.fromCharCode(value);
  answer([film.videoWidth, film.videoHeight, film.duration, btoa(text)]);
};
film.onerror = () => answer("error " + film.error.code + ": " + film.error.message);
film.requestVideoFrameCallback(grab);
film.currentTime = seconds;
"""

PLAY = """
const [answer] = arguments;
const film = document.getElementById("film");
film.onerror = () => answer("error " + film.error.code + ": " + film.error.message);
film.onended = () => answer([film.currentTime, film.getVideoPlaybackQuality().totalVideoFrames]);
film.play().catch(reason => answer(String(reason)));
"""


def steps(number: int) -> Array:
    """Luma of frame `number`: six patches of known alpha that change places with every frame."""
    codes = np.roll((16 + 219 * ALPHAS).round(), number).astype("u1")
    luma = np.full((HEIGHT, WIDTH), 16, "u1")
    luma[:, : 6 * 24] = codes.repeat(24)
    return luma


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    lumas = [steps(number) for number in range(FRAMES)]
    clip = write_clip(folder / "clip.mp4", gray(lumas), "yuv420p", rate=Fraction(RATE), tags=BT709_TAGS)
    run(clip, output=folder / "cutout.webm", **AS_CODED)
    run(clip, background="#204060", output=folder / "composite.mp4", **AS_CODED)
    run(clip, background="#204060", output=folder / "composite.webm", **AS_CODED)
    for name in ("cutout.webm", "composite.mp4", "composite.webm"):
        (folder / f"{name}.html").write_text(PAGE.format(name=name))
    return folder


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile"), "disable-gpu") as started:
        yield started


def frame_at(browser: Any, seconds: float) -> tuple[float, Array]:
    """(length in seconds, RGBA of the frame that is shown at `seconds`)."""
    answer = browser.execute_async_script(FRAME_AT, seconds)
    assert not isinstance(answer, str), answer
    width, height, duration, text = answer
    assert (width, height) == (WIDTH, HEIGHT)
    return duration, np.frombuffer(base64.b64decode(text), "u1").reshape(height, width, 4)


def inside(picture: Array) -> list[Array]:
    """The inner parts of the six patches."""
    return [picture[16:80, 24 * place + 8 : 24 * place + 16] for place in range(6)]


def alphas_of(number: int) -> Array:
    return (np.roll((16 + 219 * ALPHAS).round(), number) - 16) / 219


@pytest.mark.parametrize("number", [0, 7, 3, 19, 11])
def test_chromium_reads_the_alpha_of_any_frame_that_it_seeks(number: int, browser: Any, site: str) -> None:
    browser.get(f"{site}/cutout.webm.html")
    duration, picture = frame_at(browser, (number + 0.5) / RATE)
    assert duration == pytest.approx(FRAMES / RATE, abs=0.02)
    for seen, alpha in zip(inside(picture), alphas_of(number), strict=True):
        assert (seen[..., 3] == np.rint(alpha * 255)).all()
        if alpha > 0.2:  # the subject's own colour is as bright as its alpha
            assert np.abs(seen[..., :3] - alpha * 255).max() <= 4


def test_chromium_shows_what_lies_behind_a_cutout(browser: Any, site: str) -> None:
    browser.get(f"{site}/cutout.webm.html")
    frame_at(browser, 0.05)
    with Image.open(BytesIO(browser.get_screenshot_as_png())) as shot:
        picture = np.asarray(shot.convert("RGB")).astype(float)
    page = np.array([0, 160, 255])
    for seen, alpha in zip(inside(picture), alphas_of(0), strict=True):
        assert np.abs(seen - (alpha * alpha * 255 + (1 - alpha) * page)).max() <= 3


@pytest.mark.parametrize("name", ["composite.mp4", "composite.webm"])
def test_chromium_shows_a_composite_in_its_colours(name: str, browser: Any, site: str) -> None:
    browser.get(f"{site}/{name}.html")
    duration, picture = frame_at(browser, 0.75)
    assert duration == pytest.approx(FRAMES / RATE, abs=0.02)
    plate = np.array([0x20, 0x40, 0x60])
    for seen, alpha in zip(inside(picture), alphas_of(7), strict=True):
        assert seen[..., 3].min() == 255
        assert np.abs(seen[..., :3] - (alpha * alpha * 255 + (1 - alpha) * plate)).max() <= 3


@pytest.mark.parametrize("name", ["cutout.webm", "composite.mp4"])
def test_chromium_plays_an_output_to_its_end(name: str, browser: Any, site: str) -> None:
    browser.get(f"{site}/{name}.html")
    answer = browser.execute_async_script(PLAY)
    assert not isinstance(answer, str), answer
    reached, frames = answer
    assert reached == pytest.approx(FRAMES / RATE, abs=0.05)
    assert frames == FRAMES
