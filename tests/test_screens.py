"""Renders of clips that were shot before a screen."""

from __future__ import annotations

from pathlib import Path

import clips
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import vmatte
from vmatte.analysis import Analysis
from vmatte.errors import JobError, ModelError
from vmatte.job import Runtime, make_job
from vmatte.options import Screen
from vmatte.planning import plan_job
from vmatte.preview import preview
from vmatte.screens import find_screens
from vmatte.shots import find_shots
from vmatte.video.probe import probe

HEIGHT, WIDTH = 96, 128
GREEN, BLUE, BLACK, SKIN = (0, 177, 64), (20, 60, 190), (0, 0, 0), (200, 150, 125)
Pixels = NDArray[np.uint8]


def frame(screen: tuple[int, int, int], *, left: int = 48, bar: int = 0) -> clips.Frame:
    """A square of skin on a screen, above a black bar."""
    y, cb, cr = (plane.copy() for plane in clips.flat(clips.codes_of(screen), WIDTH, HEIGHT))
    for plane, code in zip((y, cb, cr), clips.codes_of(SKIN), strict=True):
        plane[32:, left : left + 32] = code
    if bar:
        for plane, code in zip((y, cb, cr), clips.codes_of(BLACK), strict=True):
            plane[-bar:] = code
    return y, cb, cr


def alphas(clip: Path, folder: Path, **words: object) -> list[Pixels]:
    words = {"model": "chroma-key"} | words
    out = vmatte.run(clip, output=folder / "out", encoding="png", overwrite=True, **words).output  # type: ignore[arg-type]
    return [np.asarray(Image.open(path))[..., 3] for path in sorted(out.iterdir())]


@pytest.mark.parametrize("screen", [GREEN, BLUE])
def test_a_render_keys_the_screen_it_finds(tmp_path: Path, screen: tuple[int, int, int]) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", [frame(screen, left=40 + 4 * n) for n in range(4)])
    for number, alpha in enumerate(alphas(clip, tmp_path)):
        left = 40 + 4 * number
        assert (alpha[36:, left + 4 : left + 28] == 255).all()
        assert (alpha[:28] == 0).all()
        assert (alpha[:, : left - 4] == 0).all()
        assert (alpha[:, left + 36 :] == 0).all()


