"""Medians of interleaved runs, and the common options of the benchmarks."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # the helpers of the tests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from litesam.predictors import Predictor


def parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    made.add_argument(
        "--repeats", type=int, default=repeats, help=f"runs of each (default: {repeats})"
    )
    made.add_argument(
        "--weights", type=Path, help="weights of lite_sam (default: the bundled file)"
    )
    return made


def set_threads(count: int) -> None:
    """Limit torch and the libraries below it."""
    import torch

    torch.set_num_threads(count)
    load = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {count} threads; load of the machine {load:.1f}")


def load_lite_sam(weights: Path | None, folder: Path) -> Predictor:
    """Lite-SAM with the given weights, the bundled ones or, where there are none, made-up ones."""
    import litesam
    from litesam.errors import WeightsError
    from weights import filled_predictor

    try:
        return litesam.load_predictor("lite_sam", weights=weights, device="cpu")
    except WeightsError:
        if weights is not None:
            raise
        print("No weights are bundled: deterministic ones, times only.")
        return filled_predictor("lite_sam", folder)


def medians(
    candidates: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, float]:
    """Median seconds of each candidate; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warm_up + repeats):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if turn >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def print_times(title: str, seconds: Mapping[str, float]) -> None:
    """Print milliseconds, one line each."""
    print(f"\n{title}")
    width = max(map(len, seconds))
    for name, value in seconds.items():
        print(f"  {name:<{width}}  {1000 * value:9.1f} ms")


def print_ratio(what: str, ratio: float, wanted: float | None = None) -> None:
    """Print a ratio, and whether it is as expected."""
    verdict = ""
    if wanted is not None:
        verdict = f"  (expected: at least {wanted:g}x{'' if ratio >= wanted else ', MISSED'})"
    print(f"  {what}: {ratio:.1f}x{verdict}")
