from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest

from raftkit.errors import ConfigError, LocalProtocolError, RaftError, Rejected
from raftkit.statemachine import Ownership, StateMachine, command, query, schema_of, since
from raftkit.statemachine.declaration import Command, Query
from raftkit.testing.applying import applying
from tests.statemachine.bank import Account, Bank, Insufficient, Owner

# ── what calls are ───────────────────────────────────────────────────────────────────────────────────


def test_a_call_on_the_class_is_a_value() -> None:
    built = Bank.put("ann", amount=5)

    assert built == Command(Bank, "put", ("ann", 5, ""))
    assert built == Bank.put(owner="ann", amount=5)
    assert hash(built) == hash(Bank.put("ann", 6))
    assert str(built) == "Bank.put(owner='ann', amount=5, note='')"
    assert Bank.balance("ann") == Query(Bank, "balance", ("ann",))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        built.name = "take"  # type: ignore[misc]


def test_a_value_with_an_unhashable_argument_is_still_hashable() -> None:
    assert hash(Lists.extend([1])) == hash(Lists.extend([2]))
    assert Lists.extend([1]) != Lists.extend([2])


@attrs.define
class Lists(StateMachine):
    @command
    def extend(self, items: list[int]) -> None: ...


def test_wrong_arguments_are_refused_when_the_value_is_built() -> None:
    with pytest.raises(TypeError, match=r"put\(\) missing 1 required positional argument: 'owner'"):
        Bank.put()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional arguments but"):
        Bank.put("ann", 1, "note")  # type: ignore[call-arg]


def test_a_builder_looks_like_its_method() -> None:
    assert Bank.put.__doc__ == "Pay in; the balance."
    assert Bank.put.__name__ == "put"
    assert str(__import__("inspect").signature(Bank.balance)) == "(owner: 'str') -> 'int'"


def test_on_a_free_object_methods_are_plain_calls() -> None:
    bank = Bank()

    assert bank.put("ann", 5) == 5
    assert bank.take("ann", 2) == 3  # which calls put
    assert bank.balance("ann") == 3
    assert bank == Bank(accounts={"ann": Account(Owner("ann"), 3)}, log=[("ann", 5), ("ann", -2)])
    with pytest.raises(Insufficient) as caught:
        bank.take("ann", 10)
    assert caught.value.missing == 7


def test_a_machine_that_a_node_owns_prints_what_to_write_instead() -> None:
    bank = Bank()
    object.__setattr__(bank, "__raft_context__", Ownership.AT_REST)

    with pytest.raises(
        LocalProtocolError, match=r"await node\.execute\(Bank\.put\('ann', amount=5\)\)"
    ):
        bank.put("ann", amount=5)
    with pytest.raises(LocalProtocolError, match=r"await node\.read\(Bank\.balance\('ann'\)\)"):
        bank.balance("ann")


def test_a_machine_that_is_read_answers_queries_and_refuses_commands() -> None:
    bank = Bank(accounts={"ann": Account(Owner("ann"), 3)})
    object.__setattr__(bank, "__raft_context__", Ownership.BEING_READ)

    assert bank.balance("ann") == 3
    with pytest.raises(LocalProtocolError, match=r"await node\.execute"):
        bank.put("ann")


def test_ctx_is_there_only_while_a_command_is_applied() -> None:
    with pytest.raises(LocalProtocolError, match=r"raftkit\.testing\.applying\(machine\)"):
        Bank().draw()
    with applying(Bank(), index=7, term=2, time_ns=30, elapsed_ns=4) as bank:
        assert bank.draw()[:4] == (7, 2, 30, 4)
        with pytest.raises(LocalProtocolError, match="another applying"), applying(bank):
            pass
    with pytest.raises(LocalProtocolError):
        bank.ctx
    assert "ctx" not in repr(bank)


