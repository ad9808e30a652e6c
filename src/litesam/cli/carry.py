"""``litesam label --propagate``: the objects of a prompts file, carried through a stack.

Objects that are prompted on a few slices are followed to their ends, see
`litesam.volume.propagate`. A series of stacks is gone through stack by stack, each with the prompts
at its own time.
"""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.cli.options import add_config_options, load_model, open_store
from litesam.cli.outputs import check_keeps_inputs
from litesam.cli.terminal import UsageError, progress_bars, say, say_json
from litesam.errors import PromptError
from litesam.types import EverythingConfig, LinkConfig, PropagateConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    import numpy.typing as npt

    from litesam.cli.stack import Planes
    from litesam.types import AnyArray, BoolArray, LabelArray, Prompts
    from litesam.volume.propagated import Propagated, Seed

    Index = tuple[int, ...]
    Known = Prompts | BoolArray

#: Fields of `PropagateConfig` whose names belong to other options: one is shared with linking, the
#: other has another name here.
_SHARED, _RENAMED = "min_overlap", "prompt_kind"
_LABEL_ENDINGS = (".tif", ".tiff", ".png", ".npy", ".zarr")
_ENDINGS = (".tif", ".tiff", ".zarr")


def add_carry_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of objects that are carried."""
    title = "objects carried through a stack (--propagate)"
    add_config_options(parser, PropagateConfig, title, leave_out=(_SHARED, _RENAMED), unset="all")
    group = parser.add_argument_group("more about --propagate")
    group.add_argument(
        "--propagate",
        action="store_true",
        help="carry the objects of --prompts through the stack, upwards and downwards, from all "
        "slices on which they are prompted, until the model loses them",
    )
    group.add_argument(
        "--carry-by",
        dest="carry_by",
        choices=_choices(),
        help="what the decoder is told about the slice before: the box of the mask, its central "
        "point, both, box and mask (for models that take masks), or all (default: both)",
    )
    group.add_argument(
        "--confidence",
        type=Path,
        metavar="CSV",
        help="also write how sure each object is in each slice (object, label, slice, prompted, "
        "confidence), the least sure first",
    )


def _choices() -> tuple[str, ...]:
    spec = next(spec for spec in fields(PropagateConfig) if spec.name == _RENAMED)
    found: tuple[str, ...] = spec.metadata["choices"]
    return found


def _own_options() -> tuple[str, ...]:
    kept = (spec.name for spec in fields(PropagateConfig))
    names = (name for name in kept if name not in (_SHARED, _RENAMED))
    return (*names, "carry_by", "confidence")


def is_carried(args: argparse.Namespace) -> bool:
    """Whether objects are carried.

    Raises
    ------
    UsageError
        If options of it stand without it.
    """
    if args.propagate:
        return True
    for name in _own_options():
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} goes with --propagate.")
    return False


def _check_together(args: argparse.Namespace) -> None:
    """Refuse what is missing, and options that would have no effect."""
    if args.prompts is None:
        raise UsageError("--propagate goes with --prompts: a file that says which objects.")
    linking = tuple(s.name for s in fields(LinkConfig) if s.name != _SHARED)
    other = (
        *("select", "text", "session", "boxes", "proposals", "proposer", "prompts_as"),
        *("overlay", "table", "coco", "index", "per_plane", "link", "range", "time", "tracks"),
        *("objects", "level", "workers", "scheduler", "dry_run", "restart", "block_px"),
        *("object_diameter", *linking, *(s.name for s in fields(EverythingConfig))),
    )
    for name in other:
        if getattr(args, name) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} goes without --propagate.")
    if len(args.images) != 1:
        raise UsageError(f"--propagate goes with one image, here are {len(args.images)}.")
    if args.output.suffix.lower() not in _ENDINGS:
        raise UsageError("With --propagate the output ends with .ome.zarr or .tif.")
    if args.confidence is not None and args.confidence.suffix.lower() != ".csv":
        raise UsageError(f"{args.confidence} is a CSV file; let its name end with .csv.")


# ------------------------------------------------------------------------------------- the prompts


@dataclass(frozen=True, slots=True)
class _Objects:
    """Objects of a prompts file.

    Attributes
    ----------
    axes
        Letters of the places, such as Z or TZ.
    names
        By label.
    known
        By label and place: prompts, or a mask.
    """

    axes: str
    names: dict[int, str]
    known: dict[tuple[int, Index], Known]


def _read(path: Path, leading: str, shape: tuple[int, ...]) -> _Objects:
    """Objects of a CSV file or of a label image.

    Raises
    ------
    PromptError, ReadError
        If they do not fit the stack.
    """
    if path.suffix.lower() in _LABEL_ENDINGS:
        return _read_labels(path, leading, shape)
    from litesam.io import is_napari_csv, read_prompted_objects

    if is_napari_csv(path):
        raise PromptError(
            f"{path} is a layer that napari saved, in which objects have no names that hold over "
            "slices; --propagate takes a prompts file (object,kind,z,y,x,label,…) or a label image."
        )
    axes, objects = read_prompted_objects(path)
    if axes != leading:
        columns = " and ".join(leading.lower())
        raise PromptError(
            f"{path} needs the column{'s' if len(leading) > 1 else ''} {columns} beside the "
            f"coordinates, for a stack with the axes {leading}YX; it has "
            f"{' and '.join(axes.lower()) or 'none'}."
        )
    labels = _labels_of(list(objects))
    known: dict[tuple[int, Index], Known] = {}
    for name, places in objects.items():
        for place, prompts in places.items():
            for letter, at, length in zip(leading, place, shape, strict=False):
                if at >= length:
                    raise PromptError(
                        f"{path}: object {name} is prompted at {letter.lower()} = {at}; the stack "
                        f"has 0 … {length - 1}."
                    )
            known[labels[name], place] = prompts
    return _Objects(axes, {label: name for name, label in labels.items()}, known)


def _labels_of(names: list[str]) -> dict[str, int]:
    """Labels of objects: their names if all are different numbers from 1 on, or else 1 … N."""
    if all(name.isdecimal() for name in names):
        numbers = [int(name) for name in names]
        if min(numbers) > 0 and len(set(numbers)) == len(numbers) and max(numbers) < 2**31:
            return dict(zip(names, numbers, strict=True))
    return {name: number for number, name in enumerate(names, start=1)}


def _read_labels(path: Path, leading: str, shape: tuple[int, ...]) -> _Objects:
    """Objects that are painted on some slices, with their labels."""
    from litesam.io import read_labels

    array = read_labels(path).array
    if tuple(array.shape) != shape:
        raise PromptError(
            f"{path} has labels of {' × '.join(map(str, array.shape))} pixels, the image has "
            f"{' × '.join(map(str, shape))}; paint a few slices of labels of the size of the image."
        )
    known: dict[tuple[int, Index], Known] = {}
    for place in np.ndindex(shape[:-2]):
        plane = np.asarray(array[place])
        for label in np.unique(plane[plane != 0]):
            if not 0 < label < 2**31:
                raise PromptError(f"{path} has the label {label}; labels are 1 … {2**31 - 1}.")
            known[int(label), place] = plane == label
    if not known:
        raise PromptError(f"{path} has no labels, only background; paint the objects on a slice.")
    return _Objects(leading, {label: str(label) for label, _ in sorted(known)}, known)


# ---------------------------------------------------------------------------------------- the work


class _Carried:
    """Labels of a stack, or of a series of stacks, painted plane by plane when they are asked for.

    Parameters
    ----------
    shape
        Of the labels.
    results
        What was found, by the place of the stack.
    """

    def __init__(self, shape: tuple[int, ...], results: Mapping[Index, Propagated]) -> None:
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(np.int32)
        self._results = results

    def __getitem__(self, index: Index) -> LabelArray:
        found = self._results.get(tuple(index[:-1]))
        if found is None:
            return np.zeros(self.shape[-2:], dtype=np.int32)
        return found.labels(int(index[-1]))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> AnyArray:
        labels = np.zeros(self.shape, dtype=dtype or self.dtype)
        for index in np.ndindex(self.shape[:-2]):
            labels[index] = self[index]
        return labels


def run_carry(args: argparse.Namespace) -> int:
    """Carry the objects of a file through one stack."""
    from litesam.cli.stack import open_planes
    from litesam.io import check_output, read_image, write_labels

    _check_together(args)
    start = time.perf_counter()
    for path in (args.output, args.confidence):
        if path is not None:
            check_output(path, overwrite=args.overwrite)
    check_keeps_inputs(
        (args.output, args.confidence), (*args.images, args.prompts, args.weights, args.store)
    )
    config = _config(args)
    image = read_image(args.images[0])
    predictor = load_model(args)
    store = open_store(args.store) if args.store or args.cache else None
    planes = open_planes(image, args, predictor, store)
    if planes.label_axes == "YX":
        raise UsageError(
            f"{args.images[0]} is one plane (axes {planes.axes}); --propagate goes through a stack."
        )
    objects = _read(args.prompts, planes.leading, planes.shape)
    with progress_bars(quiet=args.quiet) as bars:
        results = _carry(planes, objects, config, bars, args.images[0].name)
    labels = _Carried(planes.shape, results)
    write_labels(
        args.output,
        labels,
        planes.label_axes,
        planes.scale,
        unit=image.unit,
        overwrite=args.overwrite,
        ome_zarr=args.ome_zarr or "0.5",
    )
    rows = _rows(objects, results)
    if args.confidence is not None:
        _write_rows(args.confidence, objects.axes, rows)
    _say(args, planes, objects, rows, time.perf_counter() - start)
    return 0


def _config(args: argparse.Namespace) -> PropagateConfig:
    given = {name: getattr(args, name) for name in _own_options() if name != "confidence"}
    given[_RENAMED] = given.pop("carry_by")
    given[_SHARED] = args.min_overlap
    return PropagateConfig(**{name: value for name, value in given.items() if value is not None})


def _carry(
    planes: Planes, objects: _Objects, config: PropagateConfig, bars: Any, title: str
) -> dict[Index, Propagated]:
    """Carry the objects of each stack of a series."""
    from litesam.volume.propagate import propagate
    from litesam.volume.propagated import Seed

    stacks: dict[Index, list[Seed]] = defaultdict(list)
    for (label, place), known in objects.known.items():
        is_mask = isinstance(known, np.ndarray)
        seed = Seed(label, place[-1], mask=known) if is_mask else Seed(label, place[-1], known)  # type: ignore[arg-type]
        stacks[place[:-1]].append(seed)
    bars.begin(title, len(stacks))
    found: dict[Index, Propagated] = {}
    for number, (others, seeds) in enumerate(sorted(stacks.items())):
        found[others] = propagate(
            planes.segmenter,
            seeds,
            axis=planes.leading[-1],
            index=others,
            config=config,
            on_progress=bars.part(number),
        )
    return found


# ------------------------------------------------------------------------------------- the results


@dataclass(frozen=True, slots=True)
class _Row:
    """One object in one slice."""

    name: str
    label: int
    place: Index
    prompted: bool
    confidence: float


def _rows(objects: _Objects, results: Mapping[Index, Propagated]) -> list[_Row]:
    """All slices of all objects, the least sure first."""
    rows = [
        _Row(objects.names[label], label, (*others, at), at in result.seeds[label], value)
        for others, result in results.items()
        for label, values in result.confidence.items()
        for at, value in values.items()
    ]
    return sorted(rows, key=lambda row: (row.prompted, row.confidence, row.label, row.place))


def _write_rows(path: Path, axes: str, rows: list[_Row]) -> None:
    from litesam.io import atomic_path

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["object", "label", *axes.lower(), "prompted", "confidence"])
    for row in rows:
        certain = f"{row.confidence:.4f}"
        table.writerow([row.name, row.label, *row.place, int(row.prompted), certain])
    with atomic_path(path, overwrite=True) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def _say(
    args: argparse.Namespace,
    planes: Planes,
    objects: _Objects,
    rows: list[_Row],
    seconds: float,
) -> None:
    worst = next((row for row in rows if not row.prompted), None)
    where = (
        ""
        if worst is None
        else ", ".join(
            f"{axis.lower()} = {at}" for axis, at in zip(objects.axes, worst.place, strict=True)
        )
    )
    slices = len({row.place for row in rows})
    if args.json:
        about = {
            "image": str(args.images[0]),
            "output": str(args.output),
            "confidence": None if args.confidence is None else str(args.confidence),
            "model": args.model,
            "axes": planes.label_axes,
            "shape": list(planes.shape),
            "objects": len(objects.names),
            "slices": slices,
            "worst": None
            if worst is None
            else {
                "object": worst.name,
                "label": worst.label,
                "place": list(worst.place),
                "confidence": round(worst.confidence, 4),
            },
            "seconds": round(seconds, 3),
        }
        say_json([about])
        return
    count = "1 object" if len(objects.names) == 1 else f"{len(objects.names)} objects"
    say(f"{args.output}: {count} carried through {slices} slices, {seconds:.1f} s")
    if worst is not None:
        say(f"Look at {where} first: object {worst.name}, confidence {worst.confidence:.2f}.")
    if args.confidence is not None:
        say(str(args.confidence))
