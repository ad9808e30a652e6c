"""What commands say: results on stdout, messages and progress bars on stderr."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from litesam.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from litesam.types import OnProgress, Progress


class UsageError(Exception):
    """The arguments do not make sense together; exit code 2."""


class Parser(argparse.ArgumentParser):
    """Says of wrong arguments what is wrong, instead of all that there are."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"litesam: {message}{'' if message.endswith('.') else '.'} {self.advice}\n")

    @property
    def advice(self) -> str:
        """Where more is said."""
        return f"See {self.prog} --help."


def use_streams() -> None:
    """Let names of files be printed that the terminal or a pipe has no characters for, and let
    programs without standard streams be called, too.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and (
        stream.errors == "strict" or stream.encoding.lower().replace("-", "") != "utf8"
    ):
        stream.reconfigure(errors="backslashreplace")


def say(text: str = "") -> None:
    """Write a line of the result."""
    _write(text + "\n")


def say_json(value: Any) -> None:
    """Write the result as JSON."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def end_of_result() -> None:
    """Let the result leave the program.

    Raises
    ------
    WriteError
        If it cannot be written, as where a disk is full.
    """
    _write("", flush=True)


def _write(text: str, *, flush: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if flush:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        close_result()
        reason = error.strerror or error
        raise WriteError(
            f"The result cannot be written to the standard output: {reason}."
        ) from error


def close_result() -> None:
    """Write nothing more to a standard output that takes nothing more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def explain(error: Exception) -> str:
    """Say in one line what an error means that nobody foresaw."""
    text = str(error).strip().split("\n", 1)[0]
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "The memory is not enough. Label a part (--index, or --range with --link), take a "
            "smaller model, or let other programs go."
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or text or type(error).__name__}."
    return (
        f"Something went wrong that litesam did not foresee ({type(error).__name__}: {text}). Add "
        "--verbose to see where, and report it, please."
    )


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
