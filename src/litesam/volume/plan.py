"""What a job does, as text: two runs with the same plan make the same labels, bit for bit.

The plan lies in the job's folder. A run that finds one goes on if it is the same; what does not
change the result (executor, number of workers, device) is no part of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from litesam.types import (
    EverythingConfig,
    LinkConfig,
    NormalizeConfig,
    TilingConfig,
)
from litesam.volume.blocks import make_blocks
from litesam.volume.source import SourceConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litesam.types import Tile

_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """One job.

    Attributes
    ----------
    source
        What of the image is meant.
    fingerprint
        Of its pixels, see `VolumeSource.fingerprint`.
    shape, axes, origin, scale, unit
        Of the labels; ``origin`` is their first pixel in the image.
    model, weights, hq
        Model: name, file and hash of weights of one's own (or None), and HQ mode.
    proposals, proposer, config
        Everything mode; ``proposer`` is a weights file.
    normalize
        Contrast of all planes, resolved.
    tiling
        How blocks are cut for the network.
    link
        How slices are linked; None: they are not.
    time
        Whether T are tracks to be linked, or independent volumes.
    block_px, halo_px
        How planes are cut into blocks.
    canvas_px
        Side of the canvas that smaller planes are put on.
    ome_zarr
        Version of OME-Zarr of the result.
    translation
        Where the image's first pixel lies, as the image says.
    """

    source: SourceConfig
    fingerprint: str
    shape: tuple[int, ...]
    axes: str
    origin: tuple[int, ...]
    scale: tuple[float, ...] | None
    unit: str | None
    model: str
    weights: str | None
    hq: bool | str
    proposals: str | None
    proposer: str | None
    config: EverythingConfig
    normalize: NormalizeConfig
    tiling: TilingConfig
    link: LinkConfig | None
    time: str
    block_px: int
    halo_px: int
    canvas_px: int
    ome_zarr: str = "0.5"
    translation: tuple[float, ...] | None = None

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a plane."""
        return (self.shape[-2], self.shape[-1])

    @cached_property
    def planes(self) -> int:
        """Number of planes."""
        count = 1
        for length in self.shape[:-2]:
            count *= length
        return count

    @cached_property
    def blocks(self) -> tuple[Tile, ...]:
        """Blocks of every plane."""
        return make_blocks(self.plane_shape, self.block_px, self.halo_px)

    @property
    def block_tiling(self) -> TilingConfig:
        """How blocks are cut for the network.

        A small plane is one tile, and the network sees it a little smaller. A small block, at the
        corner of a plane, is not: it is seen at the scale of the others.
        """
        if len(self.blocks) == 1:
            return self.tiling
        return replace(self.tiling, single_up_to_px=self.tiling.tile_px)

    @property
    def series(self) -> int:
        """How many planes in a row are linked with each other."""
        if self.link is None:
            return 1
        if "Z" in self.axes:
            return self.shape[self.axes.index("Z")]
        return self.shape[0] if self.time == "tracks" and "T" in self.axes else 1

    @property
    def links_volumes(self) -> bool:
        """Whether the objects of volumes are linked through time."""
        return self.link is not None and self.time == "tracks" and {"T", "Z"} <= set(self.axes)

    @property
    def has_tracks(self) -> bool:
        """Whether objects have one number at all times."""
        return self.link is not None and self.time == "tracks"

    @property
    def plane_link(self) -> LinkConfig | None:
        """How planes are linked: slices of objects that move in time do not move."""
        if self.link is not None and self.links_volumes:
            return replace(self.link, max_shift_px=0.0)
        return self.link

    @property
    def counts_overlaps(self) -> bool:
        """Whether planes are linked from counted overlaps; otherwise it takes their pixels."""
        link = self.plane_link
        return self.series > 1 and link is not None and link.max_shift_px == 0

    def block(self, number: int) -> tuple[int, Tile]:
        """Return plane and block of a number, counted plane by plane."""
        plane, block = divmod(number, len(self.blocks))
        return plane, self.blocks[block]

    # ----------------------------------------------------------------------------------------- text

    def to_json(self) -> str:
        """Return the plan as text."""
        return json.dumps({"version": _VERSION, **_plain(asdict(self))}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that a text says.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none.
        """
        values: dict[str, Any] = json.loads(text)
        if values.pop("version") != _VERSION:
            raise ValueError("another version")
        source = values.pop("source")
        source["ranges"] = tuple(tuple(one) for one in source["ranges"])
        normalize = _tuples(values.pop("normalize"))
        link = values.pop("link")
        return cls(
            source=SourceConfig(**source),
            config=EverythingConfig(**values.pop("config")),
            normalize=NormalizeConfig(**normalize),
            tiling=TilingConfig(**values.pop("tiling")),
            link=None if link is None else LinkConfig(**link),
            **_tuples(values),
        )

    def differences(self, other: Plan) -> list[str]:
        """Return what another plan says differently, in words: "link.max_gap: 1, now 2"."""
        mine, theirs = (_flat(_plain(asdict(plan))) for plan in (self, other))
        return [
            f"{name}: {mine.get(name)}, now {theirs.get(name)}"
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name)
        ]


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    return json.loads(json.dumps(value))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
