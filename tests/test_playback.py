"""A video beside the clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
import torch

import vmatte.playback
from vmatte.clip import ClipInfo
from vmatte.frames import DecodedFrames
from vmatte.playback import Playback
from vmatte.video.probe import probe
from vmatte.video.read import decode


def test_a_leap_passes_over_what_lies_before_a_key_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [clips.gray(np.full((16, 16), 16 + number, np.uint8)) for number in range(200)]
    options = {"qp": "0", "preset": "ultrafast", "g": "25", "sc_threshold": "0"}
    video = probe(clips.write_clip(tmp_path / "video.mp4", frames, options=options))
    begun = []

    def noted(clip: ClipInfo, numbers: range, batch: int) -> Iterator[DecodedFrames]:
        begun.append(numbers.start)
        return decode(clip, numbers, batch)

    monkeypatch.setattr(vmatte.playback, "decode", noted)
    playback = Playback(video, video.coding, torch.device("cpu"))
    for number in (0, 3, 40, 130, 131, 199):
        shown = playback.frame(number)
        assert (shown.index.start, int(shown.luma[0, 0, 8, 8])) == (number, 16 + number)
    playback.close()
    assert begun == [0, 130, 199]
