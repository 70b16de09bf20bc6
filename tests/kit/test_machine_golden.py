"""Wire stability: what may change in a machine, what may not, and what the file does then."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import attrs
import pytest

from raftkit import LocalProtocolError, Rejected, StateMachine, command, query
from raftkit.statemachine import since
from raftkit.testing.machine_conformance import DefectFound, check_machine, check_wire_stability
from tests.kit.shops import Shop, Slots


class Grade(Enum):
    GOOD = 1
    BAD = 2


@attrs.frozen
class Refused(Rejected):
    why: str


class V1:
    """The first release."""

    @attrs.define
    class Store(StateMachine):
        total: int = 0
        grades: dict[str, Grade] = attrs.field(factory=dict)

        @command(rejects=(Refused,))
        def put(self, key: str, grade: Grade) -> int:
            return self.total

        @query
        def held(self) -> int:
            return self.total


class V2:
    """A second release as it should be."""

    @attrs.define
    class Store(StateMachine):
        total: int = 0
        grades: dict[str, Grade] = attrs.field(factory=dict)
        note: str = attrs.field(default="", metadata=since(2))

        @command(rejects=(Refused,))
        def put(self, key: str, grade: Grade, note: Annotated[str, since(2)] = "") -> int:
            return self.total

        @command(since=2)
        def drop(self, key: str) -> None:
            """New."""

        @query
        def held(self) -> int:
            return self.total


class Swapped:
    """A second release with two parameters in each other's place."""

    @attrs.define
    class Store(StateMachine):
        total: int = 0
        grades: dict[str, Grade] = attrs.field(factory=dict)

        @command(rejects=(Refused,))
        def put(self, grade: Grade, key: str) -> int:
            return self.total

        @query
        def held(self) -> int:
            return self.total


class Relabelled:
    """A second release in which a member of an enumeration has another name."""

    class Grade(Enum):
        FINE = 1
        BAD = 2

    @attrs.define
    class Store(StateMachine):
        total: int = 0
        grades: dict[str, Relabelled.Grade] = attrs.field(factory=dict)

        @command(rejects=(Refused,))
        def put(self, key: str, grade: Relabelled.Grade) -> int:
            return self.total

        @query
        def held(self) -> int:
            return self.total


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("golden") / "store.golden"
    check_wire_stability(V1.Store, file, rewrite=True)
    return file.read_text(encoding="utf-8")


@pytest.fixture
def golden(written: str, tmp_path: Path) -> Path:
    file = tmp_path / "store.golden"
    file.write_text(written, encoding="utf-8")
    return file


def test_a_machine_is_what_its_file_says(golden: Path) -> None:
    check_wire_stability(V1.Store, golden)

    rows = golden.read_text(encoding="utf-8").splitlines()
    assert rows[1:4] == [
        "version 1",
        "  command put(key: str, grade: Grade) -> int ! Refused(why: str)",
        "    command 8363707574606342414" + "4 Store.put(key='', grade=<Grade.BAD: 2>)",
    ]
    kinds = {it.split()[0] for it in rows if it.startswith("    ")}
    assert kinds == {"command", "result", "rejection", "value"}


@pytest.mark.slow
def test_every_kind_of_value_comes_back(tmp_path: Path) -> None:
    check_wire_stability(Shop, tmp_path / "golden", rewrite=True)
    check_wire_stability(Shop, tmp_path / "golden")


def test_writing_again_writes_the_same(golden: Path) -> None:
    before = golden.read_text(encoding="utf-8")
    check_wire_stability(V1.Store, golden, rewrite=True)

    assert golden.read_text(encoding="utf-8") == before


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DefectFound, match="lacks what is new in Store"):
        check_wire_stability(V1.Store, tmp_path / "none")

    assert not (tmp_path / "none").exists()


def test_what_changed_place_is_refused_and_says_what_to_do(golden: Path) -> None:
    with pytest.raises(DefectFound) as caught:
        check_wire_stability(Swapped.Store, golden)

    rows = str(caught.value).splitlines()
    assert rows[1:3] == [
        "- version 1: command put(key: str, grade: Grade) -> int ! Refused(why: str)",
        "+ version 1: command put(grade: Grade, key: str) -> int ! Refused(why: str)",
    ]
    assert "since(2)" in str(caught.value)


def test_a_member_that_changed_its_name_is_refused(golden: Path) -> None:
    """The schema is the same; only the samples tell."""
    with pytest.raises(
        DefectFound, match="can't be read: grade: expected a name in Grade, got str 'GOO"
    ):
        check_wire_stability(Relabelled.Store, golden)


def test_a_later_version_is_new_and_keeps_what_was_written(golden: Path) -> None:
    before = golden.read_text(encoding="utf-8")
    with pytest.raises(DefectFound) as caught:
        check_wire_stability(V2.Store, golden)
    check_wire_stability(V2.Store, golden, rewrite=True)
    check_wire_stability(V2.Store, golden)

    after = golden.read_text(encoding="utf-8")
    assert after.startswith(before)
    assert str(caught.value).splitlines()[1:] == [
        "+ version 2: command drop(key: str) -> None",
        "+ version 2: command put(key: str, grade: Grade, note: str = 60) -> int ! Refused(why: str)",
        "+ version 2: field note: str",
    ]


def test_what_a_later_version_brought_is_not_taken_back(golden: Path) -> None:
    check_wire_stability(V2.Store, golden, rewrite=True)
    with pytest.raises(DefectFound, match=r"\n- version 2: command drop\(key: str\) -> None\n"):
        check_wire_stability(V1.Store, golden)


def test_a_sample_that_is_written_otherwise_is_refused(golden: Path) -> None:
    """0 as a byte string: read by nobody, since one number has one form."""
    text = golden.read_text(encoding="utf-8")
    golden.write_text(text.replace("    result 00 0\n", "    result 4100 0\n"), encoding="utf-8")

    with pytest.raises(DefectFound, match="can't be read: expected int"):
        check_wire_stability(V1.Store, golden)


def test_a_bytes_machine_has_vectors_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="Slots makes its bytes itself"):
        check_machine(Slots, commands=[], golden=tmp_path / "golden")
