"""What a job will take: blocks, time, memory and disk, before it begins.

The model of the time, for one worker::

    T = tiles · t_tile + voxels · (t_read + t_pass) + blocks · t_block + cross-sections · t_link

``t_tile`` (encode, propose, decode, filter one tile) and ``t_read`` are measured on the image
itself, with the model, on this machine. ``t_pass`` is all that is done to a voxel outside the
network: painting, comparing planes, relabelling, writing twice. ``t_block`` is what flushing files
to the disk takes. All of this is shared out among N workers; only the last term, linking the
objects of planes by their tables, is done by one process.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.tiling import make_tiles

if TYPE_CHECKING:
    from litesam.predictors import Predictor
    from litesam.types import Box, LabelArray
    from litesam.volume.plan import Plan
    from litesam.volume.source import VolumeSource

#: Seconds per voxel that one worker needs outside the network, measured by
#: tests/benchmarks/bench_volume.py on one busy core of a server with a local disk.
PASS_S = 100e-9
#: Seconds per cross-section of an object for linking.
LINK_S = 10e-6
#: Seconds per block for flushing files and looking after marks.
BLOCK_S = 0.1
#: Memory of a process before it does anything: interpreter, torch and a light model.
_BASE_BYTES = 700e6
#: Bytes for each pixel of a block: raw, RGB, labels, and what painting and seams need.
_BYTES_PER_PIXEL = 24
#: Bytes for each pixel of a plane whose objects move: linking keeps some of them as they are.
_LINK_BYTES_PER_PIXEL = 12
#: Which tiles are timed: shares of the stack, of a plane's height and of its width. The first warms
#: up; a slide may be empty in its middle, so the others lie apart.
_LOOKS = ((0.5, 0.5, 0.5), (0.25, 0.3, 0.3), (0.5, 0.5, 0.7), (0.75, 0.7, 0.4))


@dataclass(frozen=True, slots=True)
class Probe:
    """What a look at a few tiles gave.

    Attributes
    ----------
    tile_s
        Seconds for one tile, all of the network's work.
    read_s
        Seconds to read one voxel.
    bytes_per_voxel
        Compressed labels.
    objects_per_tile
        How many objects were found.
    """

    tile_s: float
    read_s: float
    bytes_per_voxel: float
    objects_per_tile: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job will take.

    Attributes
    ----------
    planes, blocks, tiles, voxels
        How much there is.
    seconds
        With ``workers`` workers.
    workers
        How many.
    memory_bytes
        Of one worker; the run itself needs no more.
    disk_bytes
        Of the result and of the job's folder, at most at the same time.
    result_bytes
        Of the result alone.
    """

    planes: int
    blocks: int
    tiles: int
    voxels: int
    seconds: float
    workers: int
    memory_bytes: int
    disk_bytes: int
    result_bytes: int


def tiles_of(plan: Plan) -> int:
    """Return how many tiles the network sees in a whole job."""
    sizes: dict[tuple[int, int], int] = {}
    for block in plan.blocks:
        size = block.padded.size_yx
        sizes[size] = sizes.get(size, 0) + 1
    per_plane = sum(len(make_tiles(size, plan.block_tiling)) * n for size, n in sizes.items())
    return per_plane * plan.planes


def estimate_cost(plan: Plan, probe: Probe, workers: int = 1) -> Cost:
    """Return what a job will take.

    Parameters
    ----------
    plan
        The job.
    probe
        See `probe_image`.
    workers
        How many workers share the blocks.
    """
    height, width = plan.plane_shape
    voxels = plan.planes * height * width
    blocks = plan.planes * len(plan.blocks)
    tiles = tiles_of(plan)
    seen = [math.prod(block.padded.size_yx) for block in plan.blocks]
    halo = sum(seen) / (height * width)
    link = tiles * probe.objects_per_tile * LINK_S if plan.series > 1 else 0.0
    shared = (
        tiles * probe.tile_s
        + voxels * (probe.read_s * halo + PASS_S * (1.0 if len(plan.blocks) == 1 else 1.5))
        + blocks * BLOCK_S
    )
    rounds = -(-blocks // workers) / max(blocks / workers, 1e-9)  # the last round may be half empty
    largest = max(seen)
    memory = _BASE_BYTES + largest * _BYTES_PER_PIXEL
    if plan.link is not None and plan.series > 1 and not plan.counts_overlaps:
        kept = plan.link.max_gap + 2
        memory += height * width * _LINK_BYTES_PER_PIXEL * kept
    labels = voxels * probe.bytes_per_voxel
    result = labels * (4 / 3)
    way = labels * (1.0 if len(plan.blocks) == 1 else 1.0 + halo)
    return Cost(
        plan.planes,
        blocks,
        tiles,
        voxels,
        shared / workers * rounds + link,
        workers,
        int(memory),
        int(result + way),
        int(result),
    )


def probe_image(
    source: VolumeSource, plan: Plan, predictor: Predictor, proposer: Predictor | None = None
) -> Probe:
    """Time a few tiles, spread over the image, after one that warms up.

    Raises
    ------
    ReadError
        If they cannot be read.
    """
    from litesam.volume.stages import find_in_region

    tiles = make_tiles(plan.plane_shape, plan.block_tiling)
    seconds, reading, sizes, counts = [], [], [], []
    for share, y, x in _LOOKS:
        box = min(tiles, key=lambda tile: _distance(tile.core, plan, y, x)).padded
        start = time.perf_counter()
        raw = source.read(int(plan.planes * share), box)
        read = time.perf_counter()
        labels, _, inside, _ = find_in_region(raw, plan, predictor, proposer, colour=source.colour)
        seconds.append((time.perf_counter() - read) / inside)
        reading.append((read - start) / raw.size)
        sizes.append(_compressed_bytes(labels) / labels.size)
        counts.append(labels.max(initial=0) / inside)
    return Probe(
        float(np.median(seconds[1:])),
        float(np.median(reading[1:])),
        max(float(np.mean(sizes)), 1e-4),
        float(np.mean(counts)),
    )


def _distance(core: Box, plan: Plan, y: float, x: float) -> float:
    """How far the middle of a tile is from a place of the plane, given as shares of its sides."""
    height, width = plan.plane_shape
    return abs((core.y0 + core.y1) / 2 - y * height) + abs((core.x0 + core.x1) / 2 - x * width)


def _compressed_bytes(labels: LabelArray) -> int:
    """Size of labels on disk."""
    import zarr

    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, shape=labels.shape, chunks=labels.shape, dtype=np.uint32)
    array[...] = labels.astype(np.uint32)
    return int(array.nbytes_stored())
