"""The WebGL player of docs/player: what Chromium draws of a stacked file is the cutout that went in."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import chromium, serving
from footage import Array
from PIL import Image

from vmatte.clip import BT709, Coding
from vmatte.encodings import ENCODINGS
from vmatte.frames import LayerBatch
from vmatte.video.write import encode

pytestmark = pytest.mark.browser

PLAYER = Path(__file__).parents[2] / "docs/player/stacked-alpha.js"
WIDTH, HEIGHT, FRAMES, RATE = 160, 90, 10, 10
PAGE_COLOUR = (0, 160, 255)
COLOURS = {"skin": (224, 172, 140), "red": (200, 30, 40), "blue": (30, 60, 190), "gray": (128, 128, 128)}
PAGE = """<!doctype html><style>html, body {{ margin: 0; background: rgb{colour} }}
stacked-alpha {{ width: 160px; height: 90px }}</style><script src="stacked-alpha.js"></script>
<stacked-alpha src="{name}" width="160" height="90" paused {how}></stacked-alpha>"""

# What is drawn is read in the same task: afterwards the browser has taken the picture away.
FRAME_AT = """
const [seconds, answer] = arguments;
const player = document.querySelector("stacked-alpha");
const {video, canvas, gl} = player;
video.onerror = () => answer("error " + video.error.code + ": " + video.error.message);
const read = () => {
  const codes = new Uint8Array(canvas.width * canvas.height * 4);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, codes);
  let text = "";
  for (const code of codes) text += String.fromCharCode(code);
  answer([canvas.width, canvas.height, video.currentTime, btoa(text)]);
};
const whenSettled = () => {
  if (video.seeking || video.readyState < 2) { requestAnimationFrame(whenSettled); return; }
  player.draw();
  read();
};
const look = (_, frame) => {
  if (frame.mediaTime <= seconds && seconds < frame.mediaTime + 0.1) whenSettled();
  else video.requestVideoFrameCallback(look);
};
video.requestVideoFrameCallback(look);
video.currentTime = seconds;
"""
PLAYS = """
const [answer] = arguments;
const player = document.querySelector("stacked-alpha");
const times = new Set();
player.addEventListener("drawn", () => {
  times.add(Math.floor(player.video.currentTime * 10));
  if (times.size >= 6) answer(times.size);
});
player.video.play().catch(reason => answer(String(reason)));
"""


def matte(number: int) -> Array:
    """Alpha codes (H, W): soft from left to right, solid at the bottom, empty at the top."""
    across, down = np.arange(WIDTH), np.arange(HEIGHT)
    place = ((across[None] * 0.4 + down[:, None] - 30 - 2 * number) / 60).clip(0, 1)
    return (255 * place**2 * (3 - 2 * place)).round().astype("u1")


def codes_of(rgb: Array) -> Array:
    """Limited-range BT.709 codes (..., 3) of R'G'B' (..., 3) of 255, not rounded, by ITU-R BT.709."""
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return np.stack([16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748], -1)


def sent_rgb(colour: str, number: int) -> Array:
    """Premultiplied R'G'B' (H, W, 3) of 255 of the straight cutout, as its rounded codes have it."""
    luma, cb, cr = codes_of(np.array(COLOURS[colour], float)).round()
    luma, cb, cr = (luma - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
    rgb = np.array([red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue])
    return rgb * matte(number)[..., None]


def picture(colour: str, number: int, *, premultiplied: bool) -> Array:
    """R'G'B' (H, W, 3) of a frame as it is encoded."""
    flat = np.broadcast_to(np.array(COLOURS[colour], float), (HEIGHT, WIDTH, 3))
    return flat * matte(number)[..., None] / 255 if premultiplied else flat


def layers(colour: str, *, premultiplied: bool) -> Iterator[LayerBatch]:
    for number in range(FRAMES):
        codes = codes_of(picture(colour, number, premultiplied=premultiplied))
        halved = codes[..., 1:].reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 2).mean(axis=(1, 3))
        luma = torch.from_numpy(codes[..., 0].round().astype("u1"))
        chroma = torch.from_numpy(np.moveaxis(halved, -1, 0).round().astype("u1"))
        alpha = torch.from_numpy(matte(number))
        yield LayerBatch(range(number, number + 1), luma[None, None], chroma[None], alpha[None, None])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(PLAYER, folder)
    for colour in COLOURS:
        for premultiplied in (False, True):
            how = "premultiplied" if premultiplied else ""
            name = f"{colour}{how}.mp4"
            sent = layers(colour, premultiplied=premultiplied)
            encode(sent, folder / name, ENCODINGS["stacked"], Coding(BT709, 8), Fraction(RATE))
            page = PAGE.format(name=name, how=how, colour=PAGE_COLOUR)
            (folder / f"{colour}{how}.html").write_text(page)
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    software = ("use-gl=angle", "use-angle=swiftshader", "enable-unsafe-swiftshader", "ignore-gpu-blocklist")
    with chromium(tmp_path_factory.mktemp("profile"), *software) as started:
        yield started


def drawn_at(browser: Any, seconds: float) -> Array:
    """RGBA (H, W, 4), premultiplied, as the page gets it."""
    answer = browser.execute_async_script(FRAME_AT, seconds)
    assert not isinstance(answer, str), answer
    width, height, _, text = answer
    assert (width, height) == (WIDTH, HEIGHT)
    return np.frombuffer(base64.b64decode(text), "u1").reshape(height, width, 4)[::-1]


@pytest.mark.parametrize("how", ["", "premultiplied"])
@pytest.mark.parametrize("colour", COLOURS)
def test_the_player_draws_the_cutout_that_went_in(colour: str, how: str, browser: Any, site: str) -> None:
    browser.get(f"{site}/{colour}{how}.html")
    for number in (0, 7, 3):
        seen = drawn_at(browser, (number + 0.5) / RATE).astype(float)
        alpha = matte(number)
        assert np.abs(seen[..., 3] - alpha).max() <= 3
        expected = sent_rgb(colour, number)
        # Colour in the dark is coarse: multiplied before the codec, it is worse than multiplied after it.
        assert np.abs(seen[..., :3] - expected.round()).max() <= (5 if how else 3)


def test_the_page_shows_through(browser: Any, site: str) -> None:
    browser.get(f"{site}/skin.html")
    drawn_at(browser, 0.05)
    with Image.open(BytesIO(browser.get_screenshot_as_png())) as shot:
        seen = np.asarray(shot.convert("RGB")).astype(float)[:HEIGHT, :WIDTH]
    alpha = matte(0)[..., None] / 255
    expected = alpha * np.array(COLOURS["skin"]) + (1 - alpha) * np.array(PAGE_COLOUR)
    assert np.abs(seen - expected).max() <= 4  # the page rounds once more


def test_the_player_follows_the_film(browser: Any, site: str) -> None:
    browser.get(f"{site}/gray.html")
    assert browser.execute_async_script(PLAYS) >= 6
