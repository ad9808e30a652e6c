"""``litesam label``: images in, label images out; everything mode or prompts from a file."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from litesam.cli.carry import add_carry_options, is_carried, run_carry
from litesam.cli.options import (
    add_command,
    add_config_options,
    add_image_options,
    add_model_options,
    add_output_options,
    open_store,
)
from litesam.cli.outputs import (
    Outputs,
    add_extra_options,
    check_keeps_inputs,
    check_one_name_each,
    outputs_of,
    write_lists,
)
from litesam.cli.replay import check_session_options, run_session
from litesam.cli.terminal import Bars, UsageError, complain, progress_bars, say, say_json
from litesam.cli.volume import add_volume_options, is_job, run_job
from litesam.cli.wanted import PlaneLabeller, Wanted, add_wanted_options, load_wanted
from litesam.errors import Cancelled, ImageError, LiteSamError, WriteError
from litesam.types import EverythingConfig

if TYPE_CHECKING:
    import argparse

    from litesam.cli.stack import Planes
    from litesam.objects import ObjectDetails
    from litesam.predictors import Predictor
    from litesam.store import EmbeddingStore
    from litesam.types import LabelArray


_EXAMPLES = """\
  litesam label cells.tif -o labels.tif --overlay
  litesam label cells.tif -o labels.tif --table objects.csv --coco objects.json
  litesam label cells.png -o cells.ome.zarr --stability-threshold 0.9 --min-area-px 20
  litesam label plate/*.tif -o results/ --format ome.zarr --json
  litesam label stack.tif -o labels.tif --axes ZYX --limits 100 4000
  litesam label stack.tif -o slice12.tif --index 12
  litesam label volume.ome.zarr -o labels.ome.zarr --link --workers 4
  litesam label slide.ome.zarr -o labels.ome.zarr --object-diameter 8um --dry-run
  litesam label volume.ome.zarr -o labels.ome.zarr --link --ome-zarr 0.4
  litesam label cells.tif -o labels.tif --model mobile_sam --proposals auto_ppn
  litesam label cells.tif -o labels.tif --proposals grid --points-per-side 48 --crop-layers 1
  litesam label cells.tif -o labels.tif --boxes detections.csv
  litesam label cells.tif -o labels.tif --prompts clicks.csv
  litesam label stack.tif -o labels.ome.zarr --prompts clicks.csv --propagate
  litesam label cells.tif -o labels.tif --select clicks.csv
  litesam label --session cells.session.json -o labels.tif
  litesam label cells.tif -o labels.tif --model fastsam_s --text "a large dark nucleus"

prompts file: a CSV with a header; one row per point or box, rows of the same object belong
together:
  object,kind,y,x,label,y0,x0,y1,x1
  a,point,40.5,61,1,,,,
  a,point,52,61,0,,,,
  b,box,,,,10,20,35,48
label: 1 on the object, 0 beside it. For stacks add a column z (and t) with the slice, from 0.
"""
_FORMATS = ("tif", "ome.tif", "png", "ome.zarr")
_OUTPUT_ENDINGS = (".tif", ".tiff", ".png", ".zarr")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "label",
        "segment images into label images",
        "Segment images into label images (0 = background, 1 … N = objects). Without --prompts, "
        "--select and --text every object is labelled. Stacks are segmented plane by plane; no "
        "number is used twice in a stack. With --link the objects of a stack are linked; what does "
        "not fit in memory is a job of blocks.",
        _EXAMPLES,
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        metavar="IMAGE",
        help="TIFF, PNG, JPEG, OME-Zarr or .npy; a folder of planes",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="label image (.tif, .ome.tif, .png, .ome.zarr), or a folder for NAME_labels.tif",
    )
    parser.add_argument(
        "--format", choices=_FORMATS, default="tif", help="format in a folder (default: tif)"
    )
    parser.add_argument(
        "--ome-zarr",
        choices=("0.5", "0.4"),
        help="version of OME-Zarr outputs: 0.5 (Zarr 3, default), or 0.4 (Zarr 2) for programs "
        "that do not read 0.5",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    add_extra_options(parser)
    add_wanted_options(parser)
    cache = parser.add_argument_group("embeddings").add_mutually_exclusive_group()
    cache.add_argument(
        "--cache", action="store_true", help="use and fill the user's embedding cache"
    )
    cache.add_argument(
        "--store", type=Path, metavar="DIR", help="use and fill this embedding folder"
    )
    add_model_options(parser)
    add_image_options(parser)
    add_config_options(parser, EverythingConfig, "everything mode")
    add_volume_options(parser)
    add_carry_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Job:
    """One image and where its results go."""

    image: Path
    outputs: Outputs


class _Tools(NamedTuple):
    """What all images share."""

    predictor: Predictor
    store: EmbeddingStore | None
    wanted: Wanted


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.session is not None:
        names = tuple(option.name for option in fields(EverythingConfig))
        check_session_options(args, names)
    elif not args.images:
        raise UsageError("Name an image, or a session with --session.")
    _check_ome_zarr(args)
    if is_carried(args):
        return run_carry(args)
    read = (*args.images, args.session, args.prompts, args.select, args.boxes)
    inputs = (*read, args.proposer, args.weights)
    if is_job(args):
        check_keeps_inputs((args.output, args.tracks, args.objects), inputs)
        return run_job(args)
    jobs = _plan(args)
    check_keeps_inputs((path for job in jobs for path in job.outputs.files), inputs)
    if args.session is not None:
        return run_session(args, jobs[0].outputs)
    predictor, wanted = load_wanted(args)
    store = open_store(args.store) if args.store or args.cache else None
    tools = _Tools(predictor, store, wanted)
    results = []
    with progress_bars(quiet=args.quiet) as bars:
        for job in jobs:
            try:
                results.append(_label_file(job, args, tools, bars))
            except Cancelled:
                raise
            except LiteSamError as error:
                if len(jobs) == 1:
                    raise
                complain(str(error))
                results.append({"image": str(job.image), "error": str(error)})
    if args.json:
        say_json(results)
    else:
        _say_results(results)
    return 1 if any("error" in result for result in results) else 0


def _check_ome_zarr(args: argparse.Namespace) -> None:
    """Refuse a version of OME-Zarr for what will be none."""
    out: Path = args.output
    is_file = out.name.lower().endswith(_OUTPUT_ENDINGS)
    name = out.name.lower() if is_file else args.format
    if args.ome_zarr is not None and not name.endswith("zarr"):
        raise UsageError(
            f"--ome-zarr {args.ome_zarr} goes with an output that ends with .ome.zarr, or with "
            "--format ome.zarr."
        )


# ---------------------------------------------------------------------------------- what goes where


def _plan(args: argparse.Namespace) -> list[_Job]:
    """Names of all outputs; refuses before any work what could not be written at its end."""
    from litesam.io import check_output

    out: Path = args.output
    images: list[Path] = args.images or [args.session]
    is_file = out.name.lower().endswith(_OUTPUT_ENDINGS)
    if is_file and len(images) > 1:
        raise UsageError(f"{len(images)} images do not fit into one file {out}; give a folder.")
    check_one_name_each(args, images)
    if not is_file and out.suffix and not out.is_dir() and len(images) == 1:
        raise UsageError(
            f"{out} has an ending that labels cannot have; use .tif, .png or .ome.zarr."
        )
    if not is_file:
        _make_folder(out)
    jobs = [_Job(image, outputs_of(image, args, is_file=is_file)) for image in images]
    outputs = [path for job in jobs for path in job.outputs.files]
    if len(set(outputs)) != len(outputs):
        raise UsageError("Two images would be written to the same output; rename one of them.")
    for path in outputs:
        check_output(path, overwrite=args.overwrite)
    return jobs


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"The folder {path} cannot be made: {error.strerror}.") from error


# ----------------------------------------------------------------------------------------- the work


def _label_file(job: _Job, args: argparse.Namespace, tools: _Tools, bars: Bars) -> dict[str, Any]:
    """Label one image and write its outputs."""
    from litesam.cli.stack import open_planes
    from litesam.io import read_image, write_labels, write_overlay

    start = time.perf_counter()
    planes = open_planes(read_image(job.image), args, tools.predictor, tools.store)
    outputs = job.outputs
    _check_output_holds(outputs.labels, planes)
    labels, counts, details = _label_planes(planes, args, tools, bars, job.image.name)
    is_zarr = outputs.labels.name.lower().endswith(".zarr")
    pixels, pixel_axes = planes.pixels() if is_zarr else (None, None)
    write_labels(
        outputs.labels,
        labels,
        planes.label_axes,
        planes.scale,
        unit=planes.image.unit,
        overwrite=args.overwrite,
        image=pixels,
        image_axes=pixel_axes,
        ome_zarr=args.ome_zarr or "0.5",
    )
    write_lists(
        outputs,
        labels,
        planes.label_axes,
        planes.scale,
        unit=planes.image.unit,
        details=details,
        file_name=job.image.name,
        overwrite=args.overwrite,
    )
    if outputs.overlay is not None:
        fullest = max(range(len(counts)), key=counts.__getitem__)
        index = planes.indices[fullest]
        plane_labels = labels if planes.label_axes == "YX" else labels[index]
        rgb = planes.segmenter.plane(index or None).rgb
        write_overlay(outputs.overlay, rgb, plane_labels, overwrite=args.overwrite)
    return {
        "image": str(job.image),
        **outputs.as_json(),
        "model": tools.predictor.spec.name,
        "axes": planes.label_axes,
        "shape": list(labels.shape),
        "planes": len(planes.indices),
        "objects": sum(counts),
        "seconds": round(time.perf_counter() - start, 3),
    }


def _check_output_holds(output: Path, planes: Planes) -> None:
    """Refuse a stack before the work that its output could not hold."""
    if planes.label_axes != "YX" and output.suffix.lower() == ".png":
        raise WriteError(
            f"PNG holds one plane, the labels would have the axes {planes.label_axes}; write .tif "
            f"or "
            ".ome.zarr, or choose a plane with --index."
        )
    if not set(planes.label_axes) <= set("TZYX"):
        raise ImageError(
            f"Labels with the axes {planes.label_axes} cannot be written; name the axes of the "
            f"stack T or Z "
            "with --axes, or choose a plane with --index."
        )


def _label_planes(
    planes: Planes, args: argparse.Namespace, tools: _Tools, bars: Bars, title: str
) -> tuple[LabelArray, list[int], dict[int, ObjectDetails]]:
    """Labels of all chosen planes, numbered on, the number of objects of each plane, and what the
    model said about each.
    """
    import numpy as np

    from litesam.objects import ObjectDetails

    labeller = PlaneLabeller(planes, tools.wanted, args)
    result = np.zeros(planes.shape, dtype=np.int32)
    counts: list[int] = []
    details: dict[int, ObjectDetails] = {}
    bars.begin(title, len(planes.indices))
    for number, index in enumerate(planes.indices):
        labels, records = labeller.label(index, bars.part(number))
        first = sum(counts)
        labels[labels > 0] += first
        for one in records:
            details[first + one.label] = ObjectDetails(
                one.predicted_iou, one.stability, args.model, args.hq
            )
        result[... if planes.label_axes == "YX" else index] = labels
        counts.append(len(records))
    labeller.tell_missing()
    return result, counts, details


def _say_results(results: list[dict[str, Any]]) -> None:
    for result in results:
        if "error" in result:
            continue
        objects = "1 object" if result["objects"] == 1 else f"{result['objects']} objects"
        place = f" in {result['planes']} planes" if result["planes"] > 1 else ""
        say(f"{result['output']}: {objects}{place}, {result['seconds']:.1f} s")
        for extra in ("overlay", "table", "coco"):
            if result[extra] is not None:
                say(result[extra])
