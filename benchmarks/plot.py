"""The medians of a comparison as a picture: SVG, a bar for each system, one block for each figure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from benchmarks.comparison import FIGURES, Comparison, Key

__all__ = ["as_svg"]

COLOURS = ("#0b6e4f", "#8a8a8a", "#c0a062", "#6d7fa6")
"raftkit's, and then the peers'."
WIDTH, LABEL, BAR, LINE, GAP = 760, 150, 440, 18, 14
"Pixels: of all, of names, of the longest bar, of a line, between blocks."


def as_svg(comparison: Comparison) -> str:
    """A whole document, readable on white and on black."""
    lines: list[str] = []
    top = GAP
    for workload, figure in comparison.rows:
        block = list(_block(comparison, workload, figure, top))
        lines += block
        top += LINE * (1 + len(block) // 3) + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
        f'viewBox="0 0 {WIDTH} {top}" role="img" font-family="sans-serif" font-size="12">'
        f"<title>{escape(' and '.join(comparison.systems))}, medians</title>"
        f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    )
    return "\n".join([head, *lines, "</svg>", ""])


def _block(comparison: Comparison, workload: str, figure: str, top: int) -> Iterator[str]:
    """A heading, and three elements for each system that was measured."""
    spreads = {it: comparison.spread(Key(workload, it), figure) for it in comparison.systems}
    longest = max((it.high for it in spreads.values() if it), default=0) or 1
    better = "more" if figure == "rate" else "less"
    words = f"{escape(workload)}: {FIGURES[figure]} ({better} is better)"
    yield f'<text x="0" y="{top + 12}" font-weight="bold">{words}</text>'
    y = top
    for colour, (system, spread) in zip(COLOURS, spreads.items(), strict=False):
        if spread is None:
            continue
        y += LINE
        width = BAR * spread.median / longest
        yield f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(system)}</text>'
        yield f'<rect x="{LABEL}" y="{y + 2}" width="{width:.1f}" height="{LINE - 5}" fill="{colour}"/>'
        yield f'<text x="{LABEL + width + 6:.1f}" y="{y + 12}">{escape(str(spread))}</text>'
