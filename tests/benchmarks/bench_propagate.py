"""Propagation from prompts: IoU in 3-D of every object by number of prompted slices.

Objects of labelled volumes are prompted by the box (or the mask) of their truth on 1, 2 and 3
slices, evenly spread over their extent, and carried through the stack. Beside it stand two ways
without a model that are given the object's true extent: *copy* repeats the mask of the nearest
prompted slice, *shape* also interpolates between prompted slices.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from timing import ROOT, parser, set_threads

VOLUMES = ROOT.parent / "shared" / "data" / "volumes"
#: Objects are measured if they are seen in so many slices and have so many pixels in the median.
LEAST_SLICES, AREAS = 8, (60, 1500)


def iou(first: Any, second: Any) -> float:
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def chosen_objects(truth: Any, count: int) -> list[int]:
    """Names of objects of usual size, spread over all sizes."""
    found = []
    for name in np.unique(truth[truth > 0]):
        areas = np.count_nonzero(truth == name, axis=(1, 2))
        used = areas[areas > 0]
        if len(used) >= LEAST_SLICES and AREAS[0] <= np.median(used) <= AREAS[1]:
            found.append((int(used.sum()), int(name)))
    found.sort(reverse=True)
    return [name for _, name in found[:: max(1, len(found) // count)]][:count]


def prompted_slices(mask: Any, count: int) -> list[int]:
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    return sorted({int(used[int((i + 0.5) / count * len(used))]) for i in range(count)})


def seed_of(name: int, number: int, mask: Any, kind: str) -> Any:
    from litesam.types import BoxPrompt, Prompts
    from litesam.volume.propagate import Seed

    if kind == "mask":
        return Seed(name, number, mask=mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = BoxPrompt(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return Seed(name, number, Prompts(box=box))


def without_model(result: Any, name: int, truth: Any, *, interpolate: bool) -> Any:
    """The masks of prompted slices alone, repeated over the true extent."""
    from litesam.merge import bridge

    slices = list(result.seeds[name])
    known = {number: result.mask(name, number) for number in slices}
    volume = np.zeros_like(truth)
    for number in np.flatnonzero(truth.any(axis=(1, 2))):
        volume[number] = known[min(slices, key=lambda other: abs(other - number))]
    if interpolate:
        for low, high in pairwise(slices):
            volume[low + 1 : high] = bridge(known[low], known[high], high - low - 1)
    return volume


def main() -> None:
    args = arguments()
    set_threads(args.threads)
    import tifffile

    import litesam
    from litesam.preprocess import estimate_limits
    from litesam.types import NormalizeConfig, PropagateConfig
    from litesam.volume.propagate import propagate

    predictor = litesam.load_predictor(args.model, args.weights, "cpu")
    config = PropagateConfig()
    for option in args.set or ():
        key, _, value = option.partition("=")
        kind = type(getattr(config, key))
        config = replace(config, **{key: value if kind is str else float(value)})
    print("volume      prompts  slices   model    copy   shape   lost  false  confidence  seconds")
    for name in args.volumes:
        image = tifffile.imread(VOLUMES / f"{name}_image.tif")[: args.depth]
        truth = tifffile.imread(VOLUMES / f"{name}_labels.tif").astype(np.int32)[: args.depth]
        normalize = NormalizeConfig(limits=estimate_limits(image))
        objects = chosen_objects(truth, args.objects)
        segmenter = litesam.Segmenter(image, predictor, "ZYX", normalize=normalize)
        for kind in args.prompts:
            for count in args.slices:
                start = time.perf_counter()
                result, failed = carried(segmenter, truth, objects, kind, count, config, propagate)
                seconds = time.perf_counter() - start
                report(name, kind, count, result, truth, objects, failed, seconds)


def carried(
    segmenter: Any, truth: Any, objects: Any, kind: str, count: int, config: Any, propagate: Any
) -> tuple[Any, set[int]]:
    """Result, and the objects whose box makes no mask on any slice."""
    from litesam.errors import PromptError

    seeds = [
        seed_of(name, number, truth[number] == name, kind)
        for name in objects
        for number in prompted_slices(truth == name, count)
    ]
    usable = seeds
    while True:
        try:
            failed = set(objects) - {seed.object for seed in usable}
            return propagate(segmenter, usable, config=config), failed
        except PromptError as error:  # nothing at the size at which all are shown
            usable = [
                seed
                for seed in usable
                if f"object {seed.object} on slice {seed.slice} " not in str(error)
            ]


def report(
    name: str, kind: str, count: int, result: Any, truth: Any, objects: Any, failed: Any, s: float
) -> None:
    scores, confidences, goodness, lost, false = [], [], [], 0, 0
    for number in objects:
        mask = truth == number
        if number in failed:
            scores.append((0.0, 0.0, 0.0))
            continue
        found = np.zeros_like(mask)
        extent = mask.any(axis=(1, 2))
        for z, confidence in result.confidence[number].items():
            found[z] = result.mask(number, z)
            if z not in result.seeds[number]:
                confidences.append(confidence)
                goodness.append(iou(found[z], mask[z]))
        seen = found.any(axis=(1, 2))
        lost += np.count_nonzero(extent & ~seen) / np.count_nonzero(extent)
        false += np.count_nonzero(seen & ~extent) / np.count_nonzero(extent)
        copy = without_model(result, number, mask, interpolate=False)
        shape = without_model(result, number, mask, interpolate=True)
        scores.append((iou(found, mask), iou(copy, mask), iou(shape, mask)))
    model, copy, shape = np.mean(scores, axis=0)
    rank = spearmanr(confidences, goodness).statistic if len(set(confidences)) > 1 else np.nan
    n = max(len(objects) - len(failed), 1)
    print(
        f"{name:<11} {kind:<7} {count:>6}   {model:.3f}   {copy:.3f}   {shape:.3f}  {lost / n:5.2f}"
        f"  {false / n:5.2f}  {rank:10.2f}  {s:7.1f}",
        flush=True,
    )


def arguments() -> Any:
    made = parser(__doc__, 1)
    made.add_argument("--volumes", nargs="+", default=["embryo16", "fib25"], help="of the data")
    made.add_argument("--prompts", nargs="+", default=["box", "mask"], help="box, mask")
    made.add_argument("--slices", nargs="+", type=int, default=[1, 2, 3], help="prompted slices")
    made.add_argument("--objects", type=int, default=30, help="objects of a volume (default: 30)")
    made.add_argument("--depth", type=int, default=None, help="first slices only")
    made.add_argument("--model", default="lite_sam", help="(default: lite_sam)")
    made.add_argument("--set", nargs="+", help="field=value of PropagateConfig")
    args = made.parse_args()
    if not VOLUMES.is_dir():
        made.error(f"the volumes are not there: {Path(VOLUMES)}")
    return args


if __name__ == "__main__":
    main()
