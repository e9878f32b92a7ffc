"""Small grids of numbers as SVG: what the pictures of the operators are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[Any]

CELL = 30
# Dark numbers are legible on all of them, on a light page and on a dark one.
COLOURS = ("#9ecae9", "#ffbf79", "#8cd17d", "#f5a6a1", "#d4a6c8", "#f1ce63", "#86bcb6", "#d7b5a6", "#bab0ac")
PADDING = -1  # a cell that no image has
STYLE = """
  .card { fill: #ffffff } .cell { stroke: #ffffff; stroke-width: 2 } .pad { fill: #e4e6eb }
  text { font: 13px system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1f2430 }
  .label { fill: #4b5263 } .arrow { stroke: #6b7280; fill: none; stroke-width: 1.5 } .frame { fill: none; stroke: #1f2430; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #1e2129 } .cell { stroke: #1e2129 } .pad { fill: #3a3f4b } .label { fill: #c3c8d4 } .frame { stroke: #ffffff }
  }
"""


class Canvas:
    """What is drawn so far, and how far to the right and down it reaches."""

    def __init__(self, title: str) -> None:
        self.title, self.parts, self.right, self.bottom = title, list[str](), 0.0, 0.0

    def text(self, x: float, y: float, words: str) -> None:
        """A line of words around (x, y)."""
        self.parts.append(f'<text class="label" x="{x:g}" y="{y:g}">{words}</text>')
        self.reach(x + len(words) * 3.5, y + 10)

    def grid(self, x: float, y: float, values: Cells, colours: Cells, title: str = "") -> None:
        """A matrix of numbers with its corner at (x, y); cells of the colour PADDING are empty."""
        rows, columns = values.shape
        if title:
            self.text(x + columns * CELL / 2, y - 14, title)
        for (i, j), colour in np.ndenumerate(colours):
            left, top = x + j * CELL, y + i * CELL
            paint = 'class="cell pad"' if colour == PADDING else f'class="cell" fill="{COLOURS[colour % len(COLOURS)]}"'
            self.parts.append(f'<rect {paint} x="{left:g}" y="{top:g}" width="{CELL}" height="{CELL}" rx="4"/>')
            if colour != PADDING:
                self.parts.append(f'<text x="{left + CELL / 2:g}" y="{top + CELL / 2:g}">{values[i, j]}</text>')
        self.reach(x + columns * CELL, y + rows * CELL)

    def frame(self, x: float, y: float, rows: int, columns: int) -> None:
        """A line around cells."""
        self.parts.append(
            f'<rect class="frame" x="{x:g}" y="{y:g}" width="{columns * CELL}" height="{rows * CELL}" rx="5"/>'
        )

    def arrow(self, x: float, y: float, words: str = "", length: float = 60) -> None:
        """An arrow to the right, with words above it."""
        self.parts.append(f'<path class="arrow" d="M{x:g} {y:g}h{length:g}m-8 -5l8 5l-8 5"/>')
        if words:
            self.text(x + length / 2, y - 16, words)
        self.reach(x + length, y)

    def reach(self, x: float, y: float) -> None:
        """Count a point as drawn on."""
        self.right, self.bottom = max(self.right, x), max(self.bottom, y)

    def svg(self) -> str:
        """The file."""
        width, height = self.right + 20, self.bottom + 20
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img">'
        card = f'<rect class="card" width="{width:g}" height="{height:g}" rx="10"/>'
        return "\n".join(
            [head, f"<title>{self.title}</title>", f"<style>{STYLE}</style>", card, *self.parts, "</svg>\n"]
        )
