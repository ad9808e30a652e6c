"""What commands say: results on stdout, messages and progress bars on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from litesam.types import OnProgress, Progress


class UsageError(Exception):
    """The arguments do not make sense together; exit code 2."""


def say(text: str = "") -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """Write the result as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Write rows as aligned columns, the first as heading; those in ``right`` right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())


def say_fields(fields: Mapping[str, str]) -> None:
    """Write named values, one a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        say(f"{name.ljust(width)}  {value}")


def complain(message: str) -> None:
    """Write an error message to stderr."""
    sys.stderr.write(f"litesam: {message}\n")


def size_text(size_bytes: int) -> str:
    """Return a number of bytes for people, such as "1.5 GB" (1 kB = 1000 bytes)."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


class Bars:
    """One progress bar; where stderr is no terminal it shows nothing."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task: Any = None

    def begin(self, title: str, parts: int = 1) -> None:
        """Start a bar for a piece of work of so many equal parts; an earlier bar goes."""
        if self._progress is None:
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(title, total=float(max(parts, 1)), note="")

    def part(self, number: int) -> OnProgress:
        """Return the callback of one part, counted from 0."""

        def report(progress: Progress) -> None:
            if self._progress is not None and self._task is not None:
                share = progress.done / progress.total if progress.total else 1.0
                self._progress.update(
                    self._task, completed=number + min(share, 1.0), note=progress.message
                )

        return report


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Bars]:
    """Show progress bars on stderr while the block runs."""
    if quiet or not sys.stderr.isatty():
        yield Bars(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress)
