"""What ``litesam label`` looks for: every object, or those that prompts, clicks or words mean."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from litesam.cli.options import config_from, load_model
from litesam.cli.terminal import UsageError, complain
from litesam.cli.words import add_words_options, check_words, load_scorer
from litesam.errors import ImageError, PromptError
from litesam.types import PROPOSALS, EverythingConfig, Progress

if TYPE_CHECKING:
    import argparse

    from litesam.cli.stack import Planes
    from litesam.merge import TextScorer
    from litesam.predictors import Predictor
    from litesam.types import Drawing, LabelArray, MaskRecord, ModelSpec, OnProgress, Prompts

    Index = tuple[int, ...]
    PlanePrompts = dict[Index, list[Prompts]]
    PlaneDrawings = dict[Index, list[Prompts]] | dict[Index, list[Drawing]]
    PlaneBoxes = dict[Index, list[tuple[float, float, float, float]]]

T = TypeVar("T")

#: Endings of label images that --prompts takes.
_LABEL_ENDINGS = (".tif", ".tiff", ".png", ".npy", ".zarr")

#: Options of everything mode that prompts of a file look at, too.
_PROMPT_OPTIONS = ("overlap_policy", "min_area_px")


def add_wanted_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is segmented."""
    group = parser.add_argument_group("what is segmented")
    group.add_argument(
        "--proposals",
        choices=PROPOSALS,
        help="everything: a grid of points (SAM); places and boxes that Lite-SAM's AutoPPN finds; "
        "boxes alone, of AutoPPN or of --boxes (MobileSAMv2); or the instances that the network "
        "finds by itself (FastSAM). Default: the model's own, see litesam models show NAME",
    )
    group.add_argument(
        "--boxes",
        type=Path,
        metavar="CSV",
        help="everything: one object for each box of this file, such as those of a detector; "
        "columns y0, x0, y1, x1, and z, t for stacks",
    )
    group.add_argument(
        "--proposer",
        type=Path,
        metavar="FILE",
        help="everything: weights file of a Lite-SAM of your own, or of litesam train-ppn for the "
        "model, whose AutoPPN proposes (default: the bundled Lite-SAM)",
    )
    group.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="only the objects of this file, each decoded: a CSV of prompts, a Points or Shapes "
        "layer that napari saved as CSV, or a label image",
    )
    group.add_argument(
        "--prompts-as",
        choices=("point", "box", "both", "mask"),
        help="what the labels of a label image become as --prompts: a point in the middle, the "
        "box, both, or the mask itself (default: both)",
    )
    group.add_argument(
        "--select",
        type=Path,
        metavar="CSV",
        help="find everything, keep only what the points and boxes of this prompts file choose; "
        "the decoder is not asked about them",
    )
    group.add_argument(
        "--session",
        type=Path,
        metavar="JSON",
        help="what was done in a saved session, again; IMAGE is not needed where it lies where the "
        "session says",
    )
    add_words_options(group)


class Wanted(NamedTuple):
    """What is looked for in all images.

    Attributes
    ----------
    config, proposals, proposer
        Everything mode.
    boxes, prompts, select
        Content of the files of that name, by plane, and None where there is no such file.
    labelled
        Shape of the label image that the prompts are made of; None: they are of a table.
    text, scorer
        Words, and what compares them with objects.
    """

    config: EverythingConfig
    proposals: str | None = None
    proposer: Predictor | None = None
    boxes: PlaneBoxes | None = None
    prompts: PlaneDrawings | None = None
    select: PlanePrompts | None = None
    text: str | None = None
    scorer: TextScorer | None = None
    labelled: tuple[int, ...] | None = None


def load_wanted(args: argparse.Namespace) -> tuple[Predictor, Wanted]:
    """Check the options, read the files, then load the model: mistakes cost no loading.

    Raises
    ------
    UsageError
        If options do not make sense together, or one would have no effect.
    ConfigError
        If the model cannot propose in the given way.
    ReadError, PromptError
        If a file is no prompts file.
    """
    from litesam.io import read_prompts_csv
    from litesam.models.registry import get_spec
    from litesam.predictors import load_proposer

    _check_together(args)
    config = config_from(args, EverythingConfig)
    _check_options(args, get_spec(args.model))
    prompts, labelled = None, None
    if args.prompts is not None:
        prompts, labelled = _read_prompts(args.prompts, args.prompts_as)
    select = None if args.select is None else read_prompts_csv(args.select)
    boxes = None if args.boxes is None else _read_boxes(args.boxes)
    predictor = load_model(args)
    proposer = scorer = None
    if args.proposer is not None:
        proposer = load_proposer(args.proposer, predictor)
    if args.text is not None:
        scorer = load_scorer(args, predictor.device)
    return predictor, Wanted(
        config, args.proposals, proposer, boxes, prompts, select, args.text, scorer, labelled
    )


