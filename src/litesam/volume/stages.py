"""What is done to one block, in whatever process: the only code that workers run.

Every stage reads what earlier stages left on the disk and leaves its own there, so a block can be
done again at any time, by anyone, with the same result.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from litesam.errors import JobError
from litesam.predictors import Predictor
from litesam.types import Box
from litesam.volume.arrays import level_count, read_region, write_region
from litesam.volume.canvas import off_canvas, on_canvas
from litesam.volume.folder import JobFolder
from litesam.volume.no_store import NoStore
from litesam.volume.seams import Seams, block_table, compose, find_seams
from litesam.volume.source import VolumeSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.types import AnyArray, IsCancelled, LabelArray, MaskRecord
    from litesam.volume.plan import Plan

    Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker gets once, and can be sent to other processes.

    Attributes
    ----------
    folder
        The job's folder, on a disk that all workers see.
    image
        Path of the image, or an array.
    predictor
        A loaded model; None: the worker loads that of the plan, once.
    device
        Torch device of a model that the worker loads.
    """

    folder: str
    image: Any
    predictor: Predictor | None = None
    device: str = "auto"


class Job:
    """One job as a process sees it; the image and the model are opened once, when needed.

    Attributes
    ----------
    stopped
        Whether to stop in the middle of a block.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.folder = JobFolder(Path(work.folder))
        self.stopped: IsCancelled = self.folder.stop_asked
        self._lock = threading.Lock()
        self._source: VolumeSource | None = None
        self._predictor = work.predictor
        self._proposer: Predictor | None = None

    @property
    def plan(self) -> Plan:
        """What the job does."""
        return self.folder.plan

    @property
    def source(self) -> VolumeSource:
        """The image."""
        with self._lock:
            if self._source is None:
                self._source = VolumeSource(self.work.image, self.plan.source)
            return self._source

    def model(self) -> tuple[Predictor, Predictor | None]:
        """Return the model, and the one whose AutoPPN proposes if it is another."""
        from litesam.predictors import load_predictor, load_proposer

        with self._lock:
            plan = self.plan
            if self._predictor is None:
                hq: Any = plan.hq
                self._predictor = load_predictor(plan.model, plan.weights, self.work.device, hq)
            if plan.proposer is not None and self._proposer is None:
                self._proposer = load_proposer(plan.proposer, self._predictor)
            self._check_weights(self._predictor)
            return self._predictor, self._proposer

    def _check_weights(self, predictor: Predictor) -> None:
        """All blocks are labelled with the same weights; the first worker says which."""
        from litesam.volume.folder import write_durably

        path = self.folder.path / "weights"
        if not path.exists():
            write_durably(path, predictor.weights_hash.encode())
        known = path.read_text()
        if known != predictor.weights_hash:
            raise JobError(
                f"The weights of {predictor.spec.name} are others ({predictor.weights_hash}) than "
                f"those that the job was begun with ({known}); take the same file on all machines, "
                "or begin anew (restart=True, --restart)."
            )

    def index(self, plane: int) -> tuple[int, ...]:
        """Return the position of a plane on the leading axes of the labels."""
        stack = self.plan.shape[:-2]
        return tuple(int(i) for i in np.unravel_index(plane, stack)) if stack else ()

    def region_of_block(self, plane: int, block: int, box: Box) -> LabelArray:
        """Return the block's own labels of a region of the plane."""
        padded = self.plan.blocks[block].padded
        inner = Box(box.y0 - padded.y0, box.x0 - padded.x0, box.y1 - padded.y0, box.x1 - padded.x0)
        number = plane * len(self.plan.blocks) + block
        return self.read("blocks.zarr", "label", number, (number,), inner)

    def plane_region(self, plane: int, box: Box) -> LabelArray:
        """Return the labels of a plane by itself, of a region."""
        stage = "label" if len(self.plan.blocks) == 1 else "compose"
        # The block that holds the region's first pixel: regions are blocks, or strips of one.
        first = next(
            tile.index
            for tile in self.plan.blocks
            if tile.core.y0 <= box.y0 < tile.core.y1 and tile.core.x0 <= box.x0 < tile.core.x1
        )
        number = plane * len(self.plan.blocks) + first
        return self.read("planes.zarr", stage, number, (plane,), box)

    def read(
        self, name: str, stage: str, number: int, index: tuple[int, ...], box: Box
    ) -> LabelArray:
        """Labels of the job itself; a damaged block is done again in the next run."""
        try:
            return read_region(self.folder.path / name, index, box)
        except (OSError, ValueError, RuntimeError) as error:
            self.folder.unmark(stage, number)
            raise JobError(
                f"Labels that were finished cannot be read any more ({error}); that block will be "
                "done again."
            ) from error


