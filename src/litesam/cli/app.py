"""All commands, and what becomes of their errors.

Everything heavy is imported by the commands when they run, so that ``litesam --help`` is quick.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from litesam.cli import (
    cache,
    demo,
    distill,
    embed,
    evaluate,
    finetune,
    label,
    models,
    train,
    train_hq,
    train_ppn,
)
from litesam.cli.options import separate_hq
from litesam.cli.terminal import (
    Parser,
    UsageError,
    close_result,
    complain,
    end_of_result,
    explain,
    use_streams,
)
from litesam.errors import Cancelled, LiteSamError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = "Segment microscopy with light Segment-Anything models, offline."
_EXAMPLES = """\
examples:
  litesam demo                                   segment the bundled samples into demo-output/
  litesam label cells.tif -o labels.tif          label every object of an image
  litesam label a.png b.png -o results/          several images into a folder
  litesam models                                 which models there are
  litesam label --help                           all about one command
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="litesam",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for module in (
        demo,
        label,
        embed,
        models,
        evaluate,
        finetune,
        train,
        train_hq,
        train_ppn,
        distill,
        cache,
    ):
        module.add_parser(commands)
    return parser


def run_command(argv: Sequence[str] | None = None) -> int:
    """Run one command; see `litesam.cli.main`."""
    use_streams()
    parser = build_parser()
    try:
        args = parser.parse_args(separate_hq(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # --help (0) or wrong usage (2), already explained
        return stop.code if isinstance(stop.code, int) else 2
    if args.version:
        return _print_version()
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO if getattr(args, "verbose", False) else logging.WARNING,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = args.run(args)
        end_of_result()
    except UsageError as error:
        complain(f"{error} See litesam {args.command} --help.")
        return 2
    except (KeyboardInterrupt, Cancelled):
        complain("Interrupted; no half-written output was left.")
        return 130
    except LiteSamError as error:
        complain(str(error))
        return 1
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        close_result()
        return 1
    except Exception as error:
        logging.getLogger("litesam").info("Where it went wrong:", exc_info=True)
        complain(explain(error))
        return 1
    return code


def _print_version() -> int:
    from importlib.metadata import version

    sys.stdout.write(f"litesam {version('napari-litesam')}\n")
    return 0
