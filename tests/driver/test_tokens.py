"""Numbers of a session: given out once, closed once, and known to be held or not (§6.3)."""

from __future__ import annotations

import gc
import random

import pytest

from raftkit.driver.tokens import Session, Token
from raftkit.errors import Overloaded


def test_numbers_are_given_out_in_a_row() -> None:
    session = Session(7)

    assert [session.take() for _ in range(3)] == [1, 2, 3]
    assert session.ack_below == 1


def test_ack_below_is_the_lowest_open_number() -> None:
    session = Session(7)
    numbers = [session.take() for _ in range(200)]
    random.Random(1).shuffle(numbers)
    for place, number in enumerate(numbers):
        session.close(number)
        assert session.ack_below == min(numbers[place + 1 :], default=201)
    session.close(5)  # again: nothing happens

    assert session.ack_below == 201


def test_a_full_session_gives_out_nothing() -> None:
    session = Session(7)
    for _ in range(4096):
        session.take()

    assert session.full
    with pytest.raises(Overloaded):
        session.take()
    session.close(2)
    assert session.full  # the window begins at the lowest
    session.close(1)
    assert session.take() == 4097


def test_a_token_is_plain_data() -> None:
    token = Session(7).token()

    assert token == Token(session=7, number=1)
    assert repr(token) == "Token(session=7, number=1)"


def test_a_token_that_dies_is_reported_once() -> None:
    session = Session(7)
    token, other = session.token(), session.token()
    assert session.is_held(1)
    assert session.hold(1) is token
    del token
    gc.collect()

    assert not session.is_held(1)
    assert session.take_dropped() == [1]
    assert session.take_dropped() == []
    assert session.is_held(other.number)


def test_a_closed_number_is_not_reported() -> None:
    session = Session(7)
    token = session.token()
    session.close(token.number)
    del token
    gc.collect()

    assert session.take_dropped() == []


def test_a_number_held_again_is_not_reported() -> None:
    session = Session(7)
    token = session.token()
    del token
    gc.collect()
    again = session.hold(1)

    assert session.take_dropped() == []
    assert session.is_held(again.number)


def test_sendings_are_counted_until_the_number_is_closed() -> None:
    session = Session(7)
    token = session.token()
    assert session.sendings(token.number) == 0
    session.count_sending(token.number, 1)
    session.count_sending(token.number, 1)
    session.count_sending(token.number, -1)
    assert session.sendings(token.number) == 1
    session.count_sending(token.number, -1)
    assert session.sendings(token.number) == 0
    session.close(token.number)
    session.count_sending(token.number, -1)  # a late refusal

    assert session.sendings(token.number) == 1  # it may have been decided