def _check_together(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    given = [
        f"--{name}"
        for name in ("prompts", "select", "text", "boxes", "proposals", "proposer")
        if getattr(args, name) is not None
    ]
    for kind, others in {
        "--prompts": ("--proposals", "--boxes", "--proposer", "--select", "--text"),
        "--text": ("--select",),
        "--boxes": ("--proposer",),
    }.items():
        wrong = [name for name in given if name in others]
        if kind in given and wrong:
            raise UsageError(f"{kind} goes without {' and '.join(wrong)}.")
    for kind in ("--prompts", "--boxes", "--select"):
        if kind in given and len(args.images) > 1:
            raise UsageError(f"{kind} goes with one image, here are {len(args.images)}.")
    if args.prompts_as is not None and args.prompts is None:
        raise UsageError("--prompts-as goes with --prompts.")
    check_words(args)


def _check_options(args: argparse.Namespace, spec: ModelSpec) -> None:
    """Refuse ways of proposing that the model lacks, and options that nothing would look at."""
    from litesam.everything import choose_proposals, uses_option, ways_of_option

    given = [f.name for f in fields(EverythingConfig) if getattr(args, f.name) is not None]
    if args.prompts is not None:
        unused = [name for name in given if name not in _PROMPT_OPTIONS]
        if unused:
            raise UsageError(f"{_flags(unused)} would have no effect with --prompts.")
        return
    with_boxes = args.boxes is not None
    proposals = choose_proposals(spec, args.proposals, with_boxes=with_boxes)
    if args.proposer is not None and proposals not in ("auto_ppn", "boxes"):
        raise UsageError(
            f"--proposer would have no effect with the proposals {proposals!r} of {spec.name}; "
            "add --proposals auto_ppn or --proposals boxes."
        )
    for name in given:
        if uses_option(name, proposals, with_boxes=with_boxes):
            continue
        possible = [way for way in ways_of_option(name) if way in spec.proposals]
        advice = f"add --proposals {' or '.join(possible)}" if possible else "leave it out"
        if with_boxes:
            raise UsageError(f"{_flags([name])} would have no effect with --boxes.")
        default = "" if args.proposals else f", the default of {spec.name}"
        raise UsageError(
            f"{_flags([name])} would have no effect with the proposals {proposals!r}{default}; "
            f"{advice}."
        )


def _flags(names: list[str]) -> str:
    return " and ".join("--" + name.replace("_", "-") for name in names)


def _read_prompts(
    path: Path, labels_as: str | None
) -> tuple[PlaneDrawings, tuple[int, ...] | None]:
    """Prompts of a CSV file of ours or of napari's, or of a label image, for each plane; and the
    shape of the label image.
    """
    from litesam.io import is_napari_csv, read_napari_csv, read_prompts_csv

    if path.suffix.lower() in _LABEL_ENDINGS:
        return _read_labels(path, labels_as or "both")
    if labels_as is not None:
        raise UsageError(f"--prompts-as is for label images; {path} is none.")
    return read_napari_csv(path) if is_napari_csv(path) else read_prompts_csv(path), None


def _read_labels(path: Path, labels_as: str) -> tuple[PlaneDrawings, tuple[int, ...]]:
    """Prompts for the objects of a label image, and its shape."""
    from litesam.io import read_labels
    from litesam.prompting import drawings_from_labels

    image = read_labels(path)
    shape = tuple(int(size) for size in image.array.shape)
    if (image.axes or "").endswith("C"):
        raise PromptError(
            f"{path} is a colour picture of shape {shape}; labels are one whole number for each "
            "pixel, 0 for the background and another one for each object."
        )
    try:
        found = drawings_from_labels(image.array, labels_as)
    except ImageError as error:
        raise PromptError(f"{path}: {error}") from error
    if not found:
        raise PromptError(f"{path} has no labels, only background; there is nothing to do.")
    return found, shape


def _read_boxes(path: Path) -> PlaneBoxes:
    """Boxes of a prompts file, for each plane."""
    from litesam.io import read_prompts_csv

    found: PlaneBoxes = {}
    for index, prompts in read_prompts_csv(path).items():
        boxes = found.setdefault(index, [])
        for one in prompts:
            if one.box is None or one.points:
                raise PromptError(
                    f"{path} has points; --boxes takes boxes alone (y0, x0, y1, x1). Points are "
                    "for --prompts and --select."
                )
            boxes.append((one.box.y0, one.box.x0, one.box.y1, one.box.x1))
    return found


# ------------------------------------------------------------------------------------ of one image


class PlaneLabeller:
    """Labels planes of one image; what files say is checked for all of them at once.

    Parameters
    ----------
    planes
        The image.
    wanted
        What is looked for.
    args
        The options; for messages.
    """

    def __init__(self, planes: Planes, wanted: Wanted, args: argparse.Namespace) -> None:
        self._planes = planes
        self._wanted = wanted
        self._boxes = _by_plane(wanted.boxes, planes, args.boxes)
        if wanted.labelled is not None:
            _check_labelled(wanted.labelled, planes, args.prompts)
        self._prompts = _decodable(
            _by_plane(wanted.prompts, planes, args.prompts), planes, args.prompts
        )
        self._select = _by_plane(wanted.select, planes, args.select)
        for index, prompts in (self._select or {}).items():
            _check_inside(prompts, planes.segmenter.plane_shape, index, args.select)
        self._asked = self._found = self._painted_objects = 0

    def label(self, index: Index, on_progress: OnProgress) -> tuple[LabelArray, list[MaskRecord]]:
        """Labels 1 … N of one plane, and the N objects with their labels."""
        segmenter, wanted = self._planes.segmenter, self._wanted
        if self._prompts is not None:
            prompts = self._prompts.get(index, [])
            if not prompts:
                return self._painted([], on_progress)
            records = segmenter.segment_many(prompts, index or None, on_progress=on_progress)
            return self._painted(records, on_progress)
        if self._select is not None:
            from litesam.merge import select_by_prompts

            chosen = self._select.get(index, [])
            objects = self._objects(index, on_progress) if chosen else []
            return self._painted([select_by_prompts(objects, p) for p in chosen], on_progress)
        if wanted.text is not None and wanted.scorer is not None:
            record = segmenter.segment_text(
                wanted.text,
                index or None,
                scorer=wanted.scorer,
                objects=self._objects(index, on_progress),
            )
            return self._painted([] if record is None else [record], on_progress)
        labels, painted = segmenter.everything(
            index or None, **self._everything(index, on_progress)
        )
        return labels, list(painted)

    def tell_missing(self) -> None:
        """Say for how many prompts there is no object, and how many objects were left out."""
        if self._found < self._asked:
            complain(f"Nothing was found for {self._asked - self._found} of {self._asked} prompts.")
        if self._painted_objects < self._found:
            left_out = self._found - self._painted_objects
            complain(
                f"{left_out} of {self._found} objects are not in the labels: others cover them "
                "(--overlap-policy says who keeps the pixels), or they are smaller than "
                "--min-area-px."
            )

    def _objects(self, index: Index, on_progress: OnProgress) -> list[MaskRecord]:
        return self._planes.segmenter.find_objects(
            index or None, **self._everything(index, on_progress)
        )

    def _everything(self, index: Index, on_progress: OnProgress) -> dict[str, Any]:
        """Arguments of everything mode."""
        return {
            "proposals": self._wanted.proposals,
            "config": self._wanted.config,
            "boxes": None if self._boxes is None else self._boxes.get(index, []),
            "proposer": self._wanted.proposer,
            "on_progress": on_progress,
        }

    def _painted(
        self, records: list[MaskRecord], on_progress: OnProgress
    ) -> tuple[LabelArray, list[MaskRecord]]:
        """Labels of chosen objects, in their order."""
        from litesam.merge import paint_labels

        config = self._wanted.config
        labels, painted = paint_labels(
            records,
            self._planes.segmenter.plane_shape,
            config.overlap_policy or "score",
            min_area_px=config.min_area_px,
            min_visible=config.min_visible or 0.0,
        )
        self._asked += len(records)
        self._found += sum(record.area > 0 for record in records)
        self._painted_objects += len(painted)
        on_progress(Progress(1, 1, ""))
        return labels, painted


def _by_plane(given: dict[Index, T] | None, planes: Planes, path: Path) -> dict[Index, T] | None:
    """What a file says, under the index of its plane."""
    if given is None:
        return None
    if list(given) == [()] and len(planes.indices) == 1:
        return {planes.indices[0]: given[()]}
    known = set(planes.indices)
    leading = planes.leading
    for index in given:
        if len(index) != len(leading) and not leading:
            raise PromptError(
                f"{path} says where in a stack its prompts lie, but the image is one plane (axes "
                f"{planes.axes}); leave the columns z and t out."
            )
        if len(index) != len(leading):
            columns = ("column " if len(leading) == 1 else "columns ") + " and ".join(
                leading.lower()
            )
            raise PromptError(
                f"{path}: an image with the axes {planes.axes} needs the {columns} beside the "
                "coordinates; or choose one plane with --index."
            )
        if index not in known and planes.chosen is None:
            raise PromptError(
                f"{path}: there is no plane {', '.join(map(str, index))}; the stack has "
                f"{' × '.join(map(str, planes.shape[:-2]))} planes, counted from 0."
            )
    if not known & set(given):
        raise PromptError(f"{path} has no prompts for the plane {planes.chosen}.")
    return given


def _check_labelled(shape: tuple[int, ...], planes: Planes, path: Path) -> None:
    """Refuse a label image of another size than the image."""
    sizes = dict(zip(planes.axes, planes.image.array.shape, strict=True))
    leading = tuple(int(sizes[letter]) for letter in planes.leading)
    one_plane = len(planes.indices) == 1 and len(shape) == 2
    if shape[-2:] != planes.segmenter.plane_shape or not (one_plane or shape[:-2] == leading):
        wanted = (*leading, *planes.segmenter.plane_shape)
        raise PromptError(
            f"{path} has labels of {' × '.join(map(str, shape))} pixels, the image has "
            f"{' × '.join(map(str, wanted))}; give the labels of this image."
        )


def _decodable(given: Any, planes: Planes, path: Path) -> PlanePrompts | None:
    """Prompts as they are, drawings as prompts for the model; none lies outside the image."""
    from litesam.prompting import prompts_from_drawing
    from litesam.tiling import tile_for_prompts
    from litesam.types import Drawing

    if given is None:
        return None
    segmenter = planes.segmenter

    def one(prompts: Any) -> Prompts:
        if isinstance(prompts, Drawing):
            return prompts_from_drawing(prompts, segmenter.predictor.spec, segmenter.tiles)
        return prompts  # type: ignore[no-any-return]

    found: PlanePrompts = {}
    for index, many in given.items():
        for number, prompts in enumerate(many, start=1):
            try:
                found.setdefault(index, []).append(one(prompts))
                tile_for_prompts(segmenter.tiles, found[index][-1])
            except PromptError as error:
                where = f" of plane {', '.join(map(str, index))}" if index else ""
                raise PromptError(f"{path}, object number {number}{where}: {error}") from error
    return found


def _check_inside(
    prompts: list[Prompts], shape_yx: tuple[int, int], index: Index, path: Path
) -> None:
    """Refuse points and boxes that lie outside the plane; they would choose nothing."""
    height, width = shape_yx
    for one in prompts:
        places = [(p.y, p.x, p.y, p.x) for p in one.points]
        places += [] if one.box is None else [(one.box.y0, one.box.x0, one.box.y1, one.box.x1)]
        for y0, x0, y1, x1 in places:
            if y1 < -0.5 or x1 < -0.5 or y0 >= height - 0.5 or x0 >= width - 0.5:
                where = f" of plane {', '.join(map(str, index))}" if index else ""
                raise PromptError(
                    f"{path}: a point or box at ({y0:g}, {x0:g}){where} lies outside the image of "
                    f"{height} × {width} pixels."
                )
