"""The options of ``litesam label --link``: how the objects of slices become those of a volume."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_config_options, config_from
from litesam.cli.terminal import UsageError, complain
from litesam.errors import ConfigError
from litesam.types import LinkConfig

if TYPE_CHECKING:
    import argparse

    from litesam.volume.source import VolumeSource


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of links; extents along z may be lengths, as slices may be thick."""
    title = "linking (--link)"
    add_config_options(parser, LinkConfig, title, leave_out=("max_gap", "min_extent"))
    group = parser.add_argument_group("linking: numbers of slices, or lengths along z such as 2um")
    group.add_argument(
        "--max-gap",
        type=_parse_slices,
        metavar="N",
        help="an object that is missing in up to this many slices, or over such a length, goes on "
        "behind them (default: 1)",
    )
    group.add_argument(
        "--min-extent",
        type=_parse_slices,
        metavar="N",
        help="drop objects that were seen in fewer slices than this, or than span such a length "
        "(default: 1)",
    )


def _parse_slices(text: str) -> int | str:
    """Read a number of slices, or a length with a unit, which is one when the image is known."""
    from litesam.volume import parse_length

    if text.strip().isdecimal():
        return int(text)
    try:
        parse_length(text, 1.0, "micrometer")
    except ConfigError:
        pass
    else:
        if text.strip()[-1].isalpha() and not text.strip().endswith("px"):
            return text.strip()
    raise ArgumentTypeError(f"{text!r} is no number of slices; write 2, or 1.5um")


def links_of(args: argparse.Namespace, options: dict[str, Any]) -> LinkConfig:
    """Return how planes are linked.

    Refuses planes in time that are not to be linked, and says where there is nothing to link:
    nobody should find out at the end.
    """
    from litesam.volume.source import SourceConfig, VolumeSource

    where = SourceConfig(options["axes"], options["channel"], options["level"])
    source = VolumeSource(args.images[0], where)
    axes = source.label_axes
    if axes == "TYX" and options["time_axis"] == "volumes":
        raise UsageError(
            f"{args.images[0]} has the axes TYX, planes in time, and --link links slices of a "
            "volume. Add --time tracks if objects go on through time; say --axes ZYX if these are "
            "slices; or leave --link out."
        )
    if axes == "YX":
        complain("The image is one plane; --link has nothing to link.")
    given = vars(args).copy()
    for name, rounded in (("max_gap", math.floor), ("min_extent", math.ceil)):
        if isinstance(given[name], str):
            # A length that is a whole number of slices but for the rounding of floats is that.
            given[name] = rounded(round(_slices_of(given[name], name, source), 6))
    return config_from(Namespace(**given), LinkConfig)


def _slices_of(length: str, name: str, source: VolumeSource) -> float:
    """How many slices a length along z is.

    Raises
    ------
    ConfigError
        If the image does not say how far apart its slices are.
    """
    from litesam.io.units import METRES
    from litesam.volume import parse_length

    steps = dict(zip(source.label_axes, source.scale or (), strict=False))
    if "Z" not in steps or source.image.unit not in METRES:
        raise ConfigError(
            "The image does not say how far apart its slices are, so "
            f"--{name.replace('_', '-')} {length} cannot be converted; give a number of slices."
        )
    return parse_length(length, steps["Z"], source.image.unit)
