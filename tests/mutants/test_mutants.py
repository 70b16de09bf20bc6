"""The tables of mistakes still fit the code. Making them takes long: `make mutants`."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import ALL, LAYERS, ROOT, layers_of
from tests.mutants.mutants import Mutant


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_the_right_text_stands_once(mutant: Mutant) -> None:
    text = (ROOT / mutant.path).read_text(encoding="utf-8")

    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    compile(text.replace(mutant.old, mutant.new), mutant.path, "exec")  # a mistake, not nonsense


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_who_should_notice_looks_at_it(mutant: Mutant) -> None:
    assert mutant.killed_by
    assert mutant.killed_by <= set(layers_of(mutant)) <= LAYERS.keys()
    assert bool(mutant.tests) == ("tests" in mutant.killed_by)
    assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests)


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL)
