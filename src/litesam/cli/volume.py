"""``litesam label`` for what does not fit in memory: jobs of blocks, here or on a cluster."""

from __future__ import annotations

import math
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.links import add_link_options, links_of
from litesam.cli.options import config_from, parse_count
from litesam.cli.terminal import (
    UsageError,
    complain,
    progress_bars,
    say,
    say_fields,
    say_json,
    size_text,
)
from litesam.types import EverythingConfig, LinkConfig, NormalizeConfig

if TYPE_CHECKING:
    import argparse

    from litesam.volume import Cost, Executor, Plan, Probe

#: Options that only jobs have; any of them asks for one.
_JOB_OPTIONS = (
    "link",
    "range",
    "time",
    "tracks",
    "objects",
    "level",
    "workers",
    "scheduler",
    "dry_run",
    "restart",
    "block_px",
    "object_diameter",
)
#: Options that need all of an image in one place.
_NOT_IN_JOBS = (
    "prompts",
    "select",
    "text",
    "session",
    "boxes",
    "overlay",
    "table",
    "coco",
    "index",
    "per_plane",
    "cache",
    "store",
)
#: Images whose labels take more than this are labelled as a job without being asked.
_LARGE_BYTES = 2 * 1024**3
_RANGE = re.compile(r"([tzyxTZYX])=(-?\d*):(-?\d*)")


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of jobs."""
    group = parser.add_argument_group(
        "volumes, time series and large planes",
        textwrap.fill(
            "Any of these options makes a job of it: block by block, in the memory of one, each "
            "finished block safe on the disk; run again, it goes on where it stopped. So does an "
            "image that is too large for the memory.",
            78,
        ),
    )
    group.add_argument(
        "--link",
        action="store_true",
        help="link the objects of planes into objects of the volume "
        "(default: every plane by itself)",
    )
    group.add_argument(
        "--range",
        action="append",
        type=_parse_range,
        metavar="AXIS=A:B",
        help="only a part of an axis, such as z=10:40; may be repeated",
    )
    group.add_argument(
        "--time",
        choices=("volumes", "tracks"),
        help="what T is with --link: volumes, each point in time by itself (default), or tracks: "
        "objects of TYX or TZYX have one number at all times",
    )
    group.add_argument(
        "--tracks",
        type=Path,
        metavar="CSV",
        help="with --link: also write a table of the tracks (track_id, t, z, y, x, area), as "
        "napari's Tracks layer takes it; means --time tracks",
    )
    group.add_argument(
        "--objects",
        type=Path,
        metavar="CSV",
        help="also write a table of the objects: id, number of slices and voxels, confidence (the "
        "model's, mean of its slices), least sure slice, centroid and bounding box",
    )
    group.add_argument(
        "--level",
        type=_parse_level,
        metavar="N",
        help="level of an OME-Zarr, 0 = finest (default); auto, the default with "
        "--object-diameter: the coarsest in which the network sees such objects at full "
        "resolution. Diameter and ranges are in pixels of level 0 with auto, otherwise of level "
        "N; the labels have the size and scale of the level",
    )
    group.add_argument(
        "--object-diameter",
        metavar="LENGTH",
        help="usual diameter of an object, such as 30 (pixels) or 12um: sets the size of the tiles "
        "that the network sees, and is worth giving where objects are far from 32 px; auto: "
        "estimated from a few places of the image",
    )
    group.add_argument(
        "--block-px",
        type=parse_count,
        metavar="N",
        help="side of the blocks of large planes (4096)",
    )
    group.add_argument(
        "--workers",
        type=parse_count,
        metavar="N",
        help="so many processes, each with its own model",
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="workers of this dask scheduler, tcp://HOST:PORT; local:N starts N of them here",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="only say how many blocks there are, and which time, memory and disk they take",
    )
    group.add_argument(
        "--restart", action="store_true", help="forget what an earlier run has finished"
    )
    add_link_options(parser)


def is_job(args: argparse.Namespace) -> bool:
    """Whether an image is labelled as a job.

    Raises
    ------
    UsageError
        If options of jobs and others do not go together.
    """
    wanted = [name for name in _JOB_OPTIONS if getattr(args, name) not in (None, False)]
    other = [name for name in _NOT_IN_JOBS if getattr(args, name) not in (None, False)]
    linking = [name for name in LinkConfig.__dataclass_fields__ if getattr(args, name) is not None]
    if linking and not args.link:
        raise UsageError(f"{_flag(linking[0])} goes with --link.")
    if args.tracks is not None and not args.link:
        raise UsageError("--tracks goes with --link.")
    if args.tracks is not None and args.time == "volumes":
        raise UsageError("--tracks goes with --time tracks.")
    if args.level == "auto" and args.object_diameter is None:
        raise UsageError(
            "--level auto goes with --object-diameter; the size of objects chooses the level."
        )
    if wanted and other:
        raise UsageError(f"{_flag(wanted[0])} goes without {_flag(other[0])}.")
    if wanted:
        if len(args.images) != 1:
            raise UsageError(
                f"{_flag(wanted[0])} goes with one image, here are {len(args.images)}."
            )
        if args.output.suffix.lower() not in (".zarr", ".tif", ".tiff"):
            raise UsageError(f"With {_flag(wanted[0])} the output ends with .ome.zarr or .tif.")
    return bool(wanted) or (not other and _is_large(args))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_large(args: argparse.Namespace) -> bool:
    """Whether the labels of the image would fill the memory, or it is a folder of planes."""
    from litesam.errors import LiteSamError
    from litesam.io import open_image

    if len(args.images) != 1 or args.output.suffix.lower() not in (".zarr", ".tif", ".tiff"):
        return False
    path: Path = args.images[0]
    if not path.is_dir() and (not path.exists() or path.stat().st_size < _LARGE_BYTES // 16):
        return False
    try:
        image = open_image(path)
    except LiteSamError:
        return False  # explained where it is read
    is_folder = path.is_dir() and not any(path.glob("*zarr*")) and not any(path.glob(".z*"))
    shape = dict(zip(image.axes or "", image.array.shape, strict=False))
    shape.pop("C", None)
    return is_folder or 4 * math.prod(shape.values()) > _LARGE_BYTES


def _parse_range(text: str) -> tuple[str, tuple[int | None, int | None]]:
    """Read "z=10:40", "z=:40" or "t=3:"."""
    import argparse

    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; write z=10:40, z=:40 or t=3:")
    axis, start, stop = match.groups()
    return axis.upper(), (int(start) if start else None, int(stop) if stop else None)


def _parse_level(text: str) -> int | str:
    """Read "auto" or a number."""
    import argparse

    if text == "auto":
        return text
    if text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no level; write 0, 1 … or auto")


# ------------------------------------------------------------------------------------------ the job


def run_job(args: argparse.Namespace) -> int:
    """Label one image as a job, or say what that would take."""
    from litesam.volume import label_volume

    options = _options(args)
    if args.link:
        options["link"] = links_of(args, options)
    if args.dry_run:
        return _dry_run(args, options)
    executor = _executor(args)
    with progress_bars(quiet=args.quiet) as bars:
        bars.begin(args.images[0].name)
        try:
            result = label_volume(
                args.images[0],
                args.output,
                args.model,
                executor,
                device=args.device,
                tracks=args.tracks,
                objects=args.objects,
                overwrite=args.overwrite,
                restart=args.restart,
                on_progress=bars.part(0),
                **options,
            )
        except KeyboardInterrupt:
            complain("What is finished is kept; run the same command again to go on from there.")
            raise
    about = {
        "image": str(args.images[0]),
        "output": str(result.path),
        "model": args.model,
        "level": options["level"],
        "axes": result.axes,
        "shape": list(result.shape),
        "planes": result.planes,
        "blocks": result.blocks,
        "blocks_before": result.blocks_before,
        "tracks": None if result.tracks is None else str(result.tracks),
        "table": None if result.table is None else str(result.table),
        "linked": bool(args.link),
        "objects": result.objects,
        "seconds": round(result.seconds, 3),
    }
    if args.json:
        say_json([about])
        return 0
    count = "1 object" if result.objects == 1 else f"{result.objects} objects"
    place = f" in {result.planes} planes" if result.planes > 1 else ""
    say(f"{result.path}: {count}{place}, {result.seconds:.1f} s")
    for table in (result.tracks, result.table):
        if table is not None:
            say(str(table))
    if result.planes > 1 and not args.link:
        say("Every plane by itself; --link makes objects of the volume of them.")
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Parameters of `make_plan`."""
    from litesam.volume import BLOCK_PX

    return {
        **_source_options(args),
        **_scale(args),
        "link": None,
        "time_axis": args.time or ("volumes" if args.tracks is None else "tracks"),
        "block_px": args.block_px or BLOCK_PX,
        "ome_zarr": args.ome_zarr or "0.5",
    }


