"""What one of the three measurements tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

__all__ = ["Part"]


@attrs.frozen(kw_only=True)
class Part:
    """A table, and what is concluded from it."""

    rows: Sequence[Mapping[str, object]]
    "Medians, for JSON: a case and its figures in each."
    told: Mapping[str, object]
    "Conclusions, for JSON."
    words: Sequence[str]
    "The table in Markdown, and what belongs below it."
    met: bool
    "Whether the goal is met, if there is one."

    def as_data(self) -> dict[str, object]:
        """For JSON."""
        return {"rows": [*self.rows], **self.told, "met": self.met}
