"""Objects as COCO JSON: an image for each plane, an annotation for each object in it.

Format: Lin et al. 2014, "Microsoft COCO"; masks as compressed run lengths, which pycocotools and
the programs built on it read. Own code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.io import atomic_path, run_lengths_in_plane, runs_to_text
from litesam.merge import records_from_labels
from litesam.objects.table import ObjectDetails, checked_axes

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


def coco_document(
    labels: Any,
    axes: str | None = None,
    *,
    file_name: str = "",
    details: Mapping[int, ObjectDetails] | None = None,
    category: str = "object",
) -> dict[str, Any]:
    """Return the objects of a label array as a COCO document.

    Parameters
    ----------
    labels
        (plane axes, Y, X) integers, 0 is background; read plane by plane.
    axes
        One letter for each axis; None: YX, ZYX or TZYX.
    file_name
        Name of the image.
    details
        By id; written as ``predicted_iou``, ``stability_score`` (SAM's names), ``model``, ``hq``.
    category
        Name of the only category.

    Returns
    -------
    dict
        ``images`` (with ``plane``, the index, for stacks), ``annotations`` (with ``label``, the
        value in the label image) and ``categories``.

    Raises
    ------
    ImageError
        If axes do not fit or the labels are no integers from 0 on.
    """
    checked_axes(labels, axes)
    height, width = (int(size) for size in labels.shape[-2:])
    known = details or {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in np.ndindex(*labels.shape[:-2]):
        image = {"id": len(images) + 1, "file_name": file_name, "height": height, "width": width}
        images.append(image | ({"plane": list(index)} if index else {}))
        for record in records_from_labels(np.asarray(labels[index] if index else labels[...])):
            box = record.box
            runs = run_lengths_in_plane(record.crop, box, (height, width))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "segmentation": {"size": [height, width], "counts": runs_to_text(runs)},
                    "area": record.area,
                    "bbox": [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0],
                    "iscrowd": 0,
                    "label": record.label,
                    **_details(known.get(record.label, ObjectDetails())),
                }
            )
    return {
        "info": {"description": f"Objects of {file_name}" if file_name else "Objects"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": category, "supercategory": ""}],
    }


def write_coco(
    path: str | os.PathLike[str], document: dict[str, Any], *, overwrite: bool = False
) -> Path:
    """Write a document of `coco_document`.

    Raises
    ------
    WriteError
        If the file exists or the system refuses.
    """
    target = Path(path)
    with atomic_path(target, overwrite=overwrite) as part:
        part.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    return target


def _details(about: ObjectDetails) -> dict[str, Any]:
    values = {
        "predicted_iou": about.predicted_iou,
        "stability_score": about.stability,
        "model": about.model,
        "hq": about.hq,
    }
    return {name: value for name, value in values.items() if value is not None}