# ------------------------------------------------------------------------------------------ stages


class Found(NamedTuple):
    """The objects of a region.

    Attributes
    ----------
    labels
        (h, w) labels 1 … N.
    records
        What the model says of the objects, also of those that lie on the canvas beside the region.
    tiles
        How many tiles the network has seen.
    scores
        Predicted IoU of each label.
    """

    labels: LabelArray
    records: list[MaskRecord]
    tiles: int
    scores: list[float]


def find_in_region(
    raw: AnyArray,
    plan: Plan,
    predictor: Predictor,
    proposer: Predictor | None,
    *,
    colour: bool = False,
    stopped: IsCancelled | None = None,
) -> Found:
    """Find the objects of a region: contrast, canvas, encode, decode, paint."""
    from dataclasses import replace

    from litesam.embedder import Embedder
    from litesam.everything import label_plane
    from litesam.preprocess import to_rgb
    from litesam.tiling import make_tiles

    normalize = plan.normalize
    if normalize.limits is None and not colour:  # a constant image
        normalize = replace(normalize, limits=_flat_limits(raw))
    plane = to_rgb(raw, normalize)
    shape = plane.shape_yx
    plane = on_canvas(plane, plan.canvas_px)
    tiles = make_tiles(plane.shape_yx, plan.block_tiling)
    labels, records = label_plane(
        predictor,
        Embedder(predictor, NoStore()),
        plane,
        tiles,
        plan.proposals,
        # All blocks are seen at one scale, that of the plan.
        replace(plan.config, small_objects="as_tiled"),
        proposer=proposer,
        cancelled=stopped,
    )
    labels, names = off_canvas(labels, shape)
    sure = {record.label: record.predicted_iou for record in records}
    return Found(labels, list(records), len(tiles), [round(sure[int(name)], 4) for name in names])


def label_block(job: Job, number: int) -> Outcome:
    """Find the objects of one block, and write them down."""
    plan = job.plan
    plane, tile = plan.block(number)
    predictor, proposer = job.model()
    start = time.perf_counter()
    raw = job.source.read(plane, tile.padded)
    reading = time.perf_counter() - start
    found = find_in_region(
        raw, plan, predictor, proposer, colour=job.source.colour, stopped=job.stopped
    )
    del raw
    labels = found.labels
    done = time.perf_counter()
    folder = job.folder.path
    if len(plan.blocks) == 1:
        write_region(folder / "planes.zarr", (plane,), tile.core, labels)
    else:
        table = block_table(labels, tile, plan.plane_shape)
        job.folder.save_table(f"tables/{plane:07d}/{tile.index:05d}", table=table)
        whole = Box(0, 0, *labels.shape)
        write_region(folder / "blocks.zarr", (number,), whole, labels)
    return {
        "objects": int(labels.max(initial=0)),
        "scores": found.scores,
        "tiles": found.tiles,
        "read_s": round(reading, 4),
        "model_s": round(done - start - reading, 4),
        "write_s": round(time.perf_counter() - done, 4),
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }


def _flat_limits(raw: Any) -> tuple[float, float]:
    """Limits that show a constant image as black."""
    low = float(np.asarray(raw).max()) if np.asarray(raw).size else 0.0
    return (low, low + 1.0) if np.isfinite(low) else (0.0, 1.0)


