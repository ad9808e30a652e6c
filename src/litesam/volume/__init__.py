"""Volumes, time series and planes that do not fit in memory: block by block, resumable, anywhere.

`plan` says what is to be done, `folder` keeps what is done, `stages` are what workers run,
`executors` (and `cluster`) are who runs it, `seams` joins the blocks of a plane, `linking` the
planes of a volume, and `labeler` is the run.
"""

from litesam.volume.cluster import DaskExecutor
from litesam.volume.executors import Executor, InlineExecutor, ProcessExecutor, ThreadExecutor
from litesam.volume.labeler import VolumeResult, label_volume, make_plan
from litesam.volume.plan import Plan

__all__ = [
    "DaskExecutor",
    "Executor",
    "InlineExecutor",
    "Plan",
    "ProcessExecutor",
    "ThreadExecutor",
    "VolumeResult",
    "label_volume",
    "make_plan",
]