def _source_options(args: argparse.Namespace) -> dict[str, Any]:
    """What is labelled, and by which model."""
    limits = None if args.limits is None else (args.limits[0], args.limits[1])
    return {
        "axes": args.axes,
        "channel": args.channel,
        "level": 0 if args.level == "auto" else args.level or 0,
        "ranges": dict(args.range or ()),
        "proposals": args.proposals,
        "proposer": args.proposer,
        "config": config_from(args, EverythingConfig),
        "normalize": NormalizeConfig(limits=limits),
        "weights": args.weights,
        "hq": args.hq,
    }


def _scale(args: argparse.Namespace) -> dict[str, Any]:
    """Level, tiles and canvas for the objects' diameter, if it was given."""
    if args.object_diameter is None:
        return {}
    from litesam.cli.options import load_model
    from litesam.volume import (
        choose_level,
        estimate_diameter,
        estimate_on_levels,
        make_plan,
        parse_length,
        tiling_for,
    )
    from litesam.volume.source import VolumeSource

    plan = make_plan(args.images[0], args.model, **_source_options(args))
    source = VolumeSource(args.images[0], plan.source)
    if args.object_diameter == "auto":
        predictor = load_model(args)
        diameter = (
            estimate_on_levels(args.images[0], plan, predictor)
            if args.level in (None, "auto")
            else estimate_diameter(source, plan, predictor)
        )
        complain(f"The objects are about {diameter:.1f} px in diameter.")
    else:
        scale = None if source.scale is None else source.scale[-1]
        diameter = parse_length(args.object_diameter, scale, source.image.unit)
    found: dict[str, Any] = {}
    if args.level in (None, "auto"):
        choice = choose_level(args.images[0], diameter, args.model, axes=args.axes)
        if choice.level:
            found = {"level": choice.level, "ranges": choice.ranges(plan.source.ranges)}
            complain(
                f"Level {choice.level} of 0–{choice.levels - 1} is labelled: objects of "
                f"{diameter:.4g} px have {choice.diameter_px:.4g} px there. The labels have its "
                "size and scale; --level 0 labels the finest."
            )
        diameter = choice.diameter_px
    tiling = tiling_for(diameter)
    return {**found, "tiling": tiling, "canvas_px": tiling.tile_px}


