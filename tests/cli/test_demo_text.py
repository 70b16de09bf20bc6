"""What a line is, and that a text is read again and again without being held."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from raftkit.cli.demo import text as demo_text
from raftkit.cli.demo.text import Line, Text, default_text, text_of


def _text(content: bytes) -> Text:
    return Text("memory", lambda: io.BytesIO(content))


@pytest.mark.parametrize(
    "content, lines",
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\n\n", [b"a", b""]),
        (b"\n\na", [b"", b"", b"a"]),
        (b"a\r\nb\rc\x0bd\x85\n", [b"a\r", b"b\rc\x0bd\x85"]),
        (b"\xff\xfe\x00\n", [b"\xff\xfe\x00"]),
    ],
)
def test_lines_end_at_newline_bytes_and_an_empty_rest_is_none(
    content: bytes, lines: list[bytes]
) -> None:
    text = _text(content)

    found = list(text.lines())

    assert found == [Line(number, it, len(it)) for number, it in enumerate(lines, 1)]
    assert text.survey().lines == len(lines)


@pytest.mark.parametrize("end", [b"", b"\n", b"\nnext"])
@pytest.mark.parametrize("size", [7, 8, 9, 15, 16, 17, 40])
def test_of_an_endless_line_only_the_beginning_is_kept_but_its_size_is_known(
    monkeypatch: pytest.MonkeyPatch, size: int, end: bytes
) -> None:
    monkeypatch.setattr(demo_text, "KEPT_BYTES_MAX", 8)

    first, *rest = _text(b"x" * size + end).lines()

    assert (first.number, first.size) == (1, size)
    assert first.content == b"x" * min(size, 8)
    assert [it.content for it in rest] == ([b"next"] if end == b"\nnext" else [])


def test_surveys_are_equal_only_for_equal_texts() -> None:
    assert _text(b"a\nb\n").survey() == _text(b"a\nb\n").survey()
    assert _text(b"a\nb\n").survey() != _text(b"a\nc\n").survey()
    assert _text(b"a\nb\n").survey() != _text(b"a\nb").survey()


def test_default_text_is_pythons_own_and_long_enough() -> None:
    text = default_text()

    assert text.survey().lines > 10_000
    assert text.survey() == text.survey()


def test_a_file_can_be_read_twice(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"a\nb")

    text = text_of(tmp_path / "it")

    assert [list(text.lines()), list(text.lines())] == [[Line(1, b"a", 1), Line(2, b"b", 1)]] * 2


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(FileNotFoundError):
        text_of(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        text_of(tmp_path)
    with pytest.raises(OSError, match="read more than once"):
        text_of(tmp_path / "pipe")
