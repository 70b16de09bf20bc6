"""Each file beside this one is a scenario: what its commands do must be what stands below them.

And they hold however a server batches: with a step for each input, and with one for all that came together.
What is shown and expected, and what has become of each server, is the same; lines between may not be. A file
in which it is not says so and why, `# Not together: …` in its header.

After a change that is meant, `pytest tests/scenarios --rewrite` writes what happens now; read the difference
like code. What breaks a law, or an `expect`, is never written.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from raftkit.testing.scenario import Batching, ScenarioFailed, claims, run

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.txt"))
ROOT = HERE.parents[1]

HEADER_LINES_MIN = 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    expected = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT))
    try:
        actual = run(expected, name)
    except ScenarioFailed as failure:
        pytest.fail(str(failure), pytrace=False)
    if actual == expected:
        return
    if request.config.getoption("rewrite"):
        path.write_text(actual, encoding="utf-8")
        return
    difference = difflib.unified_diff(
        expected.splitlines(), actual.splitlines(), name, "what happens", lineterm=""
    )
    pytest.fail(
        "\n".join([*difference, f"If this is meant: pytest {name.rpartition('/')[0]} --rewrite"]),
        pytrace=False,
    )


@pytest.mark.parametrize("batching", [Batching.SINGLY, Batching.TOGETHER], ids=lambda it: it.value)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_comes_to_the_same_however_a_server_batches(
    path: Path, batching: Batching
) -> None:
    text = path.read_text(encoding="utf-8")
    written = claims(text, path.name, batching=Batching.AS_WRITTEN)

    try:
        otherwise = claims(text, path.name, batching=batching)
    except ScenarioFailed as failure:
        otherwise = [str(failure)]

    if f"# Not {batching.value}: " in text:
        assert otherwise != written, "it does; the file need not say that it does not"
    else:
        assert otherwise == written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_tells_its_story_first(path: Path) -> None:
    """What went wrong elsewhere, what must happen here, and by which rule."""
    header = path.read_text(encoding="utf-8").partition("\nnodes ")[0].splitlines()

    assert len(header) >= HEADER_LINES_MIN
    assert all(line.startswith("#") for line in header)
    assert any(line.startswith("# Must happen: ") for line in header)
