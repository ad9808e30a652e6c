"""``litesam models``: which models there are; get, import, remove and verify their weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command, add_output_options
from litesam.cli.terminal import (
    UsageError,
    complain,
    progress_bars,
    say,
    say_fields,
    say_json,
    say_table,
    size_text,
)
from litesam.errors import Cancelled

if TYPE_CHECKING:
    import argparse

    from litesam.types import ModelSpec, OnProgress
    from litesam.weights import WeightsFile, WeightsReport, WeightsStatus

_EXAMPLES = """\
  litesam models                                   what there is
  litesam models show sam_vit_b                    all about one model
  litesam models download sam_vit_b mobile_sam     get official weights
  litesam models download fastsam_s --accept-licence
  litesam models import ~/Downloads/sam.pth        a file that you have, whatever its name
  litesam models import tuned.pth --as sam_vit_b   tensors of that model, not the official file
  litesam models import tuned.pth --name my_cells  a model of your own, beside the others
  litesam models verify                            check all that is there
  litesam models remove sam_vit_b
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "models",
        "list the models; download, import, remove, verify weights",
        "List the models with size, licence and whether their weights are on this computer; show "
        "all about one; download official weights, import files that you have, remove and verify "
        "them.",
        _EXAMPLES,
    )
    parser.add_argument("action", nargs="?", choices=tuple(_ACTIONS), default="list")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="models; for import: files; for verify: none means all that are there",
    )
    parser.add_argument(
        "--accept-licence",
        action="store_true",
        help="download: accept licences that restrict the use; remembered",
    )
    parser.add_argument(
        "--as",
        dest="model",
        metavar="NAME",
        help="import: the model that the file belongs to (default: recognised by its tensors; then "
        "it must be the official file)",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="import: keep the file as a model of your own under this name",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="import --name: replace a model of your own"
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.accept_licence and args.action != "download":
        raise UsageError("--accept-licence belongs to models download.")
    if args.model is not None and (args.action != "import" or len(args.names) != 1):
        raise UsageError("--as belongs to models import with one file.")
    if args.name is not None and (args.action != "import" or len(args.names) != 1):
        raise UsageError("--name belongs to models import with one file.")
    if args.overwrite and args.name is None:
        raise UsageError("--overwrite belongs to models import with --name.")
    code: int = _ACTIONS[args.action](args)
    return code


# ------------------------------------------------------------------------------------ list and show


def _list(args: argparse.Namespace) -> int:
    from litesam.models.registry import list_models
    from litesam.models.weights_files import weights_dir

    if args.names:
        raise UsageError(f"models list takes no name; write models show {args.names[0]}.")
    entries = [_describe(spec) for spec in list_models()]
    if args.json:
        say_json(entries)
        return 0
    rows = [["name", "title", "parameters", "size", "licence", "weights", "file"]]
    rows += [
        [
            entry["name"],
            entry["title"],
            _parameters(entry),
            " + ".join(_size(file) for file in entry["weights"]["files"]),
            entry["licence"],
            entry["weights"]["origin"] if entry["weights"]["present"] else "missing",
            " + ".join(file["file"] for file in entry["weights"]["files"]),
        ]
        for entry in entries
    ]
    say_table(rows, right=(2, 3))
    say(f"\nFolder of downloaded and imported weights: {weights_dir()}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from litesam.models.registry import get_spec

    if len(args.names) != 1:
        raise UsageError("models show needs the name of one model.")
    entry = _describe(get_spec(args.names[0]))
    if args.json:
        say_json(entry)
        return 0
    weights = entry["weights"]
    fields = {
        "name": entry["name"],
        "title": entry["title"],
        "parameters": _parameters(entry),
        "input": f"{entry['input_px']} px",
        "memory": f"about {size_text(entry['memory_bytes'])} to load and encode",
        "prompts": ", ".join(entry["prompts"]) + _limit(entry["max_points"]),
        "everything": ", ".join(entry["proposals"]),
        "hq": entry["hq"] or "no",
        "licence": entry["licence"],
    }
    if entry["licence_note"]:
        fields["means"] = entry["licence_note"]
    for number, file in enumerate(weights["files"]):
        fields["weights" if number == 0 else f"of {file['model']}"] = _file_line(file)
    fields["paper"] = entry["paper"]
    say_fields(fields)
    if not weights["present"] and all(file["url"] for file in weights["files"]):
        say(f"\nGet the weights: litesam models download {entry['name']}")
    return 0


def _limit(max_points: int | None) -> str:
    return "" if max_points is None else f"; at most {max_points} points, a box counts as two"


def _file_line(file: dict[str, Any]) -> str:
    size = _size(file)
    text = f"{file['file']} ({size})" if size else file["file"]
    if file["path"] is not None:
        return f"{text}, {file['path']}"
    if file["url"] is not None:
        return f"{text}, missing; from {file['url']} into {file['folder']}"
    if file["page"] is not None:
        return f"{text}, missing; by hand from {file['page']} into {file['folder']}"
    if file["own"]:
        return f"{text}, missing; it should be in {file['folder']}"
    return f"{text}, missing; it should be part of the package, install it again"


def _describe(spec: ModelSpec) -> dict[str, Any]:
    """All that a user may want to know of a model."""
    from litesam.weights import weights_status

    status = weights_status(spec)
    own = _describe_file(status.files[0])
    del own["model"]
    return {
        "name": spec.name,
        "title": spec.title,
        "licence": spec.weights.licence,
        "permissive": status.permissive,
        "licence_note": spec.weights.licence_note,
        "licence_url": spec.weights.licence_url,
        "parameters": spec.parameters,
        "input_px": spec.input_px,
        "memory_bytes": spec.memory_bytes,
        "prompts": list(spec.prompts),
        "max_points": spec.max_points,
        "proposals": list(spec.proposals),
        "hq": spec.hq,
        "weights": own
        | {
            "present": status.present,
            "bundled": status.origin == "bundled",
            "origin": status.origin,
            "files": [_describe_file(file) for file in status.files],
        },
        "paper": spec.paper,
    }


def _describe_file(file: WeightsFile) -> dict[str, Any]:
    weights = file.spec.weights
    return {
        "model": file.spec.name,
        "file": weights.file,
        "path": None if file.path is None else str(file.path),
        "folder": str(file.target.parent),
        "size_bytes": file.size_bytes,
        "size_is_exact": file.path is not None or weights.size_bytes is not None,
        "url": weights.url,
        "mirrors": list(weights.mirrors),
        "page": weights.page,
        "sha256": weights.sha256,
        "own": weights.own,
    }


def _size(entry: dict[str, Any]) -> str:
    if entry["size_bytes"] is None:
        return ""
    return ("" if entry["size_is_exact"] else "~") + size_text(entry["size_bytes"])


def _parameters(entry: dict[str, Any]) -> str:
    return f"{entry['parameters'] / 1e6:.1f} M"


# ----------------------------------------------------------------- download, import, remove, verify


def _download(args: argparse.Namespace) -> int:
    from litesam.weights import download_weights, weights_status

    _need_names(args, "the names of models, see litesam models")
    statuses = [weights_status(name) for name in args.names]  # a wrong name stops before the first
    done: list[dict[str, Any]] = []
    try:
        accepted = args.accept_licence or _asked(statuses)
        with progress_bars(quiet=args.quiet) as bars:
            for status in statuses:
                bars.begin(status.spec.title)
                report: OnProgress = bars.part(0)
                path = download_weights(status.spec, accept_licence=accepted, on_progress=report)
                done.append(
                    {
                        "name": status.spec.name,
                        "path": str(path),
                        "downloaded": not status.present,
                        "size_bytes": path.stat().st_size,
                    }
                )
    except (KeyboardInterrupt, Cancelled):
        complain("Interrupted; what has come is kept, the same command goes on from there.")
        return 130
    if args.json:
        say_json(done)
        return 0
    for one in done:
        words = size_text(one["size_bytes"]) if one["downloaded"] else "was there already"
        say(f"{one['name']}: {one['path']} ({words})")
    return 0


def _asked(statuses: list[WeightsStatus]) -> bool:
    """Whether the user at the terminal accepts the licences that have to be accepted, each once."""
    from litesam.weights import is_licence_accepted

    files = [file for status in statuses for file in status.missing]
    restricted = {
        file.spec.weights.licence: file.spec
        for file in files
        if not file.spec.weights.permissive and not is_licence_accepted(file.spec.weights.licence)
    }
    if not restricted or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    for licence, spec in restricted.items():
        sys.stderr.write(f"The weights of {spec.title} are under the licence {licence}.\n")
        for line in (spec.weights.licence_note, spec.weights.licence_url):
            sys.stderr.write(f"{line}\n" if line else "")
        sys.stderr.write("Accept it? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return False
    return True


def _import(args: argparse.Namespace) -> int:
    from litesam.weights import add_own_model, import_weights

    _need_names(args, "one or more files")
    if args.name is not None:
        status = add_own_model(
            Path(args.names[0]), args.name, base=args.model, overwrite=args.overwrite
        )
        if args.json:
            say_json([{"name": status.spec.name, "path": str(status.path)}])
        else:
            say(f"{status.spec.name} is a model of yours now: {status.path}")
        return 0
    statuses = [import_weights(Path(name), args.model) for name in args.names]
    if args.json:
        say_json([{"name": s.spec.name, "path": str(s.path)} for s in statuses])
        return 0
    for name, status in zip(args.names, statuses, strict=True):
        say(f"{name} is the file of {status.spec.name}: {status.path}")
        for file in status.missing:
            say(f"{status.spec.name} also needs {file.target.name} of {file.spec.name}.")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from litesam.weights import remove_own_model, remove_weights, weights_status

    _need_names(args, "the names of models, see litesam models")
    # A wrong name stops before the first is removed.
    own = {name: weights_status(name).spec.weights.own for name in args.names}
    removed = {
        name: [str(p) for p in (remove_own_model if own[name] else remove_weights)(name)]
        for name in args.names
    }
    if args.json:
        say_json([{"name": name, "removed": paths} for name, paths in removed.items()])
        return 0
    for name, paths in removed.items():
        say(f"{name}: {', '.join(paths) + ' removed' if paths else 'there was nothing to remove'}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from litesam.models.registry import list_models
    from litesam.weights import verify_weights, weights_status

    names = args.names or [s.name for s in list_models() if weights_status(s).present]
    for name in names:
        weights_status(name)
    with progress_bars(quiet=args.quiet) as bars:
        reports = []
        for name in names:
            bars.begin(f"reading {name}")
            reports.append(verify_weights(name))
    if args.json:
        say_json([_report_fields(report) for report in reports])
    else:
        for report in reports:
            say(_report_line(report))
        if not reports:
            say("There are no weights to verify.")
    return 0 if all(report.ok for report in reports) else 1


def _report_fields(report: WeightsReport) -> dict[str, Any]:
    return {
        "name": report.spec.name,
        "path": None if report.path is None else str(report.path),
        "ok": report.ok,
        "present": report.present,
        "sha256": report.sha256,
        "readable": report.readable,
        "matches": report.matches,
        "problem": report.problem,
    }


def _report_line(report: WeightsReport) -> str:
    if report.problem is not None:
        return f"{report.spec.name}: NOT ok. {report.problem}"
    words = {
        "ok": "the published file",
        "unchanged": "unchanged since it came",
        "unknown": "no hash to compare with",
        "differs": "changed",
    }
    same = report.sha256 == "ok" and report.spec.weights.own
    return f"{report.spec.name}: ok, {words['unchanged' if same else report.sha256]}"


def _need_names(args: argparse.Namespace, what: str) -> None:
    if not args.names:
        raise UsageError(f"models {args.action} needs {what}.")


_ACTIONS = {
    "list": _list,
    "show": _show,
    "download": _download,
    "import": _import,
    "remove": _remove,
    "verify": _verify,
}
