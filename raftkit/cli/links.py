"""`raftkit links`: who hears whom in a group, as one of its nodes knows it.

Law: a row is what its member says of itself; where that is not known it is a question mark, never a yes.
"""

from __future__ import annotations

import json as encoding
from pathlib import Path
from typing import Any, cast

import cattrs

from raftkit import MemberLinks
from raftkit.cli.order import Json, NotDone, give

__all__ = ["links"]

_converter = cattrs.Converter(detailed_validation=False)


def links(directory: Path = Path(), /, *, json: Json = False) -> int:
    """Say who hears whom in a group: a row for each member, as it says itself.

    The row of the node that is asked says for how long it has heard nothing from each; those of the others
    yes or no, or a question mark where they have not said so lately. Exits with 0 if everybody is known to
    hear everybody, with 1 if not.

    Parameters
    ----------
    directory
        The data directory of any node that runs on this machine. Default: the current one.
    json
        One JSON object, with what each member said of its log too.
    """
    answer = cast("dict[str, Any]", give(directory, "links"))
    try:
        rows = _converter.structure(answer["links"], list[MemberLinks])
        own = str(answer["id"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotDone(
            "the node answers as another version of raftkit would: use that one's command"
        ) from error
    if json:
        print(encoding.dumps({"directory": str(directory), **answer}))
    else:
        from raftkit.cli import links_view

        links_view.show(own, rows)
    return 0 if rows and all(it.missing == () for it in rows) else 1
