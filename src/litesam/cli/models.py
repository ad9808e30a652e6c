"""``litesam models``: which models there are, and whether their weights are on this computer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command, add_output_options
from litesam.cli.terminal import say, say_fields, say_json, say_table, size_text

if TYPE_CHECKING:
    import argparse

    from litesam.types import ModelSpec

_EXAMPLES = """\
  litesam models
  litesam models show mobile_sam
  litesam models list --json
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "models",
        "list the models, or show one",
        "List the models with licence, size and whether their weights are on this computer, or "
        "show all about one.",
        _EXAMPLES,
    )
    parser.add_argument("action", nargs="?", choices=("list", "show"), default="list")
    parser.add_argument("name", nargs="?", help="model to show")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.cli.terminal import UsageError
    from litesam.models.registry import get_spec, list_models

    if args.action == "list":
        if args.name is not None:
            raise UsageError(f"models list takes no name; write models show {args.name}.")
        entries = [_describe(spec) for spec in list_models()]
        if args.json:
            say_json(entries)
        else:
            _say_list(entries)
        return 0
    if args.name is None:
        raise UsageError("models show needs the name of a model.")
    entry = _describe(get_spec(args.name))
    if args.json:
        say_json(entry)
    else:
        _say_one(entry)
    return 0


def _describe(spec: ModelSpec) -> dict[str, Any]:
    """All that a user may want to know of a model."""
    from litesam.errors import WeightsError
    from litesam.models.weights import bundled_dir, resolve_weights, weights_dir

    try:
        path = resolve_weights(spec)
    except WeightsError:
        path = None
    return {
        "name": spec.name,
        "title": spec.title,
        "licence": spec.weights.licence,
        "parameters": spec.parameters,
        "input_px": spec.input_px,
        "prompts": list(spec.prompts),
        "proposals": list(spec.proposals),
        "hq": spec.hq,
        "weights": {
            "file": spec.weights.file,
            "present": path is not None,
            "bundled": path is not None and path.parent == bundled_dir(),
            "path": None if path is None else str(path),
            "size_bytes": spec.weights.size_bytes if path is None else path.stat().st_size,
            "url": spec.weights.url,
            "folder": str(weights_dir()),
        },
        "paper": spec.paper,
    }


def _state(entry: dict[str, Any]) -> str:
    weights = entry["weights"]
    return "bundled" if weights["bundled"] else "present" if weights["present"] else "missing"


def _parameters(entry: dict[str, Any]) -> str:
    return f"{entry['parameters'] / 1e6:.1f} M"


def _say_list(entries: list[dict[str, Any]]) -> None:
    rows = [["name", "title", "parameters", "licence", "weights"]]
    rows += [[e["name"], e["title"], _parameters(e), e["licence"], _state(e)] for e in entries]
    say_table(rows, right=(2,))


def _say_one(entry: dict[str, Any]) -> None:
    weights = entry["weights"]
    size = "" if weights["size_bytes"] is None else f", {size_text(weights['size_bytes'])}"
    fields = {
        "name": entry["name"],
        "title": entry["title"],
        "parameters": _parameters(entry),
        "input": f"{entry['input_px']} px",
        "prompts": ", ".join(entry["prompts"]),
        "everything": ", ".join(entry["proposals"]),
        "licence": entry["licence"],
        "weights": f"{weights['file']} ({_state(entry)}{size})",
    }
    if weights["path"] is not None:
        fields["path"] = weights["path"]
    elif weights["url"] is not None:
        fields["download"] = weights["url"]
        fields["put into"] = weights["folder"]
    fields["paper"] = entry["paper"]
    say_fields(fields)
    if not weights["present"] and weights["url"] is None:
        say("\nThe weights should be part of the package; install it again.")
