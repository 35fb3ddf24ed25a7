from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.channels import frames
from deployments.channels.frames import Frame, FrameError, Kind, Reader, pack
from engine.errors import PayloadTooLarge

FRAMES = st.lists(
    st.builds(Frame, st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=6
)


@given(FRAMES, st.lists(st.integers(1, 30), min_size=1))
def test_frames_come_whole_however_the_stream_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(pack(frame.kind, frame.call, frame.payload) for frame in sent)
    reader, at = Reader(100), 0
    came: list[Frame] = []
    while at < len(stream):
        size = cuts[len(came) % len(cuts)]
        came += list(reader.feed(stream[at : at + size]))
        at += size
    assert came == sent


@pytest.mark.parametrize("data", [pack(Kind.CALL, 1, b"x" * 11), b"\0\0\0\0\0\0\0\0\x63", b"GET / HTTP/1.1\r\n"])
def test_what_is_no_frame_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(Reader(10).feed(data))


def test_too_much_is_told_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LONGEST", 3)
    with pytest.raises(PayloadTooLarge):
        pack(Kind.ITEM, 1, b"four")
