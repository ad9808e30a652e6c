"""Labelled image folders → augmented crops for training.

Images take the same way to RGB as in inference (`litesam.preprocess.to_rgb`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from torch.utils.data import IterableDataset, get_worker_info

from litesam.io.labelled_folder import read_labelled_folder
from litesam.preprocess import to_rgb
from litesam.types import LabelArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RgbArray = npt.NDArray[np.uint8]
#: Padding of the input is 0 after normalisation: the mean colour.
PADDING_RGB = (124, 116, 104)


@dataclass(frozen=True, slots=True)
class DataSetConfig:
    """One folder in the mix.

    Attributes
    ----------
    name
        Folder name.
    weight
        Relative share of crops.
    exhaustive
        Whether every object is labelled. If not, background says nothing about prompt proposals.
    proposals
        Whether its labels are objects that AutoPPN should find (semantic annotations are not).
    """

    name: str
    weight: float
    exhaustive: bool = True
    proposals: bool = True


@dataclass(frozen=True, slots=True)
class RgbImage:
    """An RGB image (H, W, 3) uint8 with its label image (H, W) int32."""

    name: str
    rgb: RgbArray
    labels: LabelArray


@dataclass(frozen=True, slots=True)
class Crop:
    """One training example at model resolution: RGB (S, S, 3) uint8, labels (S, S) int32, and its
    set's flags.
    """

    rgb: RgbArray
    labels: LabelArray
    exhaustive: bool
    proposals: bool


def load_folder(folder: Path, split: str) -> list[RgbImage]:
    """Read one split of a data set folder, see `litesam.io.read_labelled_folder`."""
    return [
        RgbImage(item.name, to_rgb(item.image).rgb, item.labels)
        for item in read_labelled_folder(folder, split)
    ]


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How crops are varied; all but the range are shares of the crops.

    Attributes
    ----------
    scale_range
        Smallest and largest factor of the size that the model sees in inference.
    elastic
        Bent smoothly, see `warp`.
    invert, gamma, noise, blur, tint
        Changes of brightness and sharpness.
    grey, mix
        Of coloured crops: all channels one mixture, or each a mixture of its own.
    """

    scale_range: tuple[float, float] = (0.45, 2.3)
    elastic: float = 0.1
    invert: float = 0.08
    gamma: float = 0.35
    noise: float = 0.35
    blur: float = 0.2
    grey: float = 0.15
    mix: float = 0.1
    tint: float = 0.06


def worker_steps(start: int) -> Iterator[int]:
    """Yield the steps from ``start`` on that this process of a `DataLoader` prepares."""
    worker = get_worker_info()
    first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
    return itertools.count(start + first, stride)


class CropStream(IterableDataset[list[Crop]]):
    """Endless, seeded stream of batches of crops.

    Parameters
    ----------
    sets
        Images of each data set.
    configs
        Their share and flags, same order.
    crop_px, batch
        Cycle of crop sides and batch sizes: step i uses entry ``i % len``.
    input_px, max_enlargement
        Side of the model's input, and the largest factor by which it enlarges an image: images are
        first scaled as inference would scale them.
    seed
        Start of the random stream.
    start
        First step.
    rank
        Of several processes that train together the number of this one, which draws other crops.
    """

    def __init__(
        self,
        sets: Sequence[Sequence[RgbImage]],
        configs: Sequence[DataSetConfig],
        *,
        crop_px: Sequence[int] = (256,),
        batch: Sequence[int] = (4,),
        input_px: int = 512,
        max_enlargement: float | None = None,
        single_up_to_px: int = 768,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
    ) -> None:
        super().__init__()
        self.sets = sets
        self.configs = configs
        weights = np.array([config.weight for config in configs])
        self.shares = weights / weights.sum()
        self.crop_px = crop_px
        self.batch = batch
        self.input_px = input_px
        self.max_enlargement = max_enlargement or math.inf
        self.single_up_to_px = single_up_to_px
        self.augment = augment or AugmentConfig()
        self.seed = seed
        self.start = start
        self.rank = rank

    def __iter__(self) -> Iterator[list[Crop]]:
        for index in worker_steps(self.start):
            yield self.crops_of(index)

    def crops_of(self, index: int) -> list[Crop]:
        """Return the crops of one step, always the same."""
        own = (0, self.rank) if self.rank else ()  # unlike `step_random`
        random = np.random.default_rng((self.seed, index, *own))
        side = self.crop_px[index % len(self.crop_px)]
        count = self.batch[index % len(self.batch)]
        return [self.crop(random, side) for _ in range(count)]

    def crop(self, random: np.random.Generator, side: int) -> Crop:
        """Draw one augmented crop of ``side`` model pixels."""
        which = int(random.choice(len(self.sets), p=self.shares))
        config = self.configs[which]
        image = self.sets[which][int(random.integers(len(self.sets[which])))]
        longest = max(image.labels.shape)
        filling = self.input_px / longest if longest <= self.single_up_to_px else 1.0
        base = min(filling, self.max_enlargement)
        low, high = np.log(self.augment.scale_range)
        scale = base * float(np.exp(random.uniform(low, high)))
        rgb, labels = _cut(image, side, scale, random)
        rgb, labels = _flip(rgb, labels, random)
        if random.random() < self.augment.elastic:
            rgb, labels = warp(rgb, labels, random)
        rgb = _intensities(rgb, self.augment, random)
        return Crop(rgb, drop_crumbs(labels), config.exhaustive, config.proposals)


