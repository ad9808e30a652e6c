"""Whole stacks: what is wanted, and the body of the job that does it; runs in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.types import EverythingConfig, LinkConfig
from napari_litesam.levels import LevelPlace
from napari_litesam.requests import ImageSource
from napari_litesam.state import VolumeChoice

if TYPE_CHECKING:
    from napari_litesam.jobs import JobContext
    from napari_litesam.segmenters import SegmenterPool


@dataclass(frozen=True, slots=True, eq=False)
class VolumeRequest:
    """A whole stack.

    Attributes
    ----------
    source
        Image, at the level that is labelled, and model.
    axes, planes
        Letters and lengths (of the level) of the axes that choose a plane.
    choice
        How, with all of it resolved; slices are those of the level.
    factors
        How many pixels of level 0 one of the level has, along these axes, Y and X.
    scale, unit, translation
        Of the level, along the axes of the source, as the layer says it; None: it does not.
    diameter_px
        Usual diameter of the objects in the level; 0: tiles as they are.
    file
        File of the image, if that is all of it.
    proposals, config
        Everything mode.
    overwrite
        Labels that are there are replaced.
    """

    source: ImageSource
    axes: str
    planes: tuple[int, ...]
    choice: VolumeChoice
    factors: tuple[float, ...]
    scale: tuple[float, ...] | None
    unit: str | None
    translation: tuple[float, ...] | None
    diameter_px: float
    file: str | None
    proposals: str | None
    config: EverythingConfig
    overwrite: bool

    @property
    def place(self) -> LevelPlace:
        """Where the labels lie in the image, without channels."""
        return LevelPlace(self.factors, (*(0,) * (len(self.planes) - 1), self.choice.first, 0, 0))

    @property
    def tracked(self) -> bool:
        """Whether objects are linked through time."""
        return self.axes == "T" or ("T" in self.axes and self.choice.tracks)

    @property
    def whole(self) -> bool:
        """Whether all slices are wanted."""
        return self.choice.first == 0 and self.choice.last == self.planes[-1] - 1


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """What came of it: labels on the disk, their objects, and tracks in time.

    Attributes
    ----------
    result, objects, tracks
        The engine's `VolumeResult`, `VolumeObjects`, and `Tracks` or None.
    """

    result: Any
    objects: Any
    tracks: Any = None


def label_stack(pool: SegmenterPool, request: VolumeRequest, context: JobContext) -> Labelled:
    """Label a stack; job of the worker.

    Raises
    ------
    LiteSamError
        See `litesam.label_volume`.
    """
    from litesam.io import ImageData
    from litesam.volume import (
        DaskExecutor,
        label_volume,
        read_objects,
        read_tracks,
        tiling_for,
    )

    source, choice = request.source, request.choice
    assert choice.last is not None
    image: Any = ImageData(
        source.data, source.axes, request.scale, "image", request.unit, request.translation
    )
    options: dict[str, Any] = {}
    if request.diameter_px:
        tiling = tiling_for(request.diameter_px)
        options |= {"tiling": tiling, "canvas_px": tiling.tile_px}
    if choice.scheduler:
        model: Any = source.model
        options |= {
            "executor": DaskExecutor(choice.scheduler),
            "weights": source.weights,
            "device": source.device,
        }
        if _is_on_disk(request.file, source.data, choice.level or 0):
            image = request.file
            options["level"] = choice.level or 0
    else:
        model = pool.load(source.model_key, context)
    target = Path(choice.output).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    letter = request.axes[-1]
    ranges = {} if request.whole else {letter: (choice.first, choice.last + 1)}
    shift = choice.max_shift_px if request.tracked else 0
    result = label_volume(
        image,
        target,
        model,
        axes=source.axes,
        channel=source.channel,
        ranges=ranges,
        proposals=request.proposals,
        config=request.config,
        normalize=source.normalize,
        link=LinkConfig(
            min_extent=choice.min_extent, max_gap=choice.max_gap, max_shift_px=float(shift)
        ),
        time_axis="tracks" if request.tracked else "volumes",
        overwrite=request.overwrite,
        restart=choice.anew,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
        **options,
    )
    objects = read_objects(result.path)
    if not request.tracked:
        return Labelled(result, objects)
    return Labelled(result, objects, read_tracks(result.path))


def _is_on_disk(file: str | None, array: Any, level: int) -> bool:
    """Whether workers can open the image for themselves: its file is what the layer shows."""
    from litesam.errors import LiteSamError
    from litesam.io import open_image

    if file is None:
        return False
    try:
        found = open_image(file, level).array
    except LiteSamError:
        return False
    return tuple(found.shape) == tuple(array.shape) and found.dtype == array.dtype
