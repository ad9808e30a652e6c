"""How good is a model on labelled images: prompts, everything mode, beside a baseline.

Prompts are simulated for every object of at least ``smallest_px`` pixels, at most
``objects_per_image`` of them: one click on the most central pixel, as in the evaluation of SAM
(Kirillov et al. 2023, Sec. 7.1), where of three masks the one of highest predicted IoU counts; five
clicks, each after the first in the middle of the largest error, with the mask so far as a prompt
where the model takes it; the bounding box; a bounding box drawn in a hurry.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.errors import Cancelled, ConfigError
from litesam.evaluation.baselines import otsu_watershed
from litesam.evaluation.metrics import (
    average_precision,
    average_recall,
    boundary_iou,
    boundary_width,
    mask_iou,
)
from litesam.evaluation.simulated import (
    bounding_box,
    central_click,
    correction_click,
    jittered_box,
)
from litesam.segmenter import Segmenter
from litesam.types import BoolArray, Box, EverythingConfig, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from litesam.io.labelled_folder import LabelledImage
    from litesam.predictors import Predictor
    from litesam.types import IsCancelled, LabelArray, MaskRecord, OnProgress

#: What `evaluate` can measure.
TASKS = ("click", "clicks", "box", "jittered_box", "everything", "baseline")
#: Clicks of the task "clicks"; IoU is measured after 3 and after 5.
_CLICKS = 5


@dataclass(frozen=True, slots=True)
class ImageScores:
    """Scores of one image; None where not measured or, for prompts, without objects.

    Attributes
    ----------
    name
        The image.
    objects
        Number of true objects.
    click_iou, box_iou, jittered_box_iou
        Mean IoU over the objects, one prompt each.
    clicks3_iou, clicks5_iou
        The same after three and after five clicks.
    click_biou, box_biou
        Mean boundary IoU of one click and of one box.
    ap50, ap75, msa
        Everything mode, ``TP / (TP + FP + FN)`` at IoU 0.5, at 0.75, and its mean over
        0.50:0.05:0.95.
    ar1000
        Average recall of the 1000 best objects of everything mode.
    predicted
        Number of objects that everything mode found.
    baseline_ap50, baseline_msa
        The same for the classical baseline.
    encode_s, everything_s
        Seconds for the embedding, and for everything mode after it.
    """

    name: str
    objects: int
    click_iou: float | None = None
    click_biou: float | None = None
    clicks3_iou: float | None = None
    clicks5_iou: float | None = None
    box_iou: float | None = None
    box_biou: float | None = None
    jittered_box_iou: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    msa: float | None = None
    ar1000: float | None = None
    predicted: int | None = None
    baseline_ap50: float | None = None
    baseline_msa: float | None = None
    encode_s: float | None = None
    everything_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """A true object that is asked for."""

    box: Box
    crop: BoolArray


def evaluate_image(
    predictor: Predictor,
    item: LabelledImage,
    *,
    tasks: Iterable[str] = TASKS,
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    smallest_px: int = 10,
    objects_per_image: int = 100,
) -> ImageScores:
    """Measure one image.

    Parameters
    ----------
    predictor
        The model.
    item
        Image and true labels.
    tasks
        Some of `TASKS`.
    proposals, config
        Of everything mode.
    smallest_px
        Smaller objects get no prompts (everything mode counts them).
    objects_per_image
        At most so many objects get prompts, evenly spread over the labels.

    Raises
    ------
    ConfigError
        For an unknown task.
    """
    wanted = set(tasks)
    if wanted - set(TASKS):
        raise ConfigError(f"Unknown tasks {sorted(wanted - set(TASKS))}; choose of {TASKS}.")
    values: dict[str, float | int] = {}
    axes = "YX" if item.image.ndim == 2 else "YXC"
    segmenter = Segmenter(item.image, predictor, axes)
    start = time.perf_counter()
    segmenter.embed()
    values["encode_s"] = time.perf_counter() - start
    targets = _targets(item.labels, smallest_px)
    prompted = _spread(targets, objects_per_image)
    if prompted:
        values |= _score_prompts(segmenter, prompted, wanted, item.name)
    if "everything" in wanted:
        start = time.perf_counter()
        labels, records = segmenter.everything(proposals=proposals, config=config)
        values["everything_s"] = time.perf_counter() - start
        scores = average_precision(item.labels, labels)
        values |= {"ap50": scores[0], "ap75": scores[5], "msa": float(scores.mean())}
        values |= {"ar1000": average_recall(item.labels, records), "predicted": len(records)}
    if "baseline" in wanted:
        scores = average_precision(item.labels, otsu_watershed(segmenter.plane().rgb))
        values |= {"baseline_ap50": scores[0], "baseline_msa": float(scores.mean())}
    objects = np.count_nonzero(np.unique(item.labels))
    return ImageScores(item.name, int(objects), **values)  # type: ignore[arg-type]


def evaluate(
    predictor: Predictor,
    items: Iterable[LabelledImage],
    *,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
    **options: object,
) -> list[ImageScores]:
    """Measure many images; see `evaluate_image` for the options."""
    scores = []
    for number, item in enumerate(items):
        if cancelled is not None and cancelled():
            raise Cancelled("The evaluation was cancelled.")
        scores.append(evaluate_image(predictor, item, **options))  # type: ignore[arg-type]
        if on_progress is not None:
            on_progress(Progress(number + 1, 0, item.name))
    return scores


def summarize(scores: Iterable[ImageScores]) -> dict[str, float]:
    """Mean of every measured column over the images."""
    rows = list(scores)
    means: dict[str, float] = {"images": float(len(rows))}
    for column in ImageScores.__dataclass_fields__:
        values = [getattr(row, column) for row in rows]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if numbers:
            means[column] = float(np.mean(numbers))
    return means


def _targets(labels: LabelArray, smallest_px: int) -> list[_Target]:
    """Objects of at least so many pixels, in the order of their labels."""
    targets = []
    for number, found in enumerate(ndimage.find_objects(labels)):
        if found is None:
            continue
        rows, columns = found
        crop = labels[found] == number + 1
        if np.count_nonzero(crop) >= smallest_px:
            targets.append(_Target(Box(rows.start, columns.start, rows.stop, columns.stop), crop))
    return targets


def _spread(targets: list[_Target], most: int) -> list[_Target]:
    if len(targets) <= most:
        return targets
    return [targets[int(i)] for i in np.linspace(0, len(targets) - 1, most)]


def _score_prompts(
    segmenter: Segmenter, targets: Sequence[_Target], wanted: set[str], name: str
) -> dict[str, float]:
    """Mean scores of the tasks that prompt each object."""
    scores: dict[str, float] = {}
    if "click" in wanted:
        clicks = [central_click(t.crop, t.box) for t in targets]
        scores["click_iou"], scores["click_biou"] = _one_each(segmenter, targets, clicks)
    if "clicks" in wanted:
        series = np.mean([_click_series(segmenter, target) for target in targets], axis=0)
        scores["clicks3_iou"], scores["clicks5_iou"] = float(series[2]), float(series[4])
    if "box" in wanted:
        boxes = [bounding_box(t.crop, t.box) for t in targets]
        scores["box_iou"], scores["box_biou"] = _one_each(segmenter, targets, boxes)
    if "jittered_box" in wanted:
        random = np.random.default_rng(zlib.crc32(name.encode()))  # the same in every run
        boxes = [jittered_box(t.box, segmenter.plane_shape, random) for t in targets]
        scores["jittered_box_iou"], _ = _one_each(segmenter, targets, boxes)
    return scores


def _one_each(
    segmenter: Segmenter, targets: Sequence[_Target], prompts: Sequence[Prompts]
) -> tuple[float, float]:
    """Mean IoU and mean boundary IoU of objects that get one set of prompts each."""
    width = boundary_width(segmenter.plane_shape)
    pairs = []
    for target, record in zip(targets, segmenter.segment_many(prompts), strict=True):
        true, predicted = _in_one_frame(target, record)
        pairs.append((mask_iou(true, predicted), boundary_iou(true, predicted, width)))
    iou, biou = np.mean(pairs, axis=0)
    return float(iou), float(biou)


def _click_series(segmenter: Segmenter, target: _Target) -> list[float]:
    """IoU after each of `_CLICKS` clicks on one object.

    A model that takes masks is given the mask so far with each click (Kirillov et al. 2023,
    Appendix A), unless it corrects that mask by itself.
    """
    true = np.zeros(segmenter.plane_shape, dtype=np.bool_)
    true[target.box.slices] = target.crop
    prompts = central_click(target.crop, target.box)
    spec = segmenter.predictor.spec
    takes_mask = "mask" in spec.prompts
    result = segmenter.segment(prompts)
    scores = [mask_iou(true, result.mask)]
    while len(scores) < _CLICKS:
        click = correction_click(true, result.mask)
        if click is None:
            return scores + [1.0] * (_CLICKS - len(scores))
        points = (*prompts.points, click)
        if spec.corrects:
            prompts = Prompts(points)
            result = segmenter.segment(prompts)
        else:
            low_res = result.masks.logits[0, result.candidate] if takes_mask else None
            prompts = Prompts(points, low_res_mask=low_res)
            result = segmenter.segment(prompts, tile=result.tile, multimask=False)
        scores.append(mask_iou(true, result.mask))
    return scores


def _in_one_frame(target: _Target, record: MaskRecord) -> tuple[BoolArray, BoolArray]:
    """True and predicted mask in the smallest box that holds both."""
    y0, x0 = min(target.box.y0, record.box.y0), min(target.box.x0, record.box.x0)
    y1, x1 = max(target.box.y1, record.box.y1), max(target.box.x1, record.box.x1)
    masks = []
    for part in (target, record):
        mask = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
        mask[part.box.y0 - y0 : part.box.y1 - y0, part.box.x0 - x0 : part.box.x1 - x0] = part.crop
        masks.append(mask)
    return masks[0], masks[1]