def _cut(
    image: RgbImage, side: int, scale: float, random: np.random.Generator
) -> tuple[RgbArray, LabelArray]:
    """Cut and resize a square of ``side / scale`` image pixels, usually around an object; outside
    is padding.

    Of an object that the cut parts only the largest piece stays. That is decided before the labels
    are made smaller: lines thinner than a pixel fall apart then, and are one object all the same.
    """
    height, width = image.labels.shape
    wanted = side / scale
    size = np.minimum((height, width), wanted)
    present = np.unique(image.labels)
    present = present[present > 0]
    if len(present) and random.random() < 0.9:
        pixels = np.argwhere(image.labels == random.choice(present))
        centre = pixels[random.integers(len(pixels))]
        low = centre - random.uniform(0.1, 0.9, 2) * size
    else:
        low = random.uniform(0, 1, 2) * (np.array([height, width]) - size)
    low = np.clip(low, 0, np.array([height, width]) - size)
    box = (low[1], low[0], low[1] + size[1], low[0] + size[0])
    content = np.maximum(np.round(size * scale).astype(int), 1)
    content = np.minimum(content, side)
    target = (int(content[1]), int(content[0]))
    small = Image.fromarray(image.rgb).resize(target, Image.Resampling.BILINEAR, box=box)
    y0, x0 = np.floor(low).astype(int)
    y1, x1 = np.ceil(low + size).astype(int)
    whole = relabel_parts(image.labels[y0:y1, x0:x1], smallest_px=1)
    inner = (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0)
    names = Image.fromarray(whole).resize(target, Image.Resampling.NEAREST, box=inner)
    rgb = np.full((side, side, 3), PADDING_RGB, np.uint8)
    labels = np.zeros((side, side), np.int32)
    rgb[: content[0], : content[1]] = np.asarray(small)
    labels[: content[0], : content[1]] = np.asarray(names)
    return rgb, labels


def _flip(
    rgb: RgbArray, labels: LabelArray, random: np.random.Generator
) -> tuple[RgbArray, LabelArray]:
    """One of the eight symmetries of the square."""
    turns = int(random.integers(4))
    rgb, labels = np.rot90(rgb, turns), np.rot90(labels, turns)
    if random.random() < 0.5:
        rgb, labels = rgb[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(rgb), np.ascontiguousarray(labels)


def warp(
    rgb: RgbArray, labels: LabelArray, random: np.random.Generator
) -> tuple[RgbArray, LabelArray]:
    """Bend a crop smoothly: up to some 3 % of its side, over about a quarter of it.

    Parameters
    ----------
    rgb, labels
        (S, S, 3) uint8 and (S, S) int32 of the same place. Both are bent alike, colours with
        bilinear interpolation and labels without.
    random
        Source of chance.
    """
    side = len(labels)
    strength = random.uniform(0.005, 0.015) * side
    knots = random.standard_normal((2, 7, 7)) * strength
    # Between the knots a cubic spline; the outer ones lie outside, where a spline is at its worst.
    inner = np.linspace(1.0, 5.0, side)
    grid = np.stack(np.meshgrid(inner, inner, indexing="ij"))
    places = np.indices((side, side)) + [ndimage.map_coordinates(k, grid) for k in knots]
    bent: RgbArray = np.stack(
        [
            ndimage.map_coordinates(channel, places, order=1, mode="nearest")
            for channel in np.moveaxis(rgb, 2, 0)
        ],
        axis=2,
    )
    return bent, ndimage.map_coordinates(labels, places, order=0, mode="nearest")


def _intensities(rgb: RgbArray, config: AugmentConfig, random: np.random.Generator) -> RgbArray:
    x = rgb.astype(np.float32) / 255.0
    is_grey = bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all())
    if not is_grey and random.random() < config.grey:
        x = np.repeat(x @ random.dirichlet((1, 1, 1)).astype(np.float32)[:, None], 3, axis=2)
    elif not is_grey and random.random() < config.mix:
        x = x @ random.dirichlet((0.5, 0.5, 0.5), 3).astype(np.float32).T
    if random.random() < config.invert:
        x = 1.0 - x
    if not is_grey and random.random() < 0.5:
        x = x * random.uniform(0.8, 1.2, 3).astype(np.float32)
    if random.random() < config.gamma:
        x = np.clip(x, 0, 1) ** np.float32(np.exp(random.uniform(-0.6, 0.6)))
    if random.random() < 0.4:
        x = (x - 0.5) * np.float32(random.uniform(0.7, 1.2)) + np.float32(
            0.5 + random.uniform(-0.1, 0.1)
        )
    if random.random() < config.blur:
        sigma = random.uniform(0.4, 1.6)
        x = ndimage.gaussian_filter(x, (sigma, sigma, 0))
    if random.random() < config.noise:
        shape = x.shape if not is_grey else (*x.shape[:2], 1)
        noise = random.standard_normal(shape, dtype=np.float32)
        x = x + np.float32(random.uniform(0.01, 0.08)) * noise
    if random.random() < config.tint:
        x = x * random.uniform(0.2, 1.0, 3).astype(np.float32)
    result: RgbArray = (np.clip(x, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return result


def relabel_parts(labels: LabelArray, smallest_px: int = 12) -> LabelArray:
    """Number what is left of the objects 1..N; objects that fell apart keep their largest part,
    crumbs vanish.
    """
    result = np.zeros_like(labels)
    next_label = 1
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        part = labels[box] == index
        pieces, count = ndimage.label(part, structure=np.ones((3, 3)))
        if count > 1:
            part = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        if np.count_nonzero(part) < smallest_px:
            continue
        result[box][part] = next_label
        next_label += 1
    return result


def drop_crumbs(labels: LabelArray, smallest_px: int = 12) -> LabelArray:
    """Number the objects that have at least ``smallest_px`` pixels 1..N; the others vanish."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    kept = counts >= smallest_px
    numbers = np.where(kept, kept.cumsum(), 0).astype(labels.dtype)
    result: LabelArray = numbers[labels]
    return result