def test_the_object_is_free_again_when_the_block_raises() -> None:
    bank = Bank()
    with pytest.raises(ZeroDivisionError), applying(bank):
        bank.stumble("x")

    assert not hasattr(bank, "__raft_context__")


def test_inheritance_and_super_survive_the_slots_of_attrs() -> None:
    sub = Sub()

    assert sub.put("ann", 1) == 101
    assert Sub.put("ann", 1) == Command(Sub, "put", ("ann", 1, ""))
    assert Sub.take("ann", 1).machine is Sub


@attrs.define
class Sub(Bank):
    extra: int = 0

    @command
    def put(self, owner: str, amount: int = 1, *, note: str = "") -> int:
        return super().put(owner, amount) + 100


# ── refusals, one line each ──────────────────────────────────────────────────────────────────────────


def _undecorated() -> Any:
    class Plain(StateMachine):
        total: int = 0

        @command
        def add(self) -> None: ...

    return Plain


def _undecorated_subclass() -> Any:
    class Half(Bank):
        total: int = 0

    return Half


def _dataclass() -> Any:
    @dataclasses.dataclass
    class Data(StateMachine):
        total: int = 0

    return Data


@pytest.mark.parametrize(
    "make, line",
    [
        (_undecorated, "Plain needs its own @attrs.define"),
        (_undecorated_subclass, "Half needs its own @attrs.define"),
        (_dataclass, "Data is a @dataclass: decorate it with @attrs.define"),
    ],
)
def test_a_class_that_attrs_did_not_make_is_refused_at_its_first_use(
    make: Callable[[], Any], line: str
) -> None:
    machine = make()

    with pytest.raises(ConfigError, match=line):
        machine()
    with pytest.raises(ConfigError, match=line):
        schema_of(machine, 1)


def test_an_undecorated_class_builds_no_commands() -> None:
    with pytest.raises(ConfigError, match="needs its own"):
        _undecorated().add()
    with pytest.raises(ConfigError, match="needs its own"):
        _undecorated_subclass().put("ann")


def _define(**body: Any) -> None:
    annotations = body.pop("annotations", {})
    attrs.define(type("It", (StateMachine,), {"__annotations__": annotations, **body}))


def _async() -> None:
    @command
    async def add(self: object) -> None: ...


def _generator() -> None:
    @query
    def add(self: object) -> Any:
        yield 1


def _async_generator() -> None:
    @query
    async def add(self: object) -> Any:
        yield 1


def _args() -> None:
    @command
    def add(self: object, *amounts: int) -> None: ...


def _kwargs() -> None:
    @command
    def add(self: Any, /, **amounts: int) -> None: ...


def _positional_only() -> None:
    @command
    def add(self: object, amount: int, /) -> None: ...


def _unannotated() -> None:
    @command
    def add(self: object, amount) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def _no_result() -> None:
    @query
    def value(self: object): ...  # type: ignore[no-untyped-def]  # noqa: ANN202


def _no_self() -> None:
    command(cast("Any", lambda: None))


def _mutable_argument() -> None:
    @command
    def add(self: object, items: list[int] = []) -> None: ...  # noqa: B006


def _mutable_field() -> None:
    _define(annotations={"items": "list[int]"}, items=[])


def _query_named_like_a_field() -> None:
    @query
    def value(self: object) -> int:
        return 1

    _define(annotations={"value": "int"}, value=value)


def _query_hides_a_field_of_a_base() -> None:
    class Hiding(Bank):
        @query
        def drawn(self) -> int:  # type: ignore[override]
            return 1

    attrs.define(Hiding)


def _plain_method_hides_a_command() -> None:
    class Hiding(Bank):
        def put(self) -> None: ...  # type: ignore[override]

    attrs.define(Hiding)


def _alias() -> None:
    @command
    def add(self: object) -> None: ...

    _define(add=add, plus=add)


def _ctx() -> None:
    _define(annotations={"ctx": "int"}, ctx=0)


