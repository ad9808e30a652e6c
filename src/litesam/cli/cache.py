"""``litesam cache``: look at the embedding cache and keep it small."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command, add_output_options, open_store, parse_size
from litesam.cli.terminal import UsageError, complain, say, say_fields, say_json, size_text

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
  litesam cache info
  litesam cache prune --max-size 2GB
  litesam cache clear --yes
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "cache",
        "show, prune or clear the embedding cache",
        "Show the embedding cache, remove the least recently used entries, or remove all. "
        "Embeddings can be "
        "computed again at any time.",
        _EXAMPLES,
    )
    parser.add_argument("action", choices=("info", "prune", "clear"))
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="another folder than the user's cache"
    )
    parser.add_argument(
        "--max-size",
        type=parse_size,
        metavar="SIZE",
        help="prune: keep at most this, such as 500MB or 2GB",
    )
    parser.add_argument("--yes", action="store_true", help="clear: do not ask")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.store import default_cache_dir

    if (args.action == "prune") != (args.max_size is not None):
        raise UsageError("prune, and only prune, needs --max-size, such as --max-size 2GB.")
    folder = (args.store or default_cache_dir()).expanduser()
    result: dict[str, Any] = {"path": str(folder), "entries": 0, "size_bytes": 0}
    if args.action != "info":
        result["removed"] = 0
    if folder.exists():
        store = open_store(folder, read_only=args.action == "info")
        if args.action == "prune":
            result["removed"] = store.prune(args.max_size)
        elif args.action == "clear":
            if not args.yes and len(store) and not _confirmed(folder, len(store)):
                return 1
            result["removed"] = store.clear()
        result |= {"entries": len(store), "size_bytes": store.nbytes}
    if args.json:
        say_json(result)
    else:
        if "removed" in result:
            say(f"Removed {result['removed']} embeddings.")
        say_fields(
            {
                "folder": result["path"] + ("" if folder.exists() else " (not there yet)"),
                "embeddings": str(result["entries"]),
                "size": size_text(result["size_bytes"]),
            }
        )
    return 0


def _confirmed(folder: Path, count: int) -> bool:
    """Ask; without a terminal nobody can answer, so nothing is removed."""
    if not sys.stdin.isatty():
        raise UsageError(f"Nobody can be asked whether to remove {count} embeddings; add --yes.")
    sys.stderr.write(f"Remove all {count} embeddings of {folder}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    complain("Nothing was removed.")
    return False
