"""`python -m raftkit` and the console script `raftkit`: the way in, which works without the extra `cli` too.

Law: nothing is imported here that a bare installation lacks, before it is known to be there.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = {"cyclopts", "rich"}


def main() -> None:
    """Run the command line, or say in one line what to install for it."""
    try:
        from raftkit.cli.app import run  # noqa: PLC0415 - the bare package comes without cyclopts and rich
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            f"raftkit: the command line needs {error.name}: pip install 'raftkit-trio[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