def test_batch_and_segments_do_not_change_a_pixel(tmp_path: Path) -> None:
    frames = [frame(GREEN, left=40 + 2 * n) for n in range(5)] + [frame((0, 120, 40), left=20)] * 3
    clip = clips.write_clip(tmp_path / "clip.mp4", frames)
    whole = alphas(clip, tmp_path)
    for words in ({"batch": 3}, {"segment_frames": 2}):
        for one, other in zip(whole, alphas(clip, tmp_path, **words), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_black_bar_beside_the_screen_is_nothing(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", [frame(GREEN, bar=12)] * 2)
    for alpha in alphas(clip, tmp_path):
        assert (alpha[-12:] == 0).all()
        assert (alpha[40:-16, 56:72] == 255).all()


def test_every_shot_has_its_own_screen(tmp_path: Path) -> None:
    pale = (90, 160, 110)
    clip = probe(clips.write_clip(tmp_path / "clip.mp4", [frame(GREEN)] * 4 + [frame(pale, left=8)] * 4))
    found = find_screens(clip, Screen(), (0, 4))
    assert (found.hue, [shot.start for shot in found.shots]) == ("green", [0, 4])
    for shot, paint in zip(found.shots, (GREEN, pale), strict=True):
        assert [value * 255 for value in shot.screen.rgb] == pytest.approx(paint, abs=3)


def test_shots_begin_where_the_picture_changes(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(seed).integers(30, 220, (6, 8)).repeat(16, 0).repeat(16, 1) for seed in range(3)]
    frames = [clips.gray(pictures[place]) for place in (0, 0, 0, 1, 1, 1, 2, 1, 1)]  # the lone one is a flash
    clip = probe(clips.write_clip(tmp_path / "clip.mp4", frames))
    assert find_shots(clip) == (0, 3)


def test_a_clip_without_a_screen_is_an_error_that_names_it(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "room.mp4", [frame((120, 118, 115))] * 2)
    with pytest.raises(JobError, match=r"room\.mp4: no green or blue screen is seen"):
        alphas(clip, tmp_path)
    green = clips.write_clip(tmp_path / "green.mp4", [frame(GREEN)] * 2)
    with pytest.raises(JobError, match=r"green\.mp4: no blue screen is seen"):
        alphas(green, tmp_path, screen="blue")
    with pytest.raises(JobError, match=r"green\.mp4: no #0000ff screen is seen"):
        alphas(green, tmp_path, screen="#0000ff")


def test_a_clean_plate_has_the_clips_shape_and_a_screen(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", [frame(GREEN)] * 2)
    Image.new("RGB", (WIDTH, WIDTH), GREEN).save(tmp_path / "square.png")
    with pytest.raises(JobError, match=r"square\.png has another shape than the clip \(128×128, clip\.mp4 128×96\)"):
        alphas(clip, tmp_path, clean_plate=tmp_path / "square.png")
    Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120)).save(tmp_path / "gray.png")
    with pytest.raises(JobError, match=r"gray\.png shows no green or blue screen"):
        alphas(clip, tmp_path, clean_plate=tmp_path / "gray.png")
    # Cut off within its header, where Pillow raises what is no OSError.
    Image.new("RGB", (WIDTH, HEIGHT), GREEN).save(tmp_path / "whole.png")
    (tmp_path / "odd.png").write_bytes((tmp_path / "whole.png").read_bytes()[:20])
    with pytest.raises(JobError, match=r"clean plate cannot be used: .*odd\.png cannot be read as a picture"):
        plan_job(make_job(clip, model="chroma-key", clean_plate=tmp_path / "odd.png"), Runtime())


def test_the_key_is_no_model_without_a_clip() -> None:
    with pytest.raises(ModelError, match="chroma-key keys the screen of one clip"):
        vmatte.load_model("chroma-key")


def test_a_screen_is_green_or_blue() -> None:
    assert make_job("clip.mp4", screen="green").screen == Screen(color="green")
    assert make_job("clip.mp4", screen="#0a9f32").screen == Screen(color=(10, 159, 50))
    with pytest.raises(JobError, match="a screen is green or blue"):
        make_job("clip.mp4", screen="#ff0000")


def test_beside_another_matte_the_key_makes_the_edge(tmp_path: Path) -> None:
    # The screen's luma is far above nothing, so luma-key alone would keep it.
    clip = clips.write_clip(tmp_path / "clip.mp4", [frame((0, 150, 50))] * 2)
    alone = alphas(clip, tmp_path, model="luma-key")[0]
    keyed = alphas(clip, tmp_path, model="luma-key", screen="auto")[0]
    assert alone[4, 4] > 100
    assert keyed[4, 4] == 0
    assert (keyed[40:, 56:72] == 255).all()


@pytest.mark.parametrize("words", [{}, {"model": "luma-key", "screen": "auto"}, {"subject": "largest"}])
def test_a_render_that_goes_on_reads_the_screens_that_were_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, object]
) -> None:
    other = frame((0, 120, 40), left=20)
    clip = clips.write_clip(tmp_path / "clip.mp4", [frame(GREEN, left=40 + 2 * n) for n in range(4)] + [other] * 3)
    words = {"segment_frames": 2, "cache": False} | words
    (tmp_path / "whole").mkdir()
    whole = alphas(clip, tmp_path / "whole", **words)

    def cut_off(done: int, *_: object) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alphas(clip, tmp_path, on_frames=cut_off, **words)
    written = (tmp_path / ".out.vmatte" / "analysis.json").read_bytes()
    assert Analysis.from_json(written).screens == find_screens(probe(clip), Screen(), (0, 4))

    def never(*_: object) -> None:
        raise AssertionError("the clip is looked at again")

    for name in ("find_shots", "find_screens"):
        monkeypatch.setattr(f"vmatte.analyse.{name}", never)
    for one, again in zip(whole, alphas(clip, tmp_path, **words), strict=True):
        np.testing.assert_array_equal(one, again)


def test_a_preview_keys_what_the_render_keys(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", [frame(GREEN)] * 2)
    sheet = np.asarray(Image.open(preview(make_job(clip, model="chroma-key"), Runtime(), 1)))
    matte = sheet[32 : 32 + HEIGHT, 16 + WIDTH : 16 + 2 * WIDTH, 0]  # below the title, right of the source
    assert (matte[40:, 56:72] == 255).all()
    assert (matte[:28] == 0).all()
