"""Encode time of every model relative to MobileSAM, in pairs; weights are made up.

``--write`` keeps the ratios in docs/reference/encode-times.csv, from which the table of the docs is
made (``python docs/generate_models_table.py``).
"""

from __future__ import annotations

import csv
import gc
import tempfile
from pathlib import Path

import numpy as np
from timing import ROOT, medians, parser, set_threads

from litesam.models.registry import MODELS
from weights import filled_predictor

BASELINE = "mobile_sam"
#: Models with more parameters than this are run twice only: tens of seconds for an image.
LARGE = 250_000_000
FILE = ROOT / "docs" / "reference" / "encode-times.csv"


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--models", nargs="*", help="only these (default: all)")
    arguments.add_argument("--write", action="store_true", help=f"write {FILE.name}")
    options = arguments.parse_args()
    set_threads(options.threads)
    rgb = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    ratios = _read() | {BASELINE: 1.0}
    with tempfile.TemporaryDirectory() as folder:
        baseline = filled_predictor(BASELINE, Path(folder))
        # Models that own their encoder first, the smallest first.
        for spec in sorted(MODELS, key=lambda s: (s.encoder_name != s.name, s.parameters)):
            if options.models and spec.name not in options.models:
                continue
            if spec.name == BASELINE:
                continue
            if spec.encoder_name != spec.name and spec.encoder_name in ratios:
                ratios[spec.name] = ratios[spec.encoder_name]  # the same encoder
                if options.write:
                    _write(ratios)
                continue
            repeats = options.repeats if spec.parameters < LARGE else 2
            predictor = filled_predictor(spec.name, Path(folder))
            seconds = medians(
                {
                    BASELINE: lambda: baseline.encode(rgb),
                    "model": lambda predictor=predictor: predictor.encode(rgb),
                },
                repeats,
            )
            ratios[spec.name] = seconds["model"] / seconds[BASELINE]
            print(
                f"{spec.name:24} {1000 * seconds['model']:8.0f} ms, "
                f"{ratios[spec.name]:6.2f} x {BASELINE} ({1000 * seconds[BASELINE]:.0f} ms)",
                flush=True,
            )
            del predictor
            gc.collect()
            for file in Path(folder).iterdir():
                file.unlink()  # up to 2.6 GB each
            if options.write:
                _write(ratios)


def _read() -> dict[str, float]:
    if not FILE.is_file():
        return {}
    with FILE.open(newline="") as file:
        return {row["model"]: float(row["ratio"]) for row in csv.DictReader(file)}


def _write(ratios: dict[str, float]) -> None:
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "ratio"])
        writer.writerows(
            [spec.name, f"{ratios[spec.name]:.2f}"] for spec in MODELS if spec.name in ratios
        )


if __name__ == "__main__":
    main()
