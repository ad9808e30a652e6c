"""How good is a model on labelled images: one click, one box, everything mode, beside a baseline.

Click: the most central pixel of the object (largest distance to its edge), as in the evaluation of
SAM (Kirillov et al. 2023, Sec. 7.1); of the three masks the one of highest predicted IoU. Box: the
object's bounding box. Prompts are simulated for every object of at least ``smallest_px`` pixels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from litesam.errors import ConfigError
from litesam.evaluation.metrics import average_precision
from litesam.segmenter import Segmenter
from litesam.types import BoxPrompt, EverythingConfig, PointPrompt, Prompts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litesam.io.labelled_folder import LabelledImage
    from litesam.predictors import Predictor
    from litesam.types import AnyArray, IsCancelled, LabelArray, MaskRecord, OnProgress

#: What `evaluate` can measure.
TASKS = ("click", "box", "everything", "baseline")


@dataclass(frozen=True, slots=True)
class ImageScores:
    """Scores of one image; None where not measured or, for prompts, without objects.

    Attributes
    ----------
    name
        The image.
    objects
        Number of true objects.
    click_iou, box_iou
        Mean IoU over the objects, one prompt each.
    ap50, msa
        Everything mode.
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
    box_iou: float | None = None
    ap50: float | None = None
    msa: float | None = None
    predicted: int | None = None
    baseline_ap50: float | None = None
    baseline_msa: float | None = None
    encode_s: float | None = None
    everything_s: float | None = None


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
    names = [int(n) for n in np.unique(item.labels) if n]
    prompted = _spread(
        [n for n in names if np.count_nonzero(item.labels == n) >= smallest_px], objects_per_image
    )
    if prompted and "click" in wanted:
        values["click_iou"] = _prompt_iou(segmenter, item.labels, prompted, central_click)
    if prompted and "box" in wanted:
        values["box_iou"] = _prompt_iou(segmenter, item.labels, prompted, bounding_box)
    if "everything" in wanted:
        start = time.perf_counter()
        labels, records = segmenter.everything(proposals=proposals, config=config)
        values["everything_s"] = time.perf_counter() - start
        scores = average_precision(item.labels, labels)
        values |= {"ap50": scores[0], "msa": float(scores.mean()), "predicted": len(records)}
    if "baseline" in wanted:
        scores = average_precision(item.labels, otsu_watershed(segmenter.plane().rgb))
        values |= {"baseline_ap50": scores[0], "baseline_msa": float(scores.mean())}
    return ImageScores(item.name, len(names), **values)  # type: ignore[arg-type]


def evaluate(
    predictor: Predictor,
    items: Iterable[LabelledImage],
    *,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
    **options: object,
) -> list[ImageScores]:
    """Measure many images; see `evaluate_image` for the options."""
    from litesam.errors import Cancelled
    from litesam.types import Progress

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


def central_click(mask: AnyArray, box: tuple[slice, slice]) -> Prompts:
    """Click on the pixel of the object that is farthest from its edge."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return Prompts(points=(PointPrompt(float(y) + box[0].start, float(x) + box[1].start),))


def bounding_box(mask: AnyArray, box: tuple[slice, slice]) -> Prompts:
    """Box of the object."""
    rows, columns = box
    return Prompts(box=BoxPrompt(rows.start, columns.start, rows.stop, columns.stop))


def otsu_watershed(rgb: AnyArray) -> LabelArray:
    """Classical baseline: Otsu's threshold, then a watershed of the distance transform.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8. The polarity is that in which the foreground is the smaller part.

    Returns
    -------
    ndarray
        (H, W) int32 labels.
    """
    grey = gaussian(rgb.mean(axis=2), 1.0)
    if grey.max() <= grey.min():
        return np.zeros(grey.shape, dtype=np.int32)
    foreground = grey > threshold_otsu(grey)
    if foreground.mean() > 0.5:
        foreground = ~foreground
    distance = gaussian(ndimage.distance_transform_edt(foreground), 1.0)
    regions, _ = ndimage.label(foreground)
    peaks = peak_local_max(distance, min_distance=5, labels=regions, exclude_border=False)
    markers = np.zeros(grey.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: LabelArray = watershed(-distance, markers, mask=foreground).astype(np.int32)
    return labels


def _spread(names: list[int], most: int) -> list[int]:
    if len(names) <= most:
        return names
    return [names[int(i)] for i in np.linspace(0, len(names) - 1, most)]


def _prompt_iou(
    segmenter: Segmenter,
    labels: LabelArray,
    names: list[int],
    make: object,
) -> float:
    """Mean IoU of the objects, each asked for by one prompt."""
    boxes = ndimage.find_objects(labels)
    prompts = [make(labels[boxes[n - 1]] == n, boxes[n - 1]) for n in names]  # type: ignore[operator]
    records = segmenter.segment_many(prompts)
    return float(
        np.mean([_record_iou(r, labels == n) for r, n in zip(records, names, strict=True)])
    )


def _record_iou(record: MaskRecord, truth: AnyArray) -> float:
    overlap = int(np.count_nonzero(record.crop & truth[record.box.slices]))
    union = record.area + int(np.count_nonzero(truth)) - overlap
    return overlap / union if union else 1.0
