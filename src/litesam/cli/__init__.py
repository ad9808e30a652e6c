"""The command ``litesam``: one module per command, each with ``add_parser`` and ``run``.

Exit codes: 0 done; 1 an error that is explained on stderr; 2 wrong usage; 130 interrupted. Results
go to stdout (with ``--json`` as JSON), progress and messages to stderr. Everything is imported when
the command runs, so that an interrupt meanwhile ends it as quietly as later on.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["build_parser", "main"]

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Arguments without the program's name; None: those of the process.

    Returns
    -------
    int
        Exit code, see the module's documentation.
    """
    try:
        from litesam.cli.app import run_command

        return run_command(argv)
    except KeyboardInterrupt:  # before there was any work
        if sys.stderr is not None:
            sys.stderr.write("litesam: Interrupted.\n")
        return _INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    from litesam.cli.app import build_parser as build

    return build()