def seam_plane(job: Job, plane: int) -> Outcome:
    """Decide which objects of the blocks of one plane are one."""
    tiles = job.plan.blocks
    tables = [
        job.folder.load_table(f"tables/{plane:07d}/{tile.index:05d}")["table"] for tile in tiles
    ]
    seams = find_seams(tiles, tables, lambda i, box: job.region_of_block(plane, i, box))
    job.folder.save_table(
        f"seams/{plane:07d}",
        ids=seams.ids,
        offsets=seams.offsets,
        cut=seams.cut,
        count=np.array([seams.count]),
    )
    return {"objects": seams.count}


def compose_block(job: Job, number: int) -> Outcome:
    """Write the labels of one block's core with the numbers of the plane."""
    plane, tile = job.plan.block(number)
    parts = job.folder.load_table(f"seams/{plane:07d}")
    seams = Seams(parts["ids"], parts["offsets"], parts["cut"], int(parts["count"][0]))
    labels = compose(
        tile.index, job.plan.blocks, seams, lambda i, box: job.region_of_block(plane, i, box)
    )
    write_region(job.folder.path / "planes.zarr", (plane,), tile.core, labels)
    return {}


def overlap_plane(job: Job, plane: int) -> Outcome:
    """Count what the planes share: all that linking needs of their pixels."""
    from litesam.volume.linking import count_plane

    return {"objects": count_plane(job, plane)}


def motion_volume(job: Job, time: int) -> Outcome:
    """Count what the objects of a point in time share with those before."""
    from litesam.volume.tracks import count_motion

    return {"objects": count_motion(job, time)}


def write_block(job: Job, number: int) -> Outcome:
    """Write one block of the result, at all levels, with the ids of the volume."""
    from litesam.volume.linking import fill_gaps
    from litesam.volume.objects import measure_block

    plan, folder = job.plan, job.folder
    plane, tile = plan.block(number)
    offsets = folder.load("links", "offsets")
    ids = np.asarray(folder.load("links", "ids")[offsets[plane] : offsets[plane + 1]])
    own = job.plane_region(plane, tile.core)
    labels = ids[own]
    fill_gaps(job, plane, tile.core, labels)
    if plan.links_volumes:
        tracks = np.asarray(folder.load("tracks", "of"))
        ids, labels = tracks[ids], tracks[labels]
    measured = measure_block(own, ids, labels, tile.core)
    del own
    index = job.index(plane)
    for level in range(level_count(plan)):
        if level:
            labels = labels[::2, ::2]
        y, x = tile.core.y0 >> level, tile.core.x0 >> level
        box = Box(y, x, y + labels.shape[0], x + labels.shape[1])
        write_region(folder.path / "result.zarr" / str(level), index, box, labels)
    return measured


_STAGES: dict[str, Callable[[Job, int], Outcome]] = {
    "label": label_block,
    "seams": seam_plane,
    "compose": compose_block,
    "overlap": overlap_plane,
    "motion": motion_volume,
    "write": write_block,
}

# ----------------------------------------------------------------------------------- in any process

_jobs: dict[str, Job] = {}
_jobs_lock = threading.Lock()


def prepare(work: Work) -> None:
    """Tell this process about a job, anew even if it knows one of that folder."""
    with _jobs_lock:
        _jobs[work.folder] = Job(work)


def stop_when(folder: str, stopped: IsCancelled) -> None:
    """Say what is asked in the middle of a block."""
    with _jobs_lock:
        _jobs[folder].stopped = stopped


def forget(folder: str) -> None:
    """Let go of a job's model and image."""
    with _jobs_lock:
        _jobs.pop(folder, None)


def run_block(folder: str, stage: str, number: int) -> tuple[int, Outcome]:
    """Do one block and mark it as finished.

    Raises
    ------
    LiteSamError
        If the image, the model or the disk does not allow it.
    OSError
        If the disk is full.
    """
    with _jobs_lock:
        job = _jobs.get(folder)
    if job is None:
        raise JobError(f"This worker was not told about the job in {folder}.")
    outcome = _STAGES[stage](job, number)
    job.folder.mark(stage, number, outcome)
    return number, outcome
