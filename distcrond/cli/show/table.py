"""Aligned columns, as wide as their contents; what people skim is left, numbers are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from distcrond.cli.show.clean import word
from distcrond.cli.show.human import color, mark


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a colour."""

    text: str
    color: str | None = None
    bold: bool = False
    dim: bool = False


Row = Sequence[Cell | str]


def cell(text: object, **style: Any) -> Cell:
    """A cell with text from outside, made harmless."""
    return Cell(word(text), **style)


def judged(state: str, *, shapes: bool = True) -> Cell:
    """An outcome or state: shape, word and colour."""
    text = f"{mark(state)} {word(state)}" if shapes else word(state)
    return Cell(text, color=color(state))


def table(rows: Sequence[Row], head: Sequence[str] = ()) -> list[str]:
    """Lay rows out in columns of two spaces distance; the last one is not padded."""
    cells = [[Cell(each) if isinstance(each, str) else each for each in row] for row in rows]
    if head:
        cells.insert(0, [Cell(title, dim=True) for title in head])
    if not cells:
        return []
    widths = [max(len(row[column].text) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(_laid(each, width) for each, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _laid(each: Cell, width: int) -> str:
    padding = " " * (width - len(each.text))
    if not each.text or not (each.color or each.bold or each.dim):
        return each.text + padding
    return click.style(each.text, fg=each.color, bold=each.bold or None, dim=each.dim or None) + padding


def bar(share: float, width: int = 10) -> str:
    """Progress against what is usual; over 100 % it is full and the figure tells.

    A start in the same second as the answer may seem to lie ahead of it: that is 0 %.
    """
    share = max(0.0, share)
    full = min(width, int(share * width))
    return "█" * full + "░" * (width - full) + f" {share:.0%}"
