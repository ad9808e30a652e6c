"""`label_volume`: image on disk → labels on disk, block by block, on one machine or on many.

The run plans, hands out blocks, links the planes and puts the result in its place. It holds tables,
never pixels of more than a few planes. Everything that is finished lies in the job's folder beside
the output, so a run that ends early, by whatever, is continued by the next one.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ConfigError, JobError, LiteSamError, WriteError
from litesam.io import check_output, write_label_planes
from litesam.io.ome_metadata import check_version
from litesam.types import (
    EverythingConfig,
    LinkConfig,
    NormalizeConfig,
    TilingConfig,
)
from litesam.volume.arrays import make_blocks_array, make_planes, read_plane
from litesam.volume.executors import InlineExecutor
from litesam.volume.folder import (
    JobFolder,
    LockedFolder,
    copy_durably,
    job_path,
    sync_names,
    write_durably,
)
from litesam.volume.objects import read_objects
from litesam.volume.plan import Plan
from litesam.volume.run import Run
from litesam.volume.source import SourceConfig, VolumeSource, resolve_ranges
from litesam.volume.stages import Job, Work
from litesam.volume.tracks import read_tracks

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from litesam.predictors import Predictor
    from litesam.types import HqMode, IsCancelled, OnProgress
    from litesam.volume.executors import Executor
    from litesam.volume.source import Range

#: Side of a block: with its halo and all that is computed from it, it takes about 0.5 GB.
BLOCK_PX = 4096
#: How far a block looks beyond its core.
HALO_PX = 128
_ENDINGS = (".zarr", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """What a run has written.

    Attributes
    ----------
    path
        The labels.
    axes, shape
        Of the labels.
    objects
        Number of objects; labels are 1 … ``objects``.
    planes, blocks
        How many there are; ``blocks_before`` were finished by earlier runs.
    blocks_before
        See ``blocks``.
    seconds
        What this run took.
    tracks
        The table of tracks, if it was wanted.
    table
        The table of objects as a file, if it was wanted.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    objects: int
    planes: int
    blocks: int
    blocks_before: int
    seconds: float
    tracks: Path | None = None
    table: Path | None = None


