import pytest

from vmatte.segments import Segment, plan_segments


@pytest.mark.parametrize("frames", [0, 1, 2, 47, 48, 49, 1000])
@pytest.mark.parametrize("length", [None, 1, 7, 48])
@pytest.mark.parametrize(("lead", "tail"), [(0, 0), (12, 3)])
def test_segments_cover_every_frame_once_and_in_order(frames: int, length: int | None, lead: int, tail: int) -> None:
    segments = plan_segments(frames, length, lead, tail)
    assert [frame for segment in segments for frame in segment.frames] == list(range(frames))
    assert [segment.number for segment in segments] == list(range(len(segments)))
    assert all(0 < len(segment.frames) <= (length or frames) for segment in segments)


def test_without_a_length_a_clip_is_one_segment() -> None:
    assert plan_segments(100, None, lead=5, tail=2) == [Segment(0, frames=range(100), read=range(100))]


def test_a_segment_reads_its_halo_as_far_as_the_clip_goes() -> None:
    assert plan_segments(20, 8, lead=10, tail=3) == [
        Segment(0, frames=range(8), read=range(11)),
        Segment(1, frames=range(8, 16), read=range(19)),
        Segment(2, frames=range(16, 20), read=range(6, 20)),
    ]


def test_a_segment_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        plan_segments(10, 0, lead=0, tail=0)
