import pytest

from vmatte.segments import plan_segments


@pytest.mark.parametrize("frames", [0, 1, 2, 47, 48, 49, 1000])
@pytest.mark.parametrize("length", [None, 1, 7, 48])
def test_segments_cover_every_frame_once_and_in_order(frames: int, length: int | None) -> None:
    segments = plan_segments(frames, length)
    assert [frame for segment in segments for frame in segment.frames] == list(range(frames))
    assert [segment.number for segment in segments] == list(range(len(segments)))
    assert all(0 < len(segment.frames) <= (length or frames) for segment in segments)


def test_without_a_length_a_clip_is_one_segment() -> None:
    assert [segment.frames for segment in plan_segments(100, None)] == [range(100)]


def test_a_segment_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        plan_segments(10, 0)
