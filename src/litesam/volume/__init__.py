"""Volumes, time series and planes that do not fit in memory: block by block, resumable, anywhere.

`plan` says what is to be done, `folder` keeps what is done, `stages` are what workers run,
`executors` (and `cluster`) are who runs it, `seams` joins the blocks of a plane, `linking` the
planes of a volume, `tracks` volumes through time, `objects` is the table of what came out, `run` is
one run of all that, and `labeler` its beginning and end. `cost` says beforehand what a job takes;
`scale` and `levels` choose tiles and the level of a pyramid for the size of objects.
"""

from litesam.volume.cluster import DaskExecutor
from litesam.volume.cost import Cost, Probe, estimate_cost, probe_image
from litesam.volume.executors import Executor, InlineExecutor, ProcessExecutor, ThreadExecutor
from litesam.volume.labeler import (
    BLOCK_PX,
    VolumeResult,
    label_volume,
    make_plan,
)
from litesam.volume.levels import LevelChoice, choose_level, estimate_on_levels
from litesam.volume.objects import VolumeObjects, read_objects
from litesam.volume.plan import Plan
from litesam.volume.run import duration_text
from litesam.volume.scale import estimate_diameter, parse_length, tiling_for
from litesam.volume.tracks import Tracks, measure_tracks, read_tracks

__all__ = [
    "BLOCK_PX",
    "Cost",
    "DaskExecutor",
    "Executor",
    "InlineExecutor",
    "LevelChoice",
    "Plan",
    "Probe",
    "ProcessExecutor",
    "ThreadExecutor",
    "Tracks",
    "VolumeObjects",
    "VolumeResult",
    "choose_level",
    "duration_text",
    "estimate_cost",
    "estimate_diameter",
    "estimate_on_levels",
    "label_volume",
    "make_plan",
    "measure_tracks",
    "parse_length",
    "probe_image",
    "read_objects",
    "read_tracks",
    "tiling_for",
]
