"""Drawn microscopy: labelled images of what real training data has too little of.

Touching cells of all sizes, low contrast and bad focus (`draw_cells`); tissue of membranes as in
electron microscopy (`draw_membranes`); thin, long and branching things (`draw_filaments`). Shapes
are cells of a Voronoi diagram, and paths, both bent by smooth noise. Nothing is taken from images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from litesam.training.data import RgbArray, RgbImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.frames import FloatArray
    from litesam.types import AnyArray, LabelArray

    Random = np.random.Generator
    Drawing = tuple[FloatArray, LabelArray]

#: Side of the drawn images, px.
SIDE = 256
#: Names of synthetic sets in a mix begin so: ``synthetic:cells``.
PREFIX = "synthetic:"


class SyntheticSet(Sequence[RgbImage]):
    """Drawn images that are made when they are asked for, the same for the same index.

    Parameters
    ----------
    name
        One of `KINDS`, with or without `PREFIX`.
    length
        How many there are.
    seed
        Other seeds give other images.

    Raises
    ------
    ValueError
        If there is no such kind.
    """

    def __init__(self, name: str, length: int = 1_000_000, seed: int = 0) -> None:
        kind = name.removeprefix(PREFIX)
        if kind not in KINDS:
            raise ValueError(f"No images of {kind!r} can be drawn; choose one of {sorted(KINDS)}.")
        self.kind = kind
        self._length = length
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> RgbImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[RgbImage]: ...
    def __getitem__(self, index: int | slice) -> RgbImage | list[RgbImage]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        number = index % self._length
        random = np.random.default_rng((self._seed, number))
        picture, labels = KINDS[self.kind](random)
        return RgbImage(f"{self.kind}-{number}", _colour(picture, random), labels)


def draw_cells(random: Random) -> Drawing:
    """Draw round to polygonal cells, apart or touching, with one of several looks.

    Parameters
    ----------
    random
        Source of chance.

    Returns
    -------
    tuple
        Brightness (`SIDE`, `SIDE`) float32 around [0, 1], and int32 labels 1 … N.
    """
    spacing = float(np.exp(random.uniform(np.log(12.0), np.log(90.0))))
    names, nearest, second = _voronoi(random, spacing)
    count = int(names.max()) + 1
    radius = spacing * random.uniform(0.3, 0.75) * random.uniform(0.75, 1.25, count)
    gap = random.choice([0.6, 1.0, 2.0, 4.0])
    kept = random.random(count) < random.uniform(0.3, 1.0)
    inside = (nearest < radius[names]) & (second - nearest > gap) & kept[names]
    labels = _number(np.where(inside, names + 1, 0))

    depth = np.clip(1.0 - nearest / radius[names], 0.0, 1.0)
    look = random.choice(["dome", "flat", "rim", "texture"])
    body = {
        "dome": depth**0.6,
        "flat": np.minimum(depth * 6.0, 1.0),
        "rim": np.exp(-(((depth - 0.12) / 0.1) ** 2)) + 0.25,
        "texture": 0.7 + 0.2 * _noise(random, spacing / 8.0),
    }[str(look)]
    levels = random.uniform(0.35, 1.0, int(labels.max()) + 1).astype(np.float32)
    picture = np.where(labels > 0, body * levels[labels], 0.0)
    picture = picture * (1.0 + random.uniform(0.0, 0.25) * _noise(random, spacing / 4.0))
    if random.random() < 0.3:  # phase contrast: a halo around each object
        wide = ndimage.gaussian_filter((labels > 0).astype(np.float32), spacing / 8.0)
        picture = picture + random.uniform(0.3, 0.9) * wide * (labels == 0)
    if random.random() < 0.35:  # bright field
        picture = 1.0 - picture
    return _imaged(picture, random), labels


def draw_membranes(random: Random) -> Drawing:
    """Draw tissue without gaps: every cell ends at a membrane; organelles are no objects.

    Parameters and results as in `draw_cells`.
    """
    spacing = float(np.exp(random.uniform(np.log(16.0), np.log(80.0))))
    names, nearest, second = _voronoi(random, spacing, bend=0.2)
    width = random.uniform(1.0, 4.0)
    edge = second - nearest
    labels = _number(np.where(edge > width, names + 1, 0))
    membrane = np.exp(-((edge / (1.2 * width)) ** 2))
    level = (0.7 + random.uniform(0.0, 0.15) * random.uniform(-1.0, 1.0, int(names.max()) + 1))[
        names
    ]
    picture = level + random.uniform(0.0, 0.06) * _noise(random, spacing / 3.0)
    organelles = _noise(random, spacing / random.uniform(6.0, 12.0)) > random.uniform(1.4, 2.6)
    picture = np.where(organelles, picture - random.uniform(0.1, 0.35), picture)
    picture = picture - random.uniform(0.35, 0.6) * membrane
    if random.random() < 0.3:  # a membrane stain in fluorescence
        picture = membrane * random.uniform(0.5, 1.0) + 0.1 * _noise(random, spacing / 2.0)
    return _imaged(picture, random), labels


def draw_filaments(random: Random) -> Drawing:
    """Draw bent threads of 2 to 9 pixels, each an object, or one tree of them.

    Parameters and results as in `draw_cells`. Where threads cross, the later one is on top.
    """
    tree = random.random() < 0.4
    labels = np.zeros((SIDE, SIDE), dtype=np.int32)
    picture: AnyArray = np.zeros((SIDE, SIDE), dtype=np.float32)
    width = random.uniform(1.0, 4.5)
    starts: list[FloatArray] = []
    for number in range(int(random.integers(4, 12) if tree else random.integers(2, 16))):
        if tree and starts:
            start, share = starts[int(random.integers(len(starts)))], 0.8
        else:
            start, share = (random.uniform(0.1, 0.9, 2) * SIDE).astype(np.float32), 1.0
        path = _path(random, start)
        starts.extend(path[10::7])
        thick = max(0.8, width * share * random.uniform(0.6, 1.1))
        drawn = np.ones((SIDE, SIDE), dtype=np.bool_)
        rows, columns = np.round(path).astype(int).T
        seen = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
        drawn[rows[seen], columns[seen]] = False
        if drawn.all():
            continue
        distance = ndimage.distance_transform_edt(drawn)
        thread = distance <= thick
        labels[thread] = 1 if tree else number + 1
        profile = np.clip(1.0 - (distance / (thick + 0.5)) ** 2, 0.0, 1.0)
        picture = np.maximum(picture, profile * (1.0 if tree else random.uniform(0.5, 1.0)))
    if random.random() < 0.5:
        picture = 1.0 - random.uniform(0.2, 0.8) * picture
    return _imaged(picture, random), _number(labels)


#: What can be drawn.
KINDS: dict[str, Callable[[np.random.Generator], Drawing]] = {
    "cells": draw_cells,
    "membranes": draw_membranes,
    "filaments": draw_filaments,
}


def _voronoi(
    random: Random, spacing: float, bend: float = 0.12
) -> tuple[LabelArray, FloatArray, FloatArray]:
    """Nearest seed (SIDE, SIDE) of a bent, stretched grid, and the distances to the two nearest."""
    steps = np.arange(-spacing, SIDE + 2.0 * spacing, spacing)
    seeds = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    seeds = seeds + random.normal(0.0, 0.28 * spacing, seeds.shape)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    y = y + bend * spacing * _noise(random, spacing / 1.2)
    x = x + bend * spacing * _noise(random, spacing / 1.2)
    angle, stretch = random.uniform(0.0, np.pi), random.uniform(1.0, 1.9)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    metric = turn @ np.diag([1.0, stretch]) @ turn.T
    places = np.stack((y, x), axis=-1).reshape(-1, 2) @ metric
    distances, nearest = cKDTree(seeds @ metric).query(places, k=2)
    shape = (SIDE, SIDE)
    return (
        nearest[:, 0].reshape(shape).astype(np.int32),
        distances[:, 0].reshape(shape).astype(np.float32),
        distances[:, 1].reshape(shape).astype(np.float32),
    )


def _noise(random: Random, scale: float) -> FloatArray:
    """Smooth noise (SIDE, SIDE) of mean 0 and standard deviation 1; ``scale`` in pixels."""
    step = max(1.0, scale)
    side = int(np.ceil(SIDE / step)) + 3
    coarse = random.standard_normal((side, side))
    fine = ndimage.zoom(coarse, (SIDE + 3) / side, order=3 if side > 3 else 1)[:SIDE, :SIDE]
    result: FloatArray = np.asarray((fine - fine.mean()) / max(float(fine.std()), 1e-6), np.float32)
    return result


def _path(random: Random, start: FloatArray) -> FloatArray:
    """Points (N, 2), half a pixel apart, of a path that changes its direction slowly."""
    length = int(random.uniform(0.3, 1.4) * SIDE * 2)
    turns = ndimage.gaussian_filter1d(random.standard_normal(length), 12.0)
    heading = random.uniform(0.0, 2.0 * np.pi) + np.cumsum(turns) * random.uniform(0.02, 0.25)
    steps = 0.5 * np.stack((np.sin(heading), np.cos(heading)), axis=1)
    return (start + np.cumsum(steps, axis=0)).astype(np.float32)


def _imaged(picture: AnyArray, random: Random) -> FloatArray:
    """Uneven light, debris, focus and little contrast."""
    result = picture + random.uniform(0.0, 0.15) * _noise(random, SIDE / 2.0)
    if random.random() < 0.3:
        result = result + random.uniform(0.02, 0.08) * _noise(random, random.uniform(2.0, 12.0))
    if random.random() < 0.6:
        result = ndimage.gaussian_filter(result, random.uniform(0.4, 2.2))
    if random.random() < 0.5:
        result = result + random.uniform(0.01, 0.12) * random.standard_normal(result.shape)
    low, high = np.percentile(result, (0.5, 99.5))
    scaled = (result - low) / max(float(high - low), 1e-6)
    floor = random.uniform(0.0, 0.3)
    return np.asarray(floor + random.uniform(0.35, 1.0) * (1.0 - floor) * scaled, np.float32)


def _colour(picture: FloatArray, random: Random) -> RgbArray:
    """(SIDE, SIDE, 3) uint8: mostly grey, else from one colour to another."""
    share = np.clip(picture, 0.0, 1.0)[..., None]
    rgb: AnyArray
    if random.random() < 0.7:
        rgb = np.repeat(share, 3, axis=2)
    else:
        dark, bright = random.uniform(0.0, 0.6, 3), random.uniform(0.5, 1.0, 3)
        rgb = dark + share * (bright - dark)
    result: RgbArray = (rgb * 255.0 + 0.5).astype(np.uint8)
    return result


def _number(labels: LabelArray) -> LabelArray:
    """Labels 1 … N without gaps."""
    names, index = np.unique(labels, return_inverse=True)
    numbered: LabelArray = (index.reshape(labels.shape) + (names[0] != 0)).astype(np.int32)
    return numbered
