"""Embedding store: put and get beside the encoder that they save."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
from timing import load_lite_sam, medians, parser, print_ratio, print_times, set_threads

from litesam.store import MemoryStore, ZarrStore
from litesam.types import EmbeddingKey


def _key(number: int) -> EmbeddingKey:
    return EmbeddingKey("lite_sam", "weights", "as it is", f"{number}", (0, 0, 512, 512))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, repeats=9).parse_args()
    set_threads(options.threads)
    rgb = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        lite = load_lite_sam(options.weights, Path(folder))
        features = lite.encode(rgb).features
        disk, memory = ZarrStore(Path(folder) / "store"), MemoryStore()
        disk.put(_key(0), features)
        memory.put(_key(0), features)
        fresh = itertools.count(1)
        seconds = medians(
            {
                "encode": lambda: lite.encode(rgb),
                "MemoryStore.put": lambda: memory.put(_key(next(fresh)), features),
                "MemoryStore.get": lambda: memory.get(_key(0)),
                "ZarrStore.put": lambda: disk.put(_key(next(fresh)), features),
                "ZarrStore.get": lambda: disk.get(_key(0)),
            },
            options.repeats,
        )
        stored = disk.nbytes / len(disk.keys())
    size = sum(a.nbytes for a in features.values())
    print_times(f"An embedding of {size / 2**20:.1f} MiB", seconds)
    print(f"  on disk: {stored / 2**20:.1f} MiB, {100 * stored / size:.0f} %")
    print_ratio("get is faster than encode by", seconds["encode"] / seconds["ZarrStore.get"])


if __name__ == "__main__":
    main()
