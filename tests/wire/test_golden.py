"""Format 1, byte for byte. A line in `golden/` is never edited: another form is another version."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftkit.encoding import MalformedError
from raftkit.errors import RemoteProtocolError
from raftkit.membership import Configuration
from raftkit.messages import AppendEntries, SnapshotChunk
from raftkit.model import Run
from raftkit.wire import (
    FrameDecoder,
    Limits,
    Tag,
    decode_founding,
    decode_message,
    decode_run,
    encode_founding,
    encode_frame,
    encode_message,
    encode_run,
)
from tests.wire.examples import (
    COMMANDS,
    CONFIGURATION,
    FOUNDING,
    FRAME,
    MESSAGES,
    MIXED,
    SCOPE,
)

LIMITS = Limits()
ROOT = Path(__file__).resolve().parents[2]


def _read_golden() -> dict[str, bytes]:
    text = (Path(__file__).parent / "golden" / "format-1.txt").read_text(encoding="utf-8")
    _, *paragraphs = text.split("\n\n")
    parts = (paragraph.partition(":\n") for paragraph in paragraphs)
    return {name: bytes.fromhex(hexadecimal) for name, _, hexadecimal in parts}


GOLDEN = _read_golden()


def test_nothing_is_without_golden_bytes() -> None:
    others = {"configuration", "run of commands", "run of kinds", "founding record", "frame"}

    assert set(GOLDEN) == {*MESSAGES, *others}
    assert {encode_message(m)[1] for m in MESSAGES.values()} == {*Tag}


@pytest.mark.parametrize("name", MESSAGES)
def test_message_has_its_golden_bytes(name: str) -> None:
    assert encode_message(MESSAGES[name]) == GOLDEN[name]
    assert decode_message(GOLDEN[name], limits=LIMITS) == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_message_is_read_from_a_view_as_from_bytes(name: str) -> None:
    found = decode_message(memoryview(GOLDEN[name]), limits=LIMITS)

    assert found == MESSAGES[name]
    match found:  # nothing that is kept may hold on to the view
        case AppendEntries(runs=(run, *_)):
            assert type(run.payloads[0]) is bytes
        case SnapshotChunk(data=data):
            assert type(data) is bytes
        case _:
            pass


def test_configuration_has_its_golden_bytes() -> None:
    assert CONFIGURATION.encode() == GOLDEN["configuration"]
    assert Configuration.decode(GOLDEN["configuration"]) == CONFIGURATION


@pytest.mark.parametrize(
    "run, name", [(COMMANDS, "run of commands"), (MIXED, "run of kinds")], ids=["all", "mixed"]
)
def test_run_has_its_golden_bytes(run: Run, name: str) -> None:
    assert encode_run(run) == GOLDEN[name]
    assert decode_run(GOLDEN[name]) == run


def test_founding_record_has_its_golden_bytes() -> None:
    assert encode_founding(FOUNDING) == GOLDEN["founding record"]
    assert decode_founding(GOLDEN["founding record"]) == FOUNDING


def test_frame_has_its_golden_bytes() -> None:
    decoder = FrameDecoder(scope=SCOPE)
    decoder.receive_data(GOLDEN["frame"])

    assert encode_frame(FRAME) == GOLDEN["frame"]
    assert decoder.next_frame() == FRAME


def test_worked_example_in_the_documentation_is_the_golden_frame() -> None:
    text = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
    lines = text.partition("## Datagrams")[0].splitlines()  # which has an example of its own
    shown = "".join(line.partition("  ")[0] for line in lines if line.startswith("0x"))

    assert bytes.fromhex(shown.replace("0x", "").replace(" ", "")) == GOLDEN["frame"]


@pytest.mark.parametrize("name", MESSAGES)
def test_message_cut_anywhere_is_refused(name: str) -> None:
    for end in range(len(GOLDEN[name])):
        with pytest.raises(RemoteProtocolError):
            decode_message(GOLDEN[name][:end], limits=LIMITS)


@pytest.mark.parametrize("name", MESSAGES)
def test_message_with_a_byte_too_many_is_refused(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"too many|bytes where \d+ belong"):
        decode_message(GOLDEN[name] + b"\0", limits=LIMITS)


@pytest.mark.parametrize("name", ["run of commands", "run of kinds"])
def test_run_cut_anywhere_is_refused(name: str) -> None:
    for end in range(len(GOLDEN[name])):
        with pytest.raises(MalformedError):
            decode_run(GOLDEN[name][:end])
