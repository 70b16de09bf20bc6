from __future__ import annotations

from typing import Annotated, Any

import attrs
import pytest

from raftkit import encoding
from raftkit.encoding import MalformedError
from raftkit.errors import ConfigError, LocalProtocolError, NotYetEnabled, Rejected
from raftkit.statemachine import StateMachine, command, query, schema_of, since
from raftkit.statemachine.values import Refused
from tests.statemachine.bank import Account, Bank, Colour, Insufficient, Owner

ONE, TWO = schema_of(Bank, 1), schema_of(Bank, 2)

# ── golden vectors: these bytes are in logs, and never change ────────────────────────────────────────

GOLDEN = [
    (ONE, Bank.put("ann", amount=5), "83 63 707574 63 616e6e 05"),
    (TWO, Bank.put("ann", amount=5), "84 63 707574 63 616e6e 05 60"),
    (TWO, Bank.put("ann", note="n"), "84 63 707574 63 616e6e 01 61 6e"),
    (ONE, Bank.paint(Colour.GREEN), "83 65 7061696e74 65 475245454e f6"),
    (ONE, Bank.paint(Colour.RED, "thin"), "83 65 7061696e74 63 524544 64 7468696e"),
    (ONE, Bank.draw(), "81 64 64726177"),
    (ONE, Bank.take("a", 2**64), "83 64 74616b65 61 61 49 010000000000000000"),
]  # fmt: skip


@pytest.mark.parametrize("schema, built, golden", GOLDEN, ids=lambda it: str(it)[:30])
def test_the_bytes_of_a_command_are_golden(schema: Any, built: Any, golden: str) -> None:
    body = schema.encode(built)

    assert body == bytes.fromhex(golden)
    for reader in ONE, TWO:
        method, arguments = reader.decode(body)
        assert (method.name, tuple(arguments)) == (built.name, built.arguments)


@attrs.define
class Mixed(StateMachine):
    @command
    def go(
        self,
        a: int,
        b: Annotated[int, since(3)] = 7,
        c: int = 2,
        *,
        d: Annotated[int, since(2)] = 8,
        e: int = 5,
    ) -> tuple[int, int, int, int, int]:
        return a, b, c, d, e


def test_parameters_are_written_by_version_and_read_whichever_wrote_them() -> None:
    built = Mixed.go(1)

    for version, written in ((1, [1, 2, 5]), (2, [1, 2, 5, 8]), (3, [1, 2, 5, 8, 7])):
        body = schema_of(Mixed, version).encode(built)
        assert encoding.loads(body) == ["go", *written]
        for reader in 1, 2, 3:
            method, arguments = schema_of(Mixed, reader).decode(body)
            assert method.call(Mixed(), *arguments) == (1, 7, 2, 8, 5)
    for written in ([], [1], [1, 2], [1, 2, 5, 8, 7, 9]):
        with pytest.raises(MalformedError, match=r"expected \[3, 4, 5\] arguments"):
            schema_of(Mixed, 1).decode(encoding.dumps(["go", *written]))


# ── refused before it is proposed ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "built, line",
    [
        (Bank.put("ann", "5"), r"Bank\.put: amount: expected int, got str '5'"),  # type: ignore[arg-type]
        (Bank.put("ann", 2**600), r"Bank\.put: amount: expected int of at most 512 bits"),
        (Bank.put("\udc80"), r"Bank\.put: owner: expected text, got a lone surrogate"),
        (Bank.put("ann", note=5), r"Bank\.put: note: expected str, got int 5"),  # type: ignore[arg-type]
        (Mixed.go(1), r"Mixed\.go\(.*\) is nothing for a Bank"),
        (Bank.balance("ann"), r"Bank\.balance\(owner='ann'\) is nothing for a Bank"),
    ],
)
def test_what_can_not_be_written_is_refused_with_its_path(built: Any, line: str) -> None:
    with pytest.raises(LocalProtocolError, match=line):
        ONE.encode(built)


def test_what_needs_a_later_version_is_not_yet_enabled() -> None:
    with pytest.raises(NotYetEnabled, match=r"note = str 'n' needs version 2"):
        ONE.encode(Bank.put("ann", note="n"))
    with pytest.raises(
        NotYetEnabled, match=r"Bank\.close needs version 2 of the machine, and version 1"
    ):
        ONE.encode(Bank.close("ann"))
    assert TWO.decode(TWO.encode(Bank.close("ann")))[1] == ["ann"]
    assert (ONE.newest, schema_of(Mixed, 1).newest) == (2, 3)


@attrs.define
class Small(StateMachine):
    @command
    def go(self, a: int) -> None: ...


@attrs.define
class Wide(Small):
    @command
    def stay(self) -> None: ...


def test_a_command_built_on_a_base_is_one_of_the_subclass_but_not_the_other_way() -> None:
    assert schema_of(Wide, 1).encode(Small.go(1)) == schema_of(Wide, 1).encode(Wide.go(1))
    with pytest.raises(LocalProtocolError, match="is nothing for a Small"):
        schema_of(Small, 1).encode(Wide.go(1))


@pytest.mark.parametrize(
    "plain", [[], {}, 5, "go", [5], [[]], ["gone"], ["go"], ["go", "x"], ["go", 1, 2], [None, 1]]
)
def test_a_body_that_this_code_does_not_know_is_malformed(plain: object) -> None:
    with pytest.raises(MalformedError):
        schema_of(Small, 1).decode(encoding.dumps(plain))


