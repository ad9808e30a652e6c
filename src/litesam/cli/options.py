"""Options that several commands share, and options made from the config dataclasses."""

from __future__ import annotations

import argparse
import re
import textwrap
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from litesam.cli.terminal import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.predictors import Predictor
    from litesam.store import EmbeddingStore
    from litesam.types import HqMode

Config = TypeVar("Config")

_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def add_command(
    commands: Any, name: str, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command with its help; `run` is set by the caller."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, 80),
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Options about what a command says."""
    group = parser.add_argument_group("messages")
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    group.add_argument("-v", "--verbose", action="store_true", help="say what is done")


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what an image's axes mean and how bright it is."""
    group = parser.add_argument_group("image")
    group.add_argument(
        "--axes",
        metavar="LETTERS",
        help="meaning of the axes, one letter of T C Z Y X each, such as ZYX or YXC "
        "(default: from the file)",
    )
    group.add_argument(
        "--index",
        type=parse_index,
        metavar="I[,J]",
        help="one plane of a stack: 12 for ZYX, 0,12 for TZYX (default: all planes)",
    )
    group.add_argument("--channel", type=int, metavar="C", help="channel, from 0")
    contrast = group.add_mutually_exclusive_group()
    contrast.add_argument(
        "--limits",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="contrast limits: intensities that become black and white (default: percentiles)",
    )
    contrast.add_argument(
        "--per-plane",
        action="store_true",
        help="contrast limits of each plane of a stack by itself "
        "(default: the same for the whole stack)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="lite_sam",
        metavar="NAME",
        help="name, see litesam models (default: lite_sam)",
    )
    group.add_argument("--weights", type=Path, metavar="FILE", help="a weights file of your own")
    group.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda or mps (default: auto)",
    )
    group.add_argument(
        "--hq",
        nargs="?",
        const=True,
        default=False,
        type=_parse_hq,
        metavar="only",
        help="refine masks with the HQ decoder of the model's encoder, another weights file; "
        "--hq only: the masks of its HQ token alone",
    )


def load_model(args: argparse.Namespace) -> Predictor:
    """Load the model that the options choose."""
    from litesam.predictors import load_predictor

    return load_predictor(args.model, args.weights, args.device, args.hq)


def open_store(path: Path | None, *, read_only: bool = False) -> EmbeddingStore:
    """Open the embedding store in a folder, or the usual one, whose size is limited."""
    from litesam.store import DEFAULT_CACHE_BYTES, ZarrStore, default_cache_dir

    if path is not None:
        return ZarrStore(path, read_only=read_only)
    return ZarrStore(default_cache_dir(), DEFAULT_CACHE_BYTES)


def parse_index(text: str) -> tuple[int, ...]:
    """Read "3" or "0,12"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no index; write 12 or, for two leading axes, 0,12"
        ) from None


def separate_hq(argv: Sequence[str]) -> list[str]:
    """Let ``--hq FILE`` mean what it says: only ``only`` belongs to ``--hq``."""
    following = [*argv, ""][1:]
    return [
        "--hq=on" if word == "--hq" and after != "only" else word
        for word, after in zip(argv, following, strict=True)
    ]


def _parse_hq(text: str) -> HqMode:
    """Read the HQ mode: "on" or "only"."""
    if text == "only":
        return "only"
    if text == "on":
        return True
    raise argparse.ArgumentTypeError(f"{text!r} is no HQ mode; write --hq or --hq only")


def parse_count(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of things; write 1 or more")
    return int(text)


def parse_size(text: str) -> int:
    """Read "500MB", "2 GB", "1.5GiB" or a number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500MB or 2GB")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** " kmgt".index(prefix.lower() or " "))


# ------------------------------------------------------------------ options from config dataclasses


def add_config_options(
    parser: argparse.ArgumentParser,
    config: type[Any],
    title: str,
    *,
    leave_out: Sequence[str] = (),
    unset: str = "the model's own",
) -> None:
    """Add one option for each field of a config, with help and limits from its metadata; none for
    those to leave out. ``unset`` says what None stands for.
    """
    group = parser.add_argument_group(title)
    hints = get_type_hints(config)
    for spec in (spec for spec in fields(config) if spec.name not in leave_out):
        kind, choices = _plain_type(hints[spec.name])
        about = spec.metadata
        low, high = about.get("minimum"), about.get("maximum")
        limits = f"{_number(low)}–{_number(high)}" if None not in (low, high) else ""
        notes = [note for note in (about.get("unit", ""), limits) if note]
        default = unset if spec.default is None else _number(spec.default)
        group.add_argument(
            _flag(spec.name),
            dest=spec.name,
            type=kind,
            choices=choices,
            metavar=None if choices else "N" if kind is int else "X",
            help=f"{about['help']} ({', '.join([*notes, f'default: {default}'])})".replace(
                "%", "%%"
            ),
        )


def config_from(args: argparse.Namespace, config: type[Config]) -> Config:
    """Build a config of the options that were given.

    Raises
    ------
    ConfigError
        If a value lies outside its limits.
    """
    names = [spec.name for spec in fields(config)]  # type: ignore[arg-type]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return config(**given)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain_type(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """Type and choices of a field: int, float, str or Literal, each perhaps with None."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if hint in (int, float, str):
        return hint, None
    raise UsageError(f"An option of type {hint} cannot be given on the command line.")
