"""Raw plane → 8-bit RGB plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from litesam.errors import ImageError
from litesam.preprocess import Plane, estimate_limits, intensity, to_rgb
from litesam.types import NormalizeConfig

FULL = NormalizeConfig(low_percentile=0.0, high_percentile=100.0)


@pytest.mark.parametrize(
    "dtype",
    [
        "uint8",
        "int8",
        "uint16",
        ">u2",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float16",
        "float32",
        ">f4",
        "float64",
    ],
)
def test_grey_is_stretched_to_black_and_white_in_every_dtype(dtype: str) -> None:
    plane = to_rgb(np.array([[10, 20], [60, 110]], dtype=dtype), FULL)
    assert plane.rgb.dtype == np.uint8
    assert plane.rgb.shape == (2, 2, 3)
    # (value - 10) / 100 * 255, rounded to even
    np.testing.assert_array_equal(plane.rgb[..., 0], [[0, 26], [128, 255]])
    assert (plane.rgb == plane.rgb[..., :1]).all()


def test_dark_8_bit_fluorescence_uses_the_whole_range() -> None:
    dark = np.random.default_rng(0).integers(0, 30, (64, 64)).astype(np.uint8)
    assert to_rgb(dark).rgb.min() == 0
    assert to_rgb(dark).rgb.max() == 255


def test_8_bit_colour_is_unchanged_without_limits() -> None:
    colour = np.random.default_rng(0).integers(40, 90, (8, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(to_rgb(colour).rgb, colour)
    alpha = np.dstack([colour, np.full((8, 9), 255, np.uint8)])
    np.testing.assert_array_equal(to_rgb(alpha).rgb, colour)


def test_8_bit_colour_is_stretched_with_limits() -> None:
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0] = (0, 50, 100)
    plane = to_rgb(colour, NormalizeConfig(limits=(0, 100)))
    assert plane.rgb[0, 0].tolist() == [0, 128, 255]


def test_16_bit_colour_shares_limits_between_channels() -> None:
    colour = np.zeros((2, 2, 3), np.uint16)
    colour[0, 0] = (1000, 500, 250)
    # 127.5 → 128 and 63.75 → 64: the hue stays
    assert to_rgb(colour, FULL).rgb[0, 0].tolist() == [255, 128, 64]


def test_bool_is_black_and_white() -> None:
    rare = np.zeros((100, 100), bool)
    rare[3, 4] = True
    assert to_rgb(rare).rgb[3, 4].tolist() == [255, 255, 255]
    assert to_rgb(rare).rgb.sum() == 3 * 255
    assert to_rgb(np.zeros((4, 4), bool)).rgb.max() == 0


def test_nan_and_infinities_do_not_move_the_limits() -> None:
    clean = np.random.default_rng(1).normal(100, 10, (64, 64)).astype(np.float32)
    dirty = clean.copy()
    dirty[0, :3] = (np.nan, np.inf, -np.inf)
    plane = to_rgb(dirty)
    assert estimate_limits(dirty) == pytest.approx(estimate_limits(clean), rel=0.02)
    assert plane.rgb[0, :3, 0].tolist() == [0, 255, 0]
    np.testing.assert_allclose(plane.rgb[1:], to_rgb(clean).rgb[1:], atol=3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_plane_without_a_finite_value_is_refused(value: float) -> None:
    with pytest.raises(ImageError, match="no finite value"):
        to_rgb(np.full((8, 8), value))


@pytest.mark.parametrize("image", [np.full((8, 8), 7.5), np.full((8, 8), 200, np.uint8)])
def test_constant_plane_is_black(image: np.ndarray) -> None:
    assert to_rgb(image).rgb.max() == 0


def test_constant_plane_with_holes_is_black() -> None:
    image = np.full((8, 8), 3.0)
    image[2, 2] = np.nan
    assert to_rgb(image).rgb.max() == 0


def test_few_bright_pixels_on_black_stay_visible() -> None:
    image = np.zeros((200, 200), np.uint16)
    image[5, 5] = 900  # less than 0.1 % of the pixels: both percentiles are 0
    assert to_rgb(image).rgb[5, 5, 0] == 255


@pytest.mark.parametrize("limits", [(-1.7e308, 1.7e308), (0.0, 5e-324)])
def test_extreme_float_ranges_raise_no_warning(limits: tuple[float, float]) -> None:
    plane = to_rgb(np.array([limits]))
    assert plane.rgb[0, :, 0].tolist() == [0, 255]


def test_integers_above_the_precision_of_float32_keep_their_differences() -> None:
    image = (np.arange(256).reshape(16, 16) + 2**31).astype(np.uint32)
    np.testing.assert_array_equal(to_rgb(image, FULL).rgb[..., 0].ravel(), np.arange(256))


def test_limits_of_a_large_plane_come_from_a_regular_sub_sample() -> None:
    image = np.random.default_rng(0).normal(1000, 50, (2500, 2500)).astype(np.float32)
    assert image.size > intensity.MAX_SAMPLE
    limits = estimate_limits(image)
    assert limits == estimate_limits(image)
    exact = np.percentile(image, (0.1, 99.9))
    # The standard error of a 0.1 % quantile of 1.6 million normal values is about 0.5 % of sigma.
    np.testing.assert_allclose(limits, exact, atol=2.0)


def test_limits_of_a_stack_do_not_skip_colour_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "MAX_SAMPLE", 1000)
    image = np.zeros((40, 60, 60, 3), np.uint8)
    image[..., 2] = 9
    assert estimate_limits(image) == (0.0, 9.0)


def test_large_float_plane_is_scaled_in_blocks_without_seams() -> None:
    image = np.linspace(0, 1, 1200 * 1000).reshape(1200, 1000)
    values = to_rgb(image, FULL).rgb[..., 0].ravel()
    assert (np.diff(values.astype(int)) >= 0).all()
    assert np.unique(values).size == 256


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    )
)
def test_mapping_is_monotonic_and_never_warns(image: np.ndarray) -> None:
    finite = np.isfinite(image)
    if not finite.any():
        return
    grey = to_rgb(image).rgb[..., 0]
    values, greys = image[finite], grey[finite]
    order = np.argsort(values, kind="stable")
    assert (np.diff(greys[order].astype(int)) >= 0).all()
    assert (grey[np.isnan(image)] == 0).all()


def test_fingerprint_names_the_resolved_limits() -> None:
    image = np.random.default_rng(0).integers(0, 4000, (32, 32)).astype(np.uint16)
    brighter = image + 1
    assert to_rgb(image).fingerprint == to_rgb(image.copy()).fingerprint
    assert to_rgb(image).fingerprint != to_rgb(brighter).fingerprint
    limits = NormalizeConfig(limits=(10, 300))
    assert to_rgb(image, limits).fingerprint == to_rgb(brighter, limits).fingerprint
    assert "10.0" in to_rgb(image, limits).fingerprint


@pytest.mark.parametrize("shape", [(5,), (4, 5, 2), (4, 5, 5), (2, 4, 5, 3), (0, 5), (4, 0, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="needed"):
        to_rgb(np.zeros(shape))


@pytest.mark.parametrize("dtype", [complex, object, "U3", "datetime64[s]"])
def test_other_dtypes_are_refused(dtype: object) -> None:
    with pytest.raises(ImageError, match="dtype"):
        to_rgb(np.zeros((4, 4)).astype(dtype))  # type: ignore[call-overload]


def test_plane_is_rgb_bytes() -> None:
    with pytest.raises(ImageError, match="to_rgb"):
        Plane(np.zeros((4, 4, 3), np.float32), "")  # type: ignore[arg-type]
    assert Plane(np.zeros((4, 5, 3), np.uint8), "").shape_yx == (4, 5)
