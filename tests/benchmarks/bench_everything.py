"""Everything mode: AutoPPN's proposals against SAM's 32×32 grid, the grid with crops, boxes and
FastSAM's instances; seconds and quality."""

from __future__ import annotations

import statistics
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from timing import ROOT, load_lite_sam, parser, print_ratio, set_threads

from litesam.evaluation import ImageScores, evaluate_image
from litesam.io.labelled_folder import LabelledImage, read_labelled_folder
from litesam.types import EverythingConfig
from weights import filled_predictor, usable_predictor

if TYPE_CHECKING:
    import argparse

    from litesam.predictors import Predictor

DATA = ROOT.parent / "shared" / "data"
FOLDERS = ("dsb2018_fluo", "dsb2018_stained")
#: Ways of Lite-SAM: name → proposals and parameters. Crops: SAM's usual four, a quarter of the
#: points in each.
WAYS: dict[str, tuple[str, EverythingConfig]] = {
    "auto_ppn": ("auto_ppn", EverythingConfig()),
    "boxes": ("boxes", EverythingConfig()),
    "grid": ("grid", EverythingConfig()),
    "grid, crops": ("grid", EverythingConfig(crop_layers=1, crop_points_downscale=2)),
}


def _items(folder: Path, split: str, count: int) -> list[LabelledImage]:
    """So many images of a split, evenly spread."""
    total = sum(1 for _ in read_labelled_folder(folder, split))
    step = max(1, total // count)
    return list(islice(read_labelled_folder(folder, split), 0, step * count, step))


def _mean(values: list[float | None]) -> float:
    return statistics.mean(v for v in values if v is not None)


def _print(name: str, scores: list[ImageScores]) -> None:
    seconds = statistics.median(s.everything_s or 0.0 for s in scores)
    print(
        f"  {name:<22} {seconds:8.2f} s  AP50 {_mean([s.ap50 for s in scores]):.3f}  "
        f"mSA {_mean([s.msa for s in scores]):.3f}  "
        f"objects {sum(s.predicted or 0 for s in scores)} of {sum(s.objects for s in scores)}"
    )


def _options() -> argparse.Namespace:
    arguments = parser(__doc__, repeats=1)
    arguments.add_argument("folders", nargs="*", type=Path, help="data sets")
    arguments.add_argument("--split", default="val", help="which split (default: val)")
    arguments.add_argument("--images", type=int, default=4, help="images of each (default: 4)")
    arguments.add_argument(
        "--mobile-sam", action="store_true", help="time the ways of MobileSAM too (minutes)"
    )
    return arguments.parse_args()


def _measured(
    predictor: Predictor, item: LabelledImage, proposals: str, config: EverythingConfig
) -> ImageScores:
    return evaluate_image(predictor, item, tasks=["everything"], proposals=proposals, config=config)


def _print_other(
    name: str, predictor: Predictor, item: LabelledImage, proposals: str, reference_s: float
) -> None:
    """Times of another model on one image; its weights may be made up."""
    score = _measured(predictor, item, proposals, EverythingConfig())
    encode, after = score.encode_s or 0.0, score.everything_s or 0.0
    title = f"{name} {proposals}"
    print(f"  {title:<22} {after:8.2f} s after an embedding of {encode:.2f} s (one image)")
    print_ratio(
        "Lite-SAM with AutoPPN is faster, embedding included, by", (encode + after) / reference_s
    )


def main() -> None:
    """Measure and print."""
    options = _options()
    folders = options.folders or [DATA / name for name in FOLDERS]
    missing = [str(folder) for folder in folders if not (folder / "index.csv").is_file()]
    if missing:
        sys.exit(f"No data set in {', '.join(missing)}; give folders with index.csv.")
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        lite = load_lite_sam(options.weights, Path(scratch))
        fast = usable_predictor("fastsam_s", Path(scratch))
        mobile = filled_predictor("mobile_sam", Path(scratch)) if options.mobile_sam else None
    for folder in folders:
        items = _items(folder, options.split, options.images)
        # In turn, image by image: all see the same load of the machine.
        found: dict[str, list[ImageScores]] = {name: [] for name in WAYS}
        for _ in range(options.repeats):
            for item in items:
                for name, (proposals, config) in WAYS.items():
                    found[name].append(_measured(lite, item, proposals, config))
        print(f"\n{folder.name}, {options.split}, {len(items)} images; median time of an image")
        for name, scores in found.items():
            _print(f"lite_sam {name}", scores)
        times = {
            name: statistics.median(s.everything_s or 0.0 for s in scores)
            for name, scores in found.items()
        }
        print_ratio("AutoPPN is faster than the grid by", times["grid"] / times["auto_ppn"], 15)
        print_ratio("Crops cost", times["grid, crops"] / times["grid"])
        print_ratio("Boxes alone cost, of AutoPPN's time,", times["boxes"] / times["auto_ppn"])
        gain = _mean([s.ap50 for s in found["auto_ppn"]]) - _mean([s.ap50 for s in found["grid"]])
        print(f"  AP50 of AutoPPN minus that of the grid: {gain:+.3f}")
        encode = statistics.median(s.encode_s or 0.0 for s in found["auto_ppn"])
        print(f"  the embedding before it takes {encode:.2f} s")
        whole = encode + times["auto_ppn"]
        _print_other("fastsam_s", fast, items[0], "instances", whole)
        if mobile is not None:
            for proposals in ("auto_ppn", "boxes", "grid"):
                _print_other("mobile_sam", mobile, items[0], proposals, whole)


if __name__ == "__main__":
    main()
