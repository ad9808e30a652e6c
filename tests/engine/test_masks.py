"""A mask cut out of the image is the mask of the whole image, whatever the up-sampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from litesam.frames import Frame, fit_letterbox, fit_longest_side, fit_squash, resample
from litesam.types import Masks

LOW_RES = (16, 16)
FRAMES = {
    "bilinear, enlarged": fit_longest_side((20, 30), 64, (5, 7)),
    "bilinear, reduced": fit_longest_side((150, 90), 64, (3, 0)),
    "bicubic, smaller than the logits": fit_squash((9, 14), 64, (5, 7)),
    "bicubic, whole factor": fit_squash((32, 48), 64),
    "bicubic, enlarged": fit_squash((57, 90), 64, (2, 1)),
    "bicubic, one row": fit_squash((1, 40), 64),
}
#: Sums of sixteen products of float32 in another order; logits are of the order of 30.
CLOSE = 1e-4

# Few values, so that steep edges, plateaus just below the threshold and empty parts are frequent.
logits = hnp.arrays(
    np.float32, LOW_RES, elements=st.sampled_from([-30.0, -8.0, -0.5, -0.01, 0.3, 9.0]), fill=None
)
blocks = hnp.arrays(
    np.float32, (4, 4), elements=st.sampled_from([-30.0, -2.0, -0.5, 0.5, 9.0])
).map(lambda values: np.kron(values, np.ones((4, 4), np.float32)))


def _masks(values: np.ndarray, frame: Frame) -> Masks:
    return Masks(values[None, None], np.ones((1, 1), np.float32), frame, LOW_RES)


def _whole(values: np.ndarray, frame: Frame) -> np.ndarray:
    rows, columns = frame.resampling(LOW_RES)
    return rows @ values @ columns.T


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@given(values=logits | blocks, threshold=st.sampled_from([0.0, -1.0, 1.0]))
def test_part_holds_every_pixel_above_the_threshold(
    frame: Frame, values: np.ndarray, threshold: float
) -> None:
    whole = _whole(values, frame)
    (y, x), part = _masks(values, frame).crop_logits(0, threshold=threshold)
    y, x = y - frame.origin_yx[0], x - frame.origin_yx[1]
    inside = np.zeros(whole.shape, dtype=bool)
    inside[y : y + part.shape[0], x : x + part.shape[1]] = True
    assert not (whole[~inside] > threshold + CLOSE).any()
    theirs = whole[y : y + part.shape[0], x : x + part.shape[1]]
    assert part.shape == theirs.shape
    above = theirs > threshold
    np.testing.assert_allclose(part[above], theirs[above], rtol=0, atol=CLOSE)
    assert (part[~above] <= threshold + CLOSE).all()


def test_pixel_beside_a_steep_edge_is_positive_without_a_positive_logit() -> None:
    values = np.full(LOW_RES, -30.0, np.float32)
    values[4:12, 4:12] = -0.5
    frame = fit_squash((64, 64), 64)
    whole = _whole(values, frame) > 0
    assert whole.any()
    box, mask = _masks(values, frame).crop(0)
    assert mask.sum() == whole.sum()
    np.testing.assert_array_equal(mask, whole[box.slices])


def test_nothing_is_resampled_where_nothing_can_be_positive() -> None:
    frame = fit_squash((64, 64), 64, (3, 4))
    values = np.full(LOW_RES, -5.0, np.float32)
    origin, part = _masks(values, frame).crop_logits(0)
    assert origin == (3, 4)
    assert part.shape == (0, 0)
    values[5, 9] = 5.0
    origin, part = _masks(values, frame).crop_logits(0)
    assert max(part.shape) < 32  # of 64: the cost follows the object


def test_windows_of_a_bicubic_frame() -> None:
    frame = fit_squash((57, 90), 64)
    rng = np.random.default_rng(0)
    window = rng.normal(0, 5, (1, 1, 8, 8)).astype(np.float32)
    masks = replace(_masks(np.zeros(LOW_RES, np.float32), frame), logits=window)
    masks = replace(masks, origins=np.array([[8, 3]]))
    box, mask = masks.crop(0)
    np.testing.assert_array_equal(mask, masks.to_image()[0, 0][box.slices])
    assert mask.sum() == masks.to_image().sum()


@pytest.mark.parametrize("size", [(9, 14), (32, 48), (57, 90), (1, 40), (16, 16)])
def test_bicubic_matrices_are_the_resampling_of_torch(size: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(0, 5, LOW_RES).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size, mode="bicubic", align_corners=False
    )
    np.testing.assert_allclose(
        _whole(values, fit_squash(size, 64)), wanted[0, 0].numpy(), rtol=0, atol=CLOSE
    )


@pytest.mark.parametrize("low_res", [40, 256, 512])
@pytest.mark.parametrize(
    "frame",
    [
        fit_longest_side((700, 430), 512),
        fit_longest_side((90, 60), 512, max_enlargement=2.5),  # most of the input is padding
        fit_squash((300, 800), 1024),
        fit_letterbox((333, 640), 1024),
    ],
    ids=["longest", "padded", "squash", "letterbox"],
)
def test_blocks_give_the_whole_product(frame: Frame, low_res: int) -> None:
    random = np.random.default_rng(low_res)
    pairs = (
        (frame.resampling((low_res, low_res)), (low_res, low_res)),
        (frame.coverage((low_res, low_res)), frame.size_yx),
    )
    for (rows, columns), shape in pairs:
        values = random.normal(size=shape).astype(np.float32)
        result = resample(rows, values, columns)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, rows @ values @ columns.T, atol=1e-5)
    rows, columns = pairs[0][0]
    part = random.normal(size=(7, 5)).astype(np.float32)
    rows, columns = rows[:, :7], columns[:, :5]
    np.testing.assert_allclose(resample(rows, part, columns), rows @ part @ columns.T, atol=1e-5)