def _executor(args: argparse.Namespace) -> Executor | None:
    from litesam.volume import DaskExecutor, ProcessExecutor

    if args.scheduler is not None:
        if args.workers is not None:
            raise UsageError("--workers goes without --scheduler; write --scheduler local:N.")
        return DaskExecutor(args.scheduler)
    return None if args.workers is None else ProcessExecutor(args.workers)


def _dry_run(args: argparse.Namespace, options: dict[str, Any]) -> int:
    """Look at the image, time a few tiles, and say what all of it takes."""
    from litesam.cli.options import load_model
    from litesam.predictors import load_proposer
    from litesam.volume import estimate_cost, make_plan, probe_image
    from litesam.volume.labeler import checked_target
    from litesam.volume.source import VolumeSource

    checked_target(args.output, overwrite=args.overwrite)
    plan = make_plan(args.images[0], args.model, **options)
    predictor = load_model(args)
    proposer = None if plan.proposer is None else load_proposer(plan.proposer, predictor)
    workers = _workers(args)
    probe = probe_image(VolumeSource(args.images[0], plan.source), plan, predictor, proposer)
    cost = estimate_cost(plan, probe, workers)
    free = _free_bytes(args.output)
    if free < cost.disk_bytes:
        complain(
            f"The disk of {args.output} has {size_text(free)} left, less than it takes; make room, "
            "or choose another place for the output."
        )
    if args.json:
        say_json(
            {
                "image": str(args.images[0]),
                "level": plan.source.level,
                "axes": plan.axes,
                "shape": list(plan.shape),
                "planes": cost.planes,
                "blocks": cost.blocks,
                "tiles": cost.tiles,
                "workers": workers,
                "seconds": round(cost.seconds, 1),
                "seconds_per_tile": round(probe.tile_s, 4),
                "memory_bytes": cost.memory_bytes,
                "disk_bytes": cost.disk_bytes,
                "result_bytes": cost.result_bytes,
                "free_bytes": free,
            }
        )
        return 0
    say_fields(_cost_in_words(args, plan, cost, probe, free))
    return 0


def _free_bytes(output: Path) -> int:
    """How much room there is where an output will lie."""
    import shutil

    return shutil.disk_usage(output.absolute().parent).free


def _workers(args: argparse.Namespace) -> int:
    """How many workers the estimate is for."""
    executor = _executor(args)
    if args.scheduler is None or executor is None or executor.workers:
        return max(1, 1 if executor is None else executor.workers)
    from distributed import Client

    from litesam.errors import JobError

    try:
        with Client(args.scheduler, timeout=10, set_as_default=False) as client:
            return max(1, sum(int(n) for n in client.nthreads().values()))
    except (OSError, TimeoutError, ValueError) as error:
        raise JobError(
            f"The scheduler {args.scheduler} did not answer ({error or type(error).__name__}); "
            "check its address, or leave it out for an estimate of one worker."
        ) from error


def _cost_in_words(
    args: argparse.Namespace, plan: Plan, cost: Cost, probe: Probe, free: int
) -> dict[str, str]:
    from litesam.volume import duration_text

    shape = " × ".join(map(str, plan.shape))
    tiled = f" of {len(plan.blocks)}" if len(plan.blocks) > 1 else ""
    workers = f"{cost.workers} workers" if cost.workers > 1 else "1 worker"
    limits = plan.normalize.limits
    return {
        "image": f"{args.images[0]}: {plan.axes} {shape}",
        "blocks": f"{cost.blocks} ({cost.planes} planes{tiled}), "
        f"{cost.tiles} tiles of {plan.tiling.tile_px} px",
        "contrast": "of each plane" if limits is None else f"{limits[0]:g} … {limits[1]:g}",
        "linked": "no"
        if plan.link is None or plan.series == 1
        else f"{plan.series} planes in a row",
        "time": f"about {duration_text(cost.seconds)} with {workers} "
        f"({probe.tile_s:.2f} s a tile, {probe.objects_per_tile:.0f} objects in it)",
        "memory": f"about {size_text(cost.memory_bytes)} for each worker",
        "disk": f"about {size_text(cost.disk_bytes)} while it runs, "
        f"{size_text(cost.result_bytes)} in the end, of {size_text(free)} that are left",
    }
