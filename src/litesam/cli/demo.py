"""``litesam demo``: the bundled samples, segmented by the bundled weights, without any download."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.cli.options import add_command, add_model_options, add_output_options, load_model
from litesam.cli.terminal import progress_bars, say, say_json
from litesam.errors import WriteError
from litesam.samples import Sample
from litesam.types import PROPOSALS

if TYPE_CHECKING:
    import argparse

    from litesam.cli.terminal import Bars
    from litesam.predictors import Predictor

_EXAMPLES = """\
  litesam demo
  litesam demo --output somewhere/ --json
  litesam demo --proposals grid
"""
#: Slices of the stack: a third, the middle, two thirds of its height.
_SLICES = (17, 25, 33)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "demo",
        "segment the bundled samples",
        "Segment the bundled samples with the bundled weights (no download) and write labels as "
        "TIFF and OME-Zarr, "
        "overlays as PNG and a summary. Files of an earlier run are replaced.",
        _EXAMPLES,
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder of the results (default: demo-output)",
    )
    parser.add_argument(
        "--proposals",
        choices=PROPOSALS,
        help="how objects are looked for, see litesam label --help (default: the model's own)",
    )
    add_model_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True, eq=False)
class _Result:
    """One segmented sample."""

    sample: Sample
    labels: npt.NDArray[np.int32]
    truth: npt.NDArray[Any]
    rgb: npt.NDArray[np.uint8]
    shown: npt.NDArray[np.int32]
    seconds: float
    files: list[str]


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.everything import choose_proposals
    from litesam.io import write_gallery
    from litesam.models.registry import get_spec
    from litesam.samples import SAMPLES

    proposals = choose_proposals(get_spec(args.model), args.proposals)
    folder: Path = args.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    start = time.perf_counter()
    predictor = load_model(args)
    with progress_bars(quiet=args.quiet) as bars:
        results = [
            _segment(sample, predictor, proposals, folder, bars) for sample in SAMPLES.values()
        ]
    panels = [(f"{_shown_title(r)}: {_count(r)} objects", r.rgb, r.shown) for r in results]
    write_gallery(folder / "overview.png", panels, overwrite=True)
    summary = {
        "model": predictor.spec.name,
        "proposals": proposals,
        "device": predictor.device,
        "seconds": round(time.perf_counter() - start, 3),
        "samples": [_summary(result) for result in results],
        "overview": "overview.png",
    }
    _write_summary(folder, summary)
    if args.json:
        say_json(summary)
    else:
        say(_text(summary))
        say(f"Results are in {folder}; look at {folder / 'overview.png'}.")
    return 0


def _segment(
    sample: Sample, predictor: Predictor, proposals: str, folder: Path, bars: Bars
) -> _Result:
    """Segment one sample and write its files."""
    import numpy as np

    from litesam.io import read_image, read_labels, write_labels, write_overlay
    from litesam.preprocess import estimate_limits
    from litesam.samples import sample_labels_path, sample_path
    from litesam.segmenter import Segmenter
    from litesam.types import NormalizeConfig

    image = read_image(sample_path(sample.name)).array
    truth = np.asarray(read_labels(sample_labels_path(sample.name)).array)
    is_stack = "Z" in sample.axes
    normalize = NormalizeConfig(limits=estimate_limits(image)) if is_stack else None
    start = time.perf_counter()
    segmenter = Segmenter(image, predictor, sample.axes, normalize=normalize)
    indices = [(z,) for z in _SLICES] if is_stack else [()]
    bars.begin(sample.title, len(indices))
    planes: list[npt.NDArray[np.int32]] = []
    for number, index in enumerate(indices):
        labels, _ = segmenter.everything(
            index or None, proposals=proposals, on_progress=bars.part(number)
        )
        labels[labels > 0] += max((int(plane.max()) for plane in planes), default=0)
        planes.append(labels)
    seconds = time.perf_counter() - start

    labels = np.stack(planes) if is_stack else planes[0]
    axes, scale = ("ZYX", sample.scale) if is_stack else ("YX", sample.scale)
    if is_stack:  # the distance of the slices that were taken
        scale = (sample.scale[0] * (_SLICES[1] - _SLICES[0]), *sample.scale[1:])
    pixels = image[list(_SLICES)] if is_stack else image
    files = [f"{sample.name}_{end}" for end in ("labels.tif", "labels.ome.zarr", "overlay.png")]
    write_labels(folder / files[0], labels, axes, scale, overwrite=True)
    write_labels(
        folder / files[1],
        labels,
        axes,
        scale,
        overwrite=True,
        image=pixels,
        image_axes=sample.axes,
    )
    middle = len(planes) // 2
    rgb, shown = segmenter.plane(indices[middle] or None).rgb, planes[middle]
    write_overlay(folder / files[2], rgb, shown, overwrite=True)
    chosen = truth[list(_SLICES)] if is_stack else truth
    return _Result(sample, labels, chosen, rgb, shown, seconds, files)


def _shown_title(result: _Result) -> str:
    """Name of the plane that is shown."""
    if result.labels.ndim == 2:
        return result.sample.title
    return f"{result.sample.title}, slice {_SLICES[len(_SLICES) // 2]}"


def _count(result: _Result) -> int:
    """Objects of the picture that is shown."""
    import numpy as np

    return int(np.count_nonzero(np.unique(result.shown)))


# ------------------------------------------------------------------------------------------ summary


def _summary(result: _Result) -> dict[str, Any]:
    """Figures of one sample."""
    import numpy as np

    truth = _one_plane(result.truth, distinct=True)
    labels = _one_plane(result.labels, distinct=False)
    return {
        "sample": result.sample.name,
        "title": result.sample.title,
        "planes": len(_SLICES) if result.labels.ndim == 3 else 1,
        "objects": int(np.count_nonzero(np.unique(labels))),
        "objects_reference": int(np.count_nonzero(np.unique(truth))),
        "seconds": round(result.seconds, 3),
        **_quality(truth, labels),
        "licence": result.sample.licence,
        "source": result.sample.source,
        "files": result.files,
    }


def _one_plane(labels: npt.NDArray[Any], *, distinct: bool) -> npt.NDArray[np.int64]:
    """Slices one below the other as one plane; with ``distinct`` each slice has its own numbers."""
    import numpy as np

    planes = (labels if labels.ndim == 3 else labels[None]).astype(np.int64)
    if distinct:
        offsets = np.arange(len(planes))[:, None, None] * (int(planes.max()) + 1)
        planes = np.where(planes > 0, planes + offsets, 0)
    return planes.reshape(-1, planes.shape[-1])


def _quality(truth: npt.NDArray[Any], labels: npt.NDArray[Any]) -> dict[str, float]:
    """AP50, and the mean over the reference objects of the IoU with the label that fits best."""
    from litesam.evaluation.metrics import average_precision, iou_matrix

    iou = iou_matrix(truth, labels)
    return {
        "ap50": round(float(average_precision(truth, labels, (0.5,))[0]), 4),
        "mean_iou": round(float(iou.max(axis=1).mean()) if iou.size else 0.0, 4),
    }


def _write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the summary as text and as JSON."""
    import json

    from litesam.io import atomic_path

    for name, text in (
        ("summary.json", json.dumps(summary, indent=2, ensure_ascii=False)),
        ("summary.txt", _text(summary)),
    ):
        with atomic_path(folder / name, overwrite=True) as part:
            part.write_text(text + "\n", encoding="utf-8")


def _text(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"{summary['model']} ({summary['proposals']}) on {summary['device']}, "
        f"{summary['seconds']:.1f} s in all",
        "",
        f"{'sample':44}{'objects':>8}{'reference':>11}{'AP50':>7}{'mean IoU':>10}{'seconds':>9}",
    ]
    for one in summary["samples"]:
        title = one["title"] + (f" ({one['planes']} slices)" if one["planes"] > 1 else "")
        lines.append(
            f"{title:44}{one['objects']:>8}{one['objects_reference']:>11}{one['ap50']:>7.2f}"
            f"{one['mean_iou']:>10.2f}{one['seconds']:>9.1f}"
        )
    lines += [
        "",
        "AP50: objects found with IoU >= 0.5 / (found + missed + false).",
        "Mean IoU: of each reference object with the label that fits best.",
        "People drew the reference; none of these images was used for training.",
    ]
    return "\n".join(lines)
