"""Planes too large to be read as a whole: what is read, and that it looks the same."""

from __future__ import annotations

import numpy as np
import pytest

from engine.threshold_predictor import ThresholdPredictor, discs
from litesam.preprocess import LargePlane, to_rgb
from litesam.preprocess.large import LARGE_FROM_PX
from litesam.segmenter import Segmenter
from litesam.types import NormalizeConfig, PointPrompt, Prompts, TilingConfig

TILING = TilingConfig(tile_px=128, halo_px=24, single_up_to_px=128)


class CountingArray:
    """An array that is nowhere in memory: dark, with one bright disc; it counts what is read."""

    def __init__(self, shape: tuple[int, ...], at: tuple[int, int]) -> None:
        self.shape, self.dtype, self.at = shape, np.dtype(np.uint8), at
        self.read_px = 0
        self.reads: list[tuple[int, int, int, int]] = []

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key):
        rows, columns = (
            np.arange(n)[part] for n, part in zip(self.shape[-2:], key[-2:], strict=True)
        )
        self.read_px += rows.size * columns.size
        self.reads.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
        y, x = self.at
        near = (rows[:, None] - y) ** 2 + (columns[None] - x) ** 2 <= 49
        return np.where(near, 200, 20).astype(np.uint8)


def test_a_click_reads_the_tile_around_it_only() -> None:
    image = CountingArray((20_000, 20_000), (12_345, 6_789))
    predictor = ThresholdPredictor()
    limits = NormalizeConfig(limits=(0.0, 255.0))
    segmenter = Segmenter(image, predictor, tiling=TILING, normalize=limits)
    prompts = Prompts(points=(PointPrompt(12_345.0, 6_789.0),))
    assert not segmenter.is_ready(prompts)
    result = segmenter.segment(prompts)
    assert segmenter.is_ready(prompts)
    assert result.record.area == 149
    assert predictor.encoded == 1
    assert image.read_px <= 128 * 128 + 1
    segmenter.segment(Prompts(points=(PointPrompt(12_346.0, 6_790.0),)))
    assert image.read_px <= 128 * 128 + 1, "the tile is still known"


def test_percentiles_come_from_some_windows() -> None:
    image = CountingArray((10_000, 10_000), (1_000, 1_000))
    plane = LargePlane(image, "YX", None, None, (10_000, 10_000))
    assert image.read_px <= 25 * 256 * 256 + 1
    # The disc was not in a window, so all that was read is equal.
    assert "low=20.0;high=20.0" in plane.fingerprint or "high=200.0" in plane.fingerprint
    rows = {read[0] for read in image.reads}
    assert len(rows) >= 5
    assert max(rows) > 8_000


@pytest.mark.parametrize(
    ("dtype", "colour"),
    [(d, c) for d in (np.uint8, np.uint16, np.float32) for c in (False, True)]
    + [(np.bool_, False)],
)
def test_regions_of_a_plane_in_memory_are_those_of_the_whole(dtype, colour) -> None:
    rng = np.random.default_rng(4)
    shape = (90, 70, 3) if colour else (90, 70)
    image = (rng.random(shape) * 200).astype(dtype)
    axes = "YXC" if colour else "YX"
    for config in (None, NormalizeConfig(gamma=0.5), NormalizeConfig(limits=(10.0, 90.0))):
        if dtype is np.bool_ and config is not None and config.limits is not None:
            continue
        whole = to_rgb(image, config)
        large = LargePlane(image, axes, None, None, (90, 70), config)
        assert large.fingerprint == whole.fingerprint
        assert large.shape_yx == whole.shape_yx
        region = (slice(10, 40), slice(5, 70))
        np.testing.assert_array_equal(large.region(*region), whole.region(*region))
        np.testing.assert_array_equal(large.rgb, whole.rgb)


def test_only_large_planes_are_read_by_regions() -> None:
    image, _ = discs((200, 150), [(50, 50)])
    assert not isinstance(Segmenter(image, ThresholdPredictor()).plane(), LargePlane)
    side = int(LARGE_FROM_PX**0.5) + 1
    lazy = CountingArray((side, side), (5, 5))
    assert isinstance(Segmenter(lazy, ThresholdPredictor()).plane(), LargePlane)


def test_gamma_brightens_the_middle_and_is_in_the_fingerprint() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    linear = to_rgb(ramp, NormalizeConfig(limits=(0, 255)))
    bright = to_rgb(ramp, NormalizeConfig(limits=(0, 255), gamma=0.5))
    np.testing.assert_array_equal(linear.rgb[0, :, 0], ramp[0])
    assert bright.rgb[0, 64, 0] == round(255 * (64 / 255) ** 0.5)
    assert bright.rgb[0, [0, 255], 0].tolist() == [0, 255]
    assert linear.fingerprint != bright.fingerprint
    assert "gamma" not in linear.fingerprint, "embeddings of before stay valid"
