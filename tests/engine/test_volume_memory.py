"""A plane of any size is labelled in the memory of its blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr

TESTS = Path(__file__).parents[1]
PROGRAM = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from engine.threshold_predictor import ThresholdPredictor
from litesam.types import NormalizeConfig, TilingConfig
from litesam.volume import label_volume
for path in sys.argv[2:]:
    result = label_volume(
        path, path + ".labels.zarr", ThresholdPredictor(), axes="YX", block_px=512, halo_px=64,
        normalize=NormalizeConfig(limits=(0.0, 4000.0)), tiling=TilingConfig(640, 64, 640),
    )
    print(result.objects, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_four_times_the_pixels_take_no_more_memory(tmp_path: Path) -> None:
    """The labels of the larger plane alone, all at once, would be 16 MB, its pixels 8."""
    side, step = 512, 256
    yy, xx = np.mgrid[:side, :side]
    block = np.where(np.hypot(yy % step - 128, xx % step - 128) < 60, 3600, 100).astype(np.uint16)
    lengths = (1024, 2048)
    for length in lengths:
        zarr.create_array(
            tmp_path / f"{length}.zarr",
            data=np.tile(block, (length // side, length // side)),
            chunks=(side, side),
        )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(TESTS), *(f"{n}.zarr" for n in lengths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    (few, before), (many, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (16, 64)
    assert after < before + 8