def _field_that_time_calls() -> None:
    _define(annotations={"next_deadline": "int"}, next_deadline=0)


def _command_that_time_calls() -> None:
    @command
    def on_clock(self: object) -> None: ...

    _define(on_clock=on_clock)


def _async_on_clock() -> None:
    async def on_clock(self: object) -> None: ...

    _define(on_clock=on_clock)


def _frozen() -> None:
    attrs.frozen(type("It", (StateMachine,), {"__annotations__": {}}))


def _no_slots() -> None:
    attrs.define(slots=False)(type("It", (StateMachine,), {"__annotations__": {}}))


def _base_with_a_dict() -> None:
    base = type("Base", (), {})
    attrs.define(type("It", (base, StateMachine), {"__annotations__": {}}))


def _snapshot_mode() -> None:
    _define(snapshot_mode="never")


def _later_field_without_default() -> None:
    _define(annotations={"note": "str"}, note=attrs.field(metadata=since(2)))


def _since_one() -> None:
    since(1)


def _since_zero() -> None:
    @command(since=0)
    def add(self: object) -> None: ...


def _rejects_no_attrs() -> None:
    class Poor(Rejected):
        pass

    @command(rejects=(Poor,))
    def add(self: object) -> None: ...


def _rejects_other() -> None:
    @command(rejects=(ValueError,))  # type: ignore[arg-type]
    def add(self: object) -> None: ...


def _rejects_twice() -> None:
    @command(rejects=(Insufficient, Insufficient))
    def add(self: object) -> None: ...


@pytest.mark.parametrize(
    "make, line",
    [
        (_async, "must be a plain function: no async, no yield"),
        (_generator, "must be a plain function: no async, no yield"),
        (_async_generator, "must be a plain function: no async, no yield"),
        (_args, r"`\*amounts: 'int'`: every parameter needs a name of its own"),
        (_kwargs, "every parameter needs a name of its own"),
        (_positional_only, "every parameter needs a name of its own"),
        (_unannotated, "amount needs an annotation, such as `amount: int`"),
        (_no_result, "must say what it returns"),
        (_no_self, "needs a first parameter: self"),
        (_mutable_argument, "the default of items is a list, which all would share"),
        (_mutable_field, r"write attrs\.field\(factory=list\)"),
        (_query_named_like_a_field, r"It\.value is both a field and a command, query or upgrade"),
        (
            _query_hides_a_field_of_a_base,
            r"Hiding\.drawn is both a field and a command, query or upgrade",
        ),
        (_plain_method_hides_a_command, r"Hiding\.put hides a command or query"),
        (_alias, r"It\.plus is add under another name"),
        (_ctx, "It has a field named ctx"),
        (_field_that_time_calls, "It has a field named next_deadline, which is what time calls"),
        (_command_that_time_calls, r"It\.on_clock is called by time, not by callers"),
        (_async_on_clock, r"It\.on_clock must be a plain function"),
        (_frozen, "It is frozen"),
        (_no_slots, "It has a __dict__, whose content no snapshot holds"),
        (_base_with_a_dict, "It has a __dict__, whose content no snapshot holds"),
        (_snapshot_mode, 'snapshot_mode must be "beside" or "pause"'),
        (
            _later_field_without_default,
            r"It\.note begins in a later version, so it needs a default",
        ),
        (_since_one, r"since\(1\): a version from 2 on"),
        (_since_zero, "since=0 must be a version, from 1 on"),
        (_rejects_no_attrs, "rejects Poor, which must be an @attrs.frozen subclass of Rejected"),
        (_rejects_other, "rejects ValueError, which must be"),
        (_rejects_twice, "rejects two classes of one name"),
    ],
)
def test_what_can_not_be_declared_is_refused_with_one_line(
    make: Callable[[], None], line: str
) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        make()

    assert isinstance(caught.value, RaftError)
    assert "\n" not in str(caught.value)
