"""Peers of other versions of the wire format: spoken to in what both know, or refused with what to do."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import attrs
import pytest

from raftkit.driver_messages import Hello
from raftkit.testing.transport_conformance import Station, a_hello, beat, until
from raftkit.wire import FORMAT, encode_message
from tests.transports.parts import Stranger, station

LATER = FORMAT + 1


def of_version(version: int, frame: bytes, message: bytes) -> bytes:
    """`frame`, its message said in another version, with something more at its end."""
    content = bytearray(frame[8:])
    content[len(content) - len(message)] = version
    content += b"more"
    return struct.pack(">II", len(content), zlib.crc32(content)) + content


def of_format(version: int) -> Callable[[bytes], bytes]:
    def changed(frame: bytes) -> bytes:
        content = bytes([version]) + frame[9:]
        return struct.pack(">II", len(content), zlib.crc32(content)) + content

    return changed


@pytest.mark.accept("Q-15")
async def test_a_peer_of_a_later_version_is_spoken_to_in_ours() -> None:
    """And what it adds in its own is ignored, once its hello has announced it."""
    async with station("a") as (a, _):
        stranger = await Stranger.dial(a.address)
        await stranger.say(attrs.evolve(a_hello(), wire_format=LATER))
        await a.wait(linked="x")
        a.say(5, "x")

        while isinstance(heard := await stranger.hear(), Hello):
            pass
        assert heard == beat(5)
        frame = of_version(LATER, stranger.frame(beat(7)), encode_message(beat(7)))
        await stranger.stream.send_all(frame)
        await until(lambda: a.heard("x") == [7])


@pytest.mark.parametrize(
    "spoil, why",
    [
        (
            lambda frame: of_version(LATER, frame, encode_message(a_hello())),
            f"it speaks raftkit's wire format from version {LATER} on, this node up to {FORMAT}",
        ),
        (of_format(2), "a frame of format 2, this is 1: run a raftkit there that knows it"),
    ],
    ids=["message", "frame"],
)
@pytest.mark.accept("Q-15")
async def test_a_peer_that_knows_no_version_of_ours_is_refused_with_what_to_do(
    spoil: Callable[[bytes], bytes], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with station("a") as (a, endpoint):
        stranger = await Stranger.dialled(endpoint, "x")
        await stranger.stream.send_all(spoil(stranger.frame(a_hello())))
        await stranger.wait_closed()
        await until(lambda: any(why in it for it in unreachable(a)))

        assert any(why in it for it in caplog.messages)
        assert sum(endpoint.statistics().refused.values()) == 1


def unreachable(a: Station) -> list[str]:
    """What was said of x when its link was lost."""
    return [why for why, peer in a.news if peer == "x" and why != "linked"]
