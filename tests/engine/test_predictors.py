"""The checks at a predictor's door and `load_predictor`'s answers to wrong requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import litesam
from litesam.errors import (
    ConfigError,
    ImageError,
    ModelMismatchError,
    PromptError,
    UnknownModelError,
    WeightsError,
)
from litesam.frames import fit_longest_side
from litesam.models.registry import get_spec
from litesam.predictors.base import (
    check_embedding,
    check_prompts,
    check_rgb,
    plain_batches,
    resolve_device,
)
from litesam.types import Embedding, PromptBatch

if TYPE_CHECKING:
    from pathlib import Path

#: A region of 40 rows and 60 columns at (100, 200).
FRAME = fit_longest_side((40, 60), 1024, (100, 200))
LOW_RES = (256, 256)


# ------------------------------------------------------------------------------- images


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((2, 8, 8, 3), np.uint8),
    ],
    ids=lambda a: f"{a.shape}-{a.dtype}",
)
def test_only_rgb_uint8_is_taken(array: Any) -> None:
    with pytest.raises(ImageError, match=r"\(H, W, 3\) uint8") as caught:
        check_rgb(array)
    assert str(array.shape) in str(caught.value)
    assert str(array.dtype) in str(caught.value)


def test_image_without_pixels() -> None:
    with pytest.raises(ImageError, match="no pixels"):
        check_rgb(np.zeros((0, 5, 3), np.uint8))


# ------------------------------------------------------------------------------- prompts


def _point(y: float, x: float, label: int = 1) -> PromptBatch:
    return PromptBatch(points=[[[y, x]]], labels=[[label]])


@pytest.mark.parametrize(
    ("y", "x"), [(99.5, 199.5), (139.5, 259.5), (100, 200), (139, 259), (120.25, 230)]
)
def test_points_up_to_the_rim_of_the_border_pixels(y: float, x: float) -> None:
    assert check_prompts(_point(y, x), FRAME, LOW_RES) is not None


@pytest.mark.parametrize(
    ("y", "x"), [(99.4, 230), (139.6, 230), (120, 199.4), (120, 259.6), (0, 0), (20, 30)]
)
def test_point_outside_the_region_is_named(y: float, x: float) -> None:
    batch = PromptBatch(points=[[[120, 230]], [[y, x]]], labels=[[1], [0]])
    with pytest.raises(PromptError) as caught:
        check_prompts(batch, FRAME, LOW_RES)
    assert f"Point 0 of prompt 1 at (y={y:g}, x={x:g})" in str(caught.value)
    assert "40x60 pixels at (y=100, x=200)" in str(caught.value)


def test_padding_points_may_be_anywhere() -> None:
    batch = PromptBatch(points=[[[120, 230], [0, 0]]], labels=[[1, -1]])
    assert check_prompts(batch, FRAME, LOW_RES) is batch


def test_box_that_partly_overlaps_is_clipped() -> None:
    batch = PromptBatch(boxes=[[90, 190, 120, 220], [130, 250, 500, 500], [110, 210, 115, 215]])
    boxes = check_prompts(batch, FRAME, LOW_RES).boxes
    np.testing.assert_array_equal(
        boxes, [[100, 200, 120, 220], [130, 250, 140, 260], [110, 210, 115, 215]]
    )
    assert batch.boxes[0, 0] == 90  # the caller's batch is as it was


@pytest.mark.parametrize("box", [[0, 0, 40, 60], [140, 200, 150, 220], [100, 150, 120, 200]])
def test_box_wholly_outside_is_named(box: list[float]) -> None:
    with pytest.raises(PromptError, match=r"Box 1 \(y0=") as caught:
        check_prompts(PromptBatch(boxes=[[100, 200, 110, 210], box]), FRAME, LOW_RES)
    assert "40x60 pixels" in str(caught.value)


def test_mask_prompts_need_the_size_of_the_logits() -> None:
    good = PromptBatch(low_res_masks=np.zeros((1, 256, 256)))
    assert check_prompts(good, FRAME, LOW_RES) is good
    with pytest.raises(PromptError, match="40x60; 256x256 is needed"):
        check_prompts(PromptBatch(low_res_masks=np.zeros((1, 40, 60))), FRAME, LOW_RES)
    bad = np.zeros((1, 256, 256))
    bad[0, 3, 3] = np.nan
    with pytest.raises(PromptError, match="NaN"):
        check_prompts(PromptBatch(low_res_masks=bad), FRAME, LOW_RES)


def test_batch_without_prompts() -> None:
    with pytest.raises(PromptError, match="no prompts"):
        check_prompts(PromptBatch(boxes=np.zeros((0, 4))), FRAME, LOW_RES)


# ------------------------------------------------------------------------------- embeddings


def _embedding(**changes: Any) -> Embedding:
    fields: dict[str, Any] = {
        "features": {
            "image": np.zeros((256, 64, 64), np.float32),
            "early": np.zeros((160, 64, 64), np.float16),
        },
        "frame": FRAME,
        "model": "mobile_sam",
        "weights": "abc",
    }
    return Embedding(**{**fields, **changes})


def test_embedding_of_this_predictor_passes() -> None:
    check_embedding(_embedding(), get_spec("mobile_sam"), "abc")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "lite_sam"}, "made by model 'lite_sam', this predictor is 'mobile_sam'"),
        ({"weights": "other"}, "other weights"),
        ({"features": {}}, "shape None"),
        ({"features": {"image": np.zeros((256, 32, 32), np.float32)}}, r"\(256, 32, 32\)"),
    ],
)
def test_embedding_of_another_model_or_weights(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelMismatchError, match=words):
        check_embedding(_embedding(**changes), get_spec("mobile_sam"), "abc")


# ------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(("count", "size"), [(1, 64), (64, 64), (65, 64), (10, 3), (5, 1)])
def test_plain_batches_hold_every_prompt_once(count: int, size: int) -> None:
    parts = list(plain_batches(count, size))
    assert all(0 < len(part) <= size for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(count))


def test_batch_size_below_one() -> None:
    with pytest.raises(ConfigError, match="batch size of 0"):
        next(plain_batches(3, 0))


# ------------------------------------------------------------------------------- loading


def test_unknown_model() -> None:
    with pytest.raises(UnknownModelError, match="Did you mean 'mobile_sam'"):
        litesam.load_predictor("mobile-sam")


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="litesam models download mobile_sam") as caught:
        litesam.load_predictor("mobile_sam", device="cpu")
    assert str(tmp_path / "weights") in str(caught.value)


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="another model than 'mobile_sam'"):
        litesam.load_predictor("mobile_sam", weights=path, device="cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_automatic_device(
    cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device() == chosen


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps", "xpu", "warp drive"])
def test_device_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"not (available|known)"):
        resolve_device(device)


def test_second_gpu_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == "cuda:0"
    with pytest.raises(ConfigError, match="'cuda:1' is not available"):
        resolve_device("cuda:1")
