"""What is written is read as it was, and comes in one form."""

from __future__ import annotations

from hypothesis import given

from raftkit.driver_messages import DriverMessage, FoundingRecord, Frame
from raftkit.membership import Configuration
from raftkit.messages import AppendEntries, Message
from raftkit.model import Run
from raftkit.testing.strategies import (
    append_entries,
    configurations,
    driver_messages,
    founding_records,
    frames,
    messages,
    runs,
)
from raftkit.wire import (
    FrameDecoder,
    Limits,
    decode_founding,
    decode_message,
    decode_run,
    encode_founding,
    encode_frame,
    encode_message,
    encode_run,
)

LIMITS = Limits()


@given(runs())
def test_run_is_read_as_written(run: Run) -> None:
    assert decode_run(encode_run(run)) == run


@given(messages())
def test_message_is_read_as_written(message: Message) -> None:
    assert decode_message(encode_message(message), limits=LIMITS) == message


@given(driver_messages())
def test_driver_message_is_read_as_written(message: DriverMessage) -> None:
    assert decode_message(encode_message(message), limits=LIMITS) == message


@given(founding_records())
def test_founding_record_is_read_as_written(record: FoundingRecord) -> None:
    assert decode_founding(encode_founding(record)) == record


@given(configurations())
def test_configuration_is_read_as_written(configuration: Configuration) -> None:
    assert Configuration.decode(configuration.encode()) == configuration


@given(frames())
def test_frame_is_read_as_written(frame: Frame) -> None:
    decoder = FrameDecoder(scope=frame.scope)
    decoder.receive_data(encode_frame(frame))

    assert decoder.next_frame() == frame


@given(append_entries())
def test_run_is_encoded_once_for_all_that_carry_it(message: AppendEntries) -> None:
    made: dict[int, bytes] = {}

    def cached(run: Run) -> bytes:
        return made.setdefault(id(run), encode_run(run))

    first, second = (encode_message(message, encode_run=cached) for _ in range(2))

    assert first == second == encode_message(message)
    assert all(made[id(run)] in first for run in message.runs)
