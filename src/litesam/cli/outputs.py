"""Where the results of ``litesam label`` go: labels, overlay, object table, COCO document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from litesam.cli.terminal import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from litesam.objects import ObjectDetails
    from litesam.types import LabelArray

#: Options that may name a file: ending of the name, words for people, what is appended to the
#: labels' name where no name is given.
_EXTRAS = {
    "overlay": (".png", "a PNG picture", "_overlay.png"),
    "table": (".csv", "a CSV file", "_objects.csv"),
    "coco": (".json", "a JSON file", "_coco.json"),
}


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files of one image; None: not wanted."""

    labels: Path
    overlay: Path | None
    table: Path | None
    coco: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        extras = (self.overlay, self.table, self.coco)
        return (self.labels, *(path for path in extras if path is not None))

    def as_json(self) -> dict[str, str | None]:
        """Return the names, for the result."""
        extras = {name: getattr(self, name) for name in _EXTRAS}
        return {
            "output": str(self.labels),
            **{name: None if path is None else str(path) for name, path in extras.items()},
        }


def add_extra_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is written beside the labels."""
    for name, metavar, text in (
        (
            "overlay",
            "PNG",
            "also draw the objects over the image (of a stack: over the plane with most objects)",
        ),
        (
            "table",
            "CSV",
            "also write a table of the objects: place, size (physical, too, where the image says "
            "its scale), scores, model",
        ),
        ("coco", "JSON", "also write the objects as COCO JSON, one image for each plane"),
    ):
        parser.add_argument(
            f"--{name}",
            nargs="?",
            type=Path,
            const=Path(),
            metavar=metavar,
            help=f"{text}; without a name beside the labels",
        )


def outputs_of(image: Path, args: argparse.Namespace, *, is_file: bool) -> Outputs:
    """Names of the outputs of one image.

    Raises
    ------
    UsageError
        If a name has the wrong ending.
    """
    from litesam.io import stem

    labels = args.output if is_file else args.output / f"{stem(image)}_labels.{args.format}"
    found: dict[str, Path | None] = {}
    for name, (ending, what, appended) in _EXTRAS.items():
        path: Path | None = getattr(args, name)
        if path == Path():
            path = labels.with_name(f"{stem(labels).removesuffix('_labels')}{appended}")
        elif path is not None and path.suffix.lower() != ending:
            raise UsageError(f"The {name} {path} is {what}; let its name end with {ending}.")
        found[name] = path
    return Outputs(labels, **found)


def check_one_name_each(args: argparse.Namespace, images: Sequence[Path]) -> None:
    """Refuse one name for the extras of several images.

    Raises
    ------
    UsageError
        If there is such a name.
    """
    for name in _EXTRAS:
        if getattr(args, name) not in (None, Path()) and len(images) > 1:
            raise UsageError(f"With several images --{name} takes no name.")


def check_keeps_inputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse outputs that would replace what is read, also with ``--overwrite``.

    Raises
    ------
    WriteError
        If an output is an input, or a folder in which an input lies, or would be one of the images
        of a folder that is read as a stack.
    """
    from litesam.errors import WriteError
    from litesam.io import is_zarr

    read = [path for path in inputs if path is not None and path.exists()]
    for output in (path for path in outputs if path is not None):
        for path in read:
            if _replaces(output, path):
                raise WriteError(
                    f"{output} would replace {path}, which is read; give the output another name. "
                    "Nothing was changed."
                )
            is_stack = path.is_dir() and not is_zarr(path)
            among = output.resolve().parent == path.resolve()
            if is_stack and among and output.suffix.lower() in (".tif", ".tiff", ".png"):
                raise WriteError(
                    f"{output} would be one more image of the stack {path}; write it into another "
                    "folder."
                )


def _replaces(output: Path, path: Path) -> bool:
    """Whether writing the output would take the path away."""
    return output.exists() and (
        output.samefile(path) or path.resolve().is_relative_to(output.resolve())
    )


def write_lists(
    outputs: Outputs,
    labels: LabelArray,
    axes: str,
    scale: tuple[float, ...] | None,
    *,
    unit: str | None,
    details: Mapping[int, ObjectDetails],
    file_name: str,
    overwrite: bool,
) -> None:
    """Write the object table and the COCO document, as far as they are wanted.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    from litesam.objects import coco_document, measure_objects, write_coco, write_table

    if outputs.table is not None:
        rows = measure_objects(labels, axes, scale, details=details, each_time=True)
        write_table(outputs.table, rows, axes, unit=unit, overwrite=overwrite)
    if outputs.coco is not None:
        document = coco_document(labels, axes, file_name=file_name, details=details)
        write_coco(outputs.coco, document, overwrite=overwrite)