# ── refused when the machine is opened ───────────────────────────────────────────────────────────────


@attrs.frozen
class Box:
    items: list[int]


@attrs.define
class HasSet(StateMachine):
    seen: set[str] = attrs.field(factory=set)


@attrs.define
class HasUnknown(StateMachine):
    when: dict[str, complex] = attrs.field(factory=dict)


@attrs.define
class HasNested(StateMachine):
    queues: dict[str, list[int]] = attrs.field(factory=dict)


@attrs.define
class HasBox(StateMachine):
    box: Box = attrs.field(factory=lambda: Box([]))


@attrs.define
class Pausing(StateMachine):
    snapshot_mode = "pause"
    queues: dict[str, list[int]] = attrs.field(factory=dict)
    box: Box = attrs.field(factory=lambda: Box([]))


@attrs.define
class HasName(StateMachine):
    it: Nowhere = None  # type: ignore[name-defined]  # noqa: F821


@attrs.define
class HasBareField(StateMachine):
    it = attrs.field(default=0)  # type: ignore[var-annotated]  # pyright: ignore[reportGeneralTypeIssues]


@attrs.define
class TakesName(StateMachine):
    @command
    def go(self, it: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@attrs.define
class TakesSet(StateMachine):
    @query
    def go(self, it: set[int]) -> None: ...


@attrs.define
class GivesObject(StateMachine):
    @query
    def go(self) -> object: ...


@attrs.define
class LaterWithoutDefault(StateMachine):
    @command
    def go(self, note: Annotated[str, since(2)]) -> None: ...


@attrs.define
class LooksAtItself(StateMachine):
    a: int = attrs.field(default=attrs.Factory(lambda self: 5, takes_self=True), metadata=since(2))


@attrs.frozen
class Grows(Rejected):
    why: str = attrs.field(default="", metadata=since(2))


@attrs.define
class RejectsMoreLater(StateMachine):
    @command(rejects=(Grows,))
    def go(self) -> None: ...


@attrs.frozen
class Without:
    a: int = attrs.field(metadata=since(2))


@attrs.define
class HasFieldWithout(StateMachine):
    it: Without | None = None


@pytest.mark.parametrize(
    "machine, line",
    [
        (HasSet, r"HasSet: seen: a set has another order in every process: use dict\["),
        (HasUnknown, r"HasUnknown: when: complex has no codec"),
        (HasNested, r"HasNested: queues: .* could change while a snapshot is written"),
        (
            HasBox,
            r"HasBox: box: Box\(items: list\[int\]\) could change while a snapshot is written",
        ),
        (
            HasName,
            r"HasName: an annotation of HasName can't be resolved: name 'Nowhere' is not defined",
        ),
        (HasBareField, r"HasBareField: it needs an annotation"),
        (TakesName, r"TakesName\.go: .*'Nowhere' is not defined.* at module level"),
        (TakesSet, r"TakesSet\.go: it: a set has another order"),
        (GivesObject, r"GivesObject\.go: object has no codec"),
        (
            LaterWithoutDefault,
            r"LaterWithoutDefault\.go: note begins in version 2, so it needs a default",
        ),
        (RejectsMoreLater, r"RejectsMoreLater\.go: Grows has a field of a later version"),
        (HasFieldWithout, r"HasFieldWithout: it: a begins in version 2, so it needs a default"),
        (LooksAtItself, "a default made from the object itself"),
    ],
)
def test_types_are_refused_when_the_machine_is_opened(
    machine: type[StateMachine], line: str
) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        schema_of(machine, 1)

    assert "\n" not in str(caught.value)


def test_a_machine_that_pauses_may_hold_what_changes() -> None:
    assert [it.name for it in schema_of(Pausing, 1).fields] == ["queues", "box"]


# ── queries, rejections ──────────────────────────────────────────────────────────────────────────────


def test_a_query_shares_nothing_with_the_state() -> None:
    bank = Bank(accounts={"ann": Account(Owner("ann"), 3)}, log=[("ann", 3)])

    answer = ONE.ask(bank, Bank.history())

    assert answer == bank.log
    assert answer is not bank.log
    assert ONE.ask(bank, Bank.balance("ann")) == 3
    with pytest.raises(LocalProtocolError, match=r"Bank\.balance: owner: expected str, got int 5"):
        ONE.ask(bank, Bank.balance(5))  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        ONE.ask(bank, Bank.balance("bob"))


def test_rejections_travel_by_name() -> None:
    take = ONE.commands["take"]

    assert take.encode_rejection(Insufficient(5, "ann")) == ["Insufficient", 5, "ann"]
    found = take.decode_rejection(["Insufficient", 5, "ann"])
    assert isinstance(found, Insufficient)
    assert (found.missing, found.owner, str(found)) == (5, "ann", "(5, 'ann')")
    with pytest.raises(Refused, match="expected Insufficient of 2 fields, got 1"):
        take.decode_rejection(["Insufficient", 5])
    assert take.encode_rejection(Rejected("no", "way")) == ["Rejected", "no", "way"]
    assert take.decode_rejection(["Rejected", "no", "way"]).args == ("no", "way")


class Unlisted(Rejected):
    """Raised, but in no `rejects`."""


def test_a_rejection_that_is_not_listed_arrives_as_words() -> None:
    plain = ONE.commands["put"].encode_rejection(Unlisted("why"))

    found = ONE.commands["put"].decode_rejection(plain)

    assert (type(found), found.args) == (Rejected, ("why",))