def make_plan(
    source: str | os.PathLike[str] | Any,
    model: str | Predictor = "lite_sam",
    *,
    axes: str | None = None,
    channel: int | None = None,
    level: int = 0,
    ranges: Mapping[str, Range] | None = None,
    proposals: str | None = None,
    proposer: str | os.PathLike[str] | None = None,
    config: EverythingConfig | None = None,
    normalize: NormalizeConfig | None = None,
    tiling: TilingConfig | None = None,
    link: LinkConfig | None = LinkConfig(),  # noqa: B008  (frozen)
    time_axis: str = "volumes",
    block_px: int = BLOCK_PX,
    halo_px: int | None = None,
    canvas_px: int = 0,
    weights: str | os.PathLike[str] | None = None,
    hq: HqMode = False,
    ome_zarr: str = "0.5",
) -> Plan:
    """Return what a job would do; see `label_volume` for the parameters.

    The image is opened, and a sample of it read: what cannot be read, and what does not fit
    together, is found here.
    """
    if time_axis not in ("volumes", "tracks"):
        raise ConfigError(f"time_axis={time_axis!r} is not known; choose 'volumes' or 'tracks'.")
    where = SourceConfig(axes, channel, level)
    image = VolumeSource(source, resolve_ranges(source, where, ranges or {}))
    if time_axis == "tracks" and "T" not in image.label_axes:
        raise ConfigError(
            "Tracks are linked through time in images with the axes TYX or TZYX; this one has "
            f"{image.label_axes}. Name the axes (axes=, --axes), or leave tracks out."
        )
    check_version(ome_zarr)
    _check_model(model, proposals)
    if config is not None and config.small_objects == "closer":
        raise ConfigError(
            "A job sees all blocks at one scale, so it does not look closer by itself "
            "(small_objects='closer'); give the diameter of the objects (--object-diameter 12um or "
            "auto; tiling=litesam.volume.tiling_for(…) in Python)."
        )
    plan = Plan(
        source=image.config,
        fingerprint=image.fingerprint(),
        shape=image.shape,
        axes=image.label_axes,
        origin=image.origin,
        scale=image.scale,
        unit=image.image.unit,
        model=model if isinstance(model, str) else model.spec.name,
        weights=None if weights is None else str(Path(weights).absolute()),
        hq=hq,
        proposals=proposals,
        proposer=None if proposer is None else str(Path(proposer).absolute()),
        config=config or EverythingConfig(),
        normalize=image.resolve(normalize or NormalizeConfig()),
        tiling=tiling or TilingConfig(),
        link=link,
        time=time_axis,
        block_px=block_px,
        halo_px=min(HALO_PX, block_px // 4) if halo_px is None else halo_px,
        canvas_px=canvas_px,
        ome_zarr=ome_zarr,
        translation=image.translation,
    )
    _ = plan.blocks  # block_px and halo_px are checked
    return plan


def _check_model(model: str | Predictor, proposals: str | None) -> None:
    """Refuse before any work a model that is not known or cannot propose."""
    from litesam.everything import choose_proposals
    from litesam.models.registry import get_spec

    spec = get_spec(model) if isinstance(model, str) else model.spec
    choose_proposals(spec, proposals, with_boxes=False)


def label_volume(
    source: str | os.PathLike[str] | Any,
    target: str | os.PathLike[str],
    model: str | Predictor = "lite_sam",
    executor: Executor | None = None,
    *,
    axes: str | None = None,
    channel: int | None = None,
    level: int = 0,
    ranges: Mapping[str, Range] | None = None,
    proposals: str | None = None,
    proposer: str | os.PathLike[str] | None = None,
    config: EverythingConfig | None = None,
    normalize: NormalizeConfig | None = None,
    tiling: TilingConfig | None = None,
    link: LinkConfig | None = LinkConfig(),  # noqa: B008  (frozen)
    time_axis: str = "volumes",
    block_px: int = BLOCK_PX,
    halo_px: int | None = None,
    canvas_px: int = 0,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    hq: HqMode = False,
    ome_zarr: str = "0.5",
    tracks: str | os.PathLike[str] | None = None,
    objects: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    restart: bool = False,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> VolumeResult:
    """Label every object of a volume, a time series or a large plane, on disk.

    Planes are labelled one by one, large ones in blocks with a halo; their objects are linked from
    plane to plane. A run that was interrupted, by whatever, is continued by calling again with the
    same arguments; the result is then the same, bit for bit.

    Parameters
    ----------
    source
        Path of an image: TIFF, OME-Zarr (0.4, 0.5), Zarr, ``.npy``, a folder of images; or an
        array, or a `litesam.io.ImageData` (an array with axes, scale and unit), which has to be
        the same when a run is continued.
    target
        ``….zarr`` (OME-Zarr with a pyramid) or ``….tif`` (written at the end). Until it is
        complete, all work lies in the folder ``TARGET.job`` beside it.
    model
        Name of a model, or a loaded predictor.
    executor
        Who does the blocks: `InlineExecutor` (None), `ThreadExecutor`, `ProcessExecutor` or
        `DaskExecutor`. Other processes load a model given by name for themselves.
    axes, channel, level
        Meaning of the axes, such as ``"ZYX"`` (None: from the file, or guessed); the channel; the
        level of an OME-Zarr's pyramid.
    ranges
        Part of the image: ``{"Z": (10, 40)}``; the second number is not part of it.
    proposals, proposer, config
        Everything mode, see `segment_everything`; ``proposer`` is a weights file.
    normalize
        Contrast; without fixed limits those of a sample of the whole image hold for all planes.
    tiling
        How blocks are cut for the network.
    link
        How objects are linked from plane to plane; None: they are not, and no number is used twice.
    time_axis
        ``"volumes"``: each point in time is a volume by itself; ``"tracks"``: objects have one
        number at all times. Planes of ``TYX`` are linked through time as others through z; of
        ``TZYX`` the objects of each volume are linked over z first, and then as a whole through
        time (``min_overlap``, ``measure``, ``max_gap`` and ``max_shift_px`` of the links count for
        both, but slices do not shift).
    block_px, halo_px
        Side of the blocks of large planes, a multiple of 32, and how far they look beyond it (None:
        128, at most a quarter of a block). An object larger than the halo is found whole all the
        same.
    canvas_px
        Planes whose sides are all shorter are put on a canvas of that size, so that the network
        sees their objects less enlarged than it would by itself; 0: never. See
        `litesam.volume.tiling_for` for tiles and canvas that fit the size of the objects.
    device, weights, hq
        For a model given by name, see `litesam.load_predictor`.
    ome_zarr
        Version of OME-Zarr of the labels: "0.5" (Zarr 3), or "0.4" (Zarr 2, a file for each chunk)
        for programs that do not read 0.5.
    tracks
        With ``time_axis="tracks"``: a CSV file for the table of tracks; positions are pixels of
        the image (of the level that is labelled). OME-Zarr labels have it beside them in any case,
        see `read_tracks`.
    objects
        A CSV file for the table of objects: size, place and confidence of each, see
        `VolumeObjects`. OME-Zarr labels have it beside them in any case.
    overwrite
        Replace an existing target and tables, at the end.
    restart
        Forget what an earlier run has done.
    on_progress, cancelled
        Callbacks; see `Progress`. ``cancelled`` is asked between blocks, several times a second.

    Returns
    -------
    VolumeResult
        What was written.

    Raises
    ------
    ImageError, ReadError, ConfigError, UnknownModelError, WeightsError
        If image, parameters and model do not fit together; before any work.
    JobError
        If another run writes this target, an earlier run began it with other parameters, or work
        failed on the way: the message says how to go on.
    WriteError
        If the target exists, or the disk is full or cannot be written.
    Cancelled
        If ``cancelled`` said so; what is finished is kept.
    """
    start = time.perf_counter()
    out = checked_target(Path(target), overwrite=overwrite)
    table = None if tracks is None else _checked_table(Path(tracks), out, overwrite=overwrite)
    if table is not None and (time_axis != "tracks" or link is None):
        raise ConfigError("A table of tracks goes with links and time_axis='tracks'.")
    rows = None if objects is None else _checked_table(Path(objects), out, overwrite=overwrite)
    if rows is not None and rows == table:
        raise WriteError(f"Tracks and objects are two tables; {rows} is the name of both.")
    if _is_path(source) and Path(source).absolute() == out.absolute():
        raise WriteError(f"{out} is the image itself; choose another name for the labels.")
    if result := _left_behind(out):
        return replace(result, tracks=table, table=rows)
    image = Path(source).absolute() if _is_path(source) else source
    plan = make_plan(
        image,
        model,
        axes=axes,
        channel=channel,
        level=level,
        ranges=ranges,
        proposals=proposals,
        proposer=proposer,
        config=config,
        normalize=normalize,
        tiling=tiling,
        link=link,
        time_axis=time_axis,
        block_px=block_px,
        halo_px=halo_px,
        canvas_px=canvas_px,
        weights=weights,
        hq=hq,
        ome_zarr=ome_zarr,
    )
    predictor = None if isinstance(model, str) else model
    locked = LockedFolder(out, restart=restart)
    with locked as folder:
        _begin(folder, plan)
        work = Work(str(folder.path.absolute()), image, predictor, device)
        run = Run(Job(work), executor or InlineExecutor(), on_progress, cancelled)
        count = run.label()
        _finish(folder, plan, out, count, _Tables(table, rows))
        locked.remove()
    return VolumeResult(
        out,
        plan.axes,
        plan.shape,
        count,
        plan.planes,
        plan.planes * len(plan.blocks),
        run.before,
        time.perf_counter() - start,
        table,
        rows,
    )


def _is_path(source: Any) -> bool:
    return isinstance(source, str) or hasattr(source, "__fspath__")


def checked_target(target: Path, *, overwrite: bool) -> Path:
    """Return the name of an output that may be written.

    Raises
    ------
    WriteError
        If it exists, its folder does not, or its ending is none of labels.
    """
    if not target.name.lower().endswith(_ENDINGS):
        raise WriteError(f"{target} has an unknown ending; use .ome.zarr, .zarr or .tif.")
    finished = job_path(target) / "finished.json"
    return check_output(target, overwrite=overwrite or finished.exists())


def _checked_table(path: Path, target: Path, *, overwrite: bool) -> Path:
    """The name of a table that may be written; a run that was killed at its end has written it."""
    if path.suffix.lower() != ".csv":
        raise WriteError(f"The table {path} is a CSV file; let its name end with .csv.")
    finished = job_path(target) / "finished.json"
    return check_output(path, overwrite=overwrite or finished.exists())


def _left_behind(target: Path) -> VolumeResult | None:
    """Clear up after a run that was killed after its last step."""
    import json

    folder = job_path(target)
    try:
        about = json.loads((folder / "finished.json").read_bytes())
    except (OSError, ValueError):
        return None
    if (folder / about["part"]).exists() or not target.exists():
        return None
    LockedFolder(target).remove()
    return VolumeResult(
        target,
        about["axes"],
        tuple(about["shape"]),
        about["objects"],
        about["planes"],
        about["blocks"],
        about["blocks"],
        0.0,
    )


def _begin(folder: JobFolder, plan: Plan) -> None:
    """Write the plan down, or check that it is the one that was begun."""
    try:
        if not folder.has_plan:
            folder.write_plan(plan)
        elif differences := folder.plan.differences(plan):
            raise JobError(
                f"{folder.path} holds a job that was begun differently "
                f"({'; '.join(differences[:4])}); run it with the same parameters and image, or "
                "begin anew (restart=True, --restart), or choose another output."
            )
        if not (folder.path / "planes.zarr").exists():
            folder.forget("label", "compose")
        make_planes(folder.path / "planes.zarr", plan)
        if len(plan.blocks) > 1:
            make_blocks_array(folder.path / "blocks.zarr", plan)
    except OSError as error:
        if isinstance(error, LiteSamError):
            raise
        raise WriteError(f"{folder.path} cannot be written: {error.strerror or error}.") from error


# ------------------------------------------------------------------------------------------ the end


@dataclass(frozen=True, slots=True)
class _Tables:
    """Files beside the labels that were wanted: tracks, objects."""

    tracks: Path | None
    objects: Path | None


def _finish(folder: JobFolder, plan: Plan, target: Path, objects: int, tables: _Tables) -> None:
    """Put the result in its place."""
    import json

    part = folder.path / "result.zarr"
    try:
        texts = _table_parts(folder, tables)
        if not target.name.lower().endswith(".zarr"):
            part = folder.path / f"result{''.join(target.suffixes[-2:])}"
            level = folder.path / "result.zarr" / "0"
            planes = (read_plane(level, index) for index in np.ndindex(plan.shape[:-2]))
            write_label_planes(part, planes, plan.shape, objects, plan.axes, plan.scale, plan.unit)
        about = {
            "part": part.name,
            "axes": plan.axes,
            "shape": plan.shape,
            "objects": objects,
            "planes": plan.planes,
            "blocks": plan.planes * len(plan.blocks),
        }
        write_durably(folder.path / "finished.json", json.dumps(about).encode())
        for table, text in texts:
            copy_durably(text, table)
        if target.exists():
            old = folder.path / "replaced"
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        part.rename(target)
        sync_names(target.parent)
    except OSError as error:
        if isinstance(error, LiteSamError):
            raise
        raise WriteError(
            f"{target} cannot be written: {error.strerror or error}. All labels are finished and "
            f"safe in {folder.path}; the same command goes on from there."
        ) from error


def _table_parts(folder: JobFolder, tables: _Tables) -> list[tuple[Path, Path]]:
    """Write the tables that are wanted into the job's folder: (where to, what)."""
    found = []
    result = folder.path / "result.zarr"
    if tables.tracks is not None:
        text = folder.path / "tracks.csv"
        text.write_text(read_tracks(result).to_csv(), encoding="utf-8")
        found.append((tables.tracks, text))
    if tables.objects is not None:
        text = folder.path / "objects.csv"
        with text.open("w", encoding="utf-8", newline="") as file:
            read_objects(result).write_csv(file)
        found.append((tables.objects, text))
    return found
