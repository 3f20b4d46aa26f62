"""Rows of figures by method, and how the benches of quality show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from rich.console import Console
from rich.table import Table

Figures = dict[str, float | None]
"""A row: what was measured, None where it could not be."""
Rows = Mapping[str, Figures]

WIDTH = 110
"""Of the tables, in characters; a file or a pipe tells none."""


class Tally:
    """Weighted means, gathered by method and column."""

    def __init__(self, methods: Iterable[str], columns: Sequence[str]) -> None:
        self._sums = {method: dict.fromkeys(columns, (0.0, 0.0)) for method in methods}

    def add(self, method: str, column: str, value: float, weight: float = 1.0) -> None:
        total, weights = self._sums[method][column]
        self._sums[method][column] = total + value * weight, weights + weight

    def rows(self) -> dict[str, Figures]:
        """The means so far; None where there is nothing."""
        return {
            method: {column: total / weights if weights else None for column, (total, weights) in sums.items()}
            for method, sums in self._sums.items()
        }


def ratios_to(base: str, rows: Rows) -> dict[str, Figures]:
    """Each row as multiples of the row `base`; None where one of the two figures is not there, or the base's is 0."""
    whole = rows[base]
    return {
        method: {
            name: value / below if value is not None and (below := whole[name]) else None for name, value in row.items()
        }
        for method, row in rows.items()
    }


def mean_rows(folders: Iterable[Rows]) -> dict[str, Figures]:
    """Each method's means over the folders, leaving out what is not there."""
    return _over_folders(folders, fmean)


def highest_rows(folders: Iterable[Rows]) -> dict[str, Figures]:
    """Each method's largest figures over the folders, leaving out what is not there."""
    return _over_folders(folders, max)


def _over_folders(folders: Iterable[Rows], summary: Callable[[list[float]], float]) -> dict[str, Figures]:
    folders = list(folders)
    summaries: dict[str, Figures] = {}
    for method, row in folders[0].items():
        summaries[method] = {}
        for name in row:
            there = [value for rows in folders if (value := rows[method][name]) is not None]
            summaries[method][name] = summary(there) if there else None
    return summaries


def print_table(title: str, rows: Rows, console: Console) -> None:
    columns = list(next(iter(rows.values())))
    table = Table(title=title, title_justify="left")
    for column in ("method", *columns):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, row in rows.items():
        table.add_row(method, *("–" if row[name] is None else f"{row[name]:.3g}" for name in columns))
    console.print(table)
