from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from engine.threshold_predictor import (
    CONFIG,
    NORMALIZE,
    TILING,
    ThresholdPredictor,
    discs,
    same_objects,
)
from litesam.errors import Cancelled, ConfigError, ImageError
from litesam.everything import segment_everything
from litesam.store import MemoryStore
from litesam.tiling import make_tiles
from litesam.types import EverythingConfig, Progress

if TYPE_CHECKING:
    from litesam.types import LabelArray, MaskRecord

WAYS = ["auto_ppn", "grid"]
CENTRES = [(20, 20), (20, 60), (60, 30), (100, 100), (90, 50)]
#: Objects in cores, in halos, on seams and on the corner where four tiles meet.
MANY = [(y, x) for y in range(12, 290, 23) for x in range(14, 200, 21)]


def run(
    image: np.ndarray, proposals: str | None = None, **options: object
) -> tuple[LabelArray, tuple[MaskRecord, ...]]:
    options = {"model": ThresholdPredictor(), "config": CONFIG, **options}
    return segment_everything(
        image, proposals=proposals, normalize=NORMALIZE, tiling=TILING, **options
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("proposals", WAYS)
def test_every_object_of_one_tile_is_found_exactly(proposals: str) -> None:
    image, truth = discs((120, 128), CENTRES)
    labels, records = run(image, proposals)
    assert labels.dtype == np.int32
    assert same_objects(labels, truth)
    assert [r.label for r in records] == [1, 2, 3, 4, 5]
    assert all(np.array_equal(labels == r.label, r.mask(labels.shape)) for r in records)


@pytest.mark.parametrize("proposals", WAYS)
def test_tiles_change_nothing(proposals: str) -> None:
    image, truth = discs((300, 210), MANY)
    labels, records = run(image, proposals)
    assert len(records) == len(MANY)
    assert same_objects(labels, truth)


@pytest.mark.parametrize("proposals", WAYS)
def test_objects_larger_than_a_tile_are_joined(proposals: str) -> None:
    image, _ = discs((300, 300), [])
    image[40:70, 10:290] = 200
    image[70:280, 140:160] = 200
    labels, records = run(image, proposals)
    assert len(records) == 1
    assert np.array_equal(labels == 1, image > 127)


@pytest.mark.parametrize("proposals", WAYS)
def test_nothing_in_the_image_gives_no_labels(proposals: str) -> None:
    labels, records = run(np.zeros((70, 90), dtype=np.uint8), proposals)
    assert labels.shape == (70, 90)
    assert not labels.any()
    assert records == ()


@pytest.mark.parametrize("proposals", WAYS)
def test_result_is_the_same_again(proposals: str) -> None:
    image, _ = discs((300, 210), MANY)
    first, second = run(image, proposals), run(image, proposals)
    assert np.array_equal(first[0], second[0])
    assert [r.score for r in first[1]] == [r.score for r in second[1]]


def test_batch_size_changes_nothing() -> None:
    image, _ = discs((120, 128), CENTRES)
    predictor = ThresholdPredictor()
    config = EverythingConfig(points_per_batch=2)
    small, _ = run(image, model=predictor, config=config)
    assert max(predictor.decoded) == 2
    assert np.array_equal(small, run(image)[0])


def test_places_deep_in_the_halo_are_left_to_the_neighbour() -> None:
    image, _ = discs((300, 210), MANY)
    predictor = ThresholdPredictor()
    run(image, model=predictor)
    shown = [
        ndimage.label(image[tile.padded.slices] > 127)[1]
        for tile in make_tiles(image.shape, TILING)
    ]
    assert len(MANY) <= sum(predictor.decoded) < 0.8 * sum(shown)


def test_grid_asks_for_three_masks_and_a_box_for_one() -> None:
    image, _ = discs((120, 128), CENTRES)
    predictor = ThresholdPredictor()
    run(image, "grid", model=predictor)
    assert set(predictor.multimask) == {True}
    predictor = ThresholdPredictor()
    run(image, "auto_ppn", model=predictor)
    assert set(predictor.multimask) == {False}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, 5),
        ({"predicted_iou_threshold": 0.96}, 0),
        ({"stability_threshold": 1.0}, 5),
        ({"confidence_threshold": 0.95}, 0),
        ({"top_n": 2}, 2),
        ({"min_area_px": 200}, 0),
        ({"prompt_kind": "point"}, 5),
        ({"prompt_kind": "box"}, 5),
    ],
)
def test_options_filter(options: dict[str, object], found: int) -> None:
    image, _ = discs((120, 128), CENTRES)
    _, records = run(image, "auto_ppn", config=EverythingConfig(**options))  # type: ignore[arg-type]
    assert len(records) == found


def test_score_of_a_proposal_joins_confidence_and_predicted_iou() -> None:
    image, _ = discs((120, 128), CENTRES[:1])
    (record,) = run(image, "auto_ppn")[1]
    assert record.score == pytest.approx((0.95 * (1 - 1 / 9)) ** 0.5, rel=0.02)
    (record,) = run(image, "grid")[1]
    assert record.score == record.predicted_iou == pytest.approx(0.95)


def test_progress_grows_to_the_end() -> None:
    image, _ = discs((300, 210), MANY)
    seen: list[Progress] = []
    run(image, on_progress=seen.append)
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, seen[-1].total)
    assert "tile 2 of" in " ".join(p.message for p in seen)


def test_cancel_between_batches_keeps_the_embeddings() -> None:
    image, _ = discs((300, 210), MANY)
    predictor, store = ThresholdPredictor(), MemoryStore()
    with pytest.raises(Cancelled):
        run(
            image,
            "grid",
            model=predictor,
            store=store,
            cancelled=lambda: len(predictor.decoded) >= 2,
        )
    assert len(predictor.decoded) == 2
    assert predictor.encoded == 1
    run(image, "grid", model=predictor, store=store)
    assert predictor.encoded == 12  # of 12 tiles, the first one not again


def test_model_without_proposals_of_its_own_uses_the_grid() -> None:
    image, truth = discs((120, 128), CENTRES)
    labels, _ = run(image, model=ThresholdPredictor(proposes=False))
    assert same_objects(labels, truth)
    with pytest.raises(ConfigError, match="use proposals='grid'"):
        run(image, "auto_ppn", model=ThresholdPredictor(proposes=False))


def test_wrong_proposals_fail_before_the_image_is_read() -> None:
    class Unreadable:
        shape, dtype = (64, 64), np.dtype(np.uint8)

        def __getitem__(self, key: object) -> None:
            raise AssertionError("read")

    with pytest.raises(ConfigError):
        run(Unreadable(), "stars")  # type: ignore[arg-type]


def test_plane_of_a_stack_and_channel_of_an_image() -> None:
    image, truth = discs((90, 128), CENTRES[:3])
    stack = np.zeros((6, 90, 128), dtype=np.uint8)
    stack[4] = image
    assert same_objects(run(stack, axes="ZYX", index=4)[0], truth)
    assert not run(stack, axes="ZYX", index=3)[0].any()
    assert same_objects(run(stack, axes="CYX", channel=4)[0], truth)
    with pytest.raises(ImageError):
        run(stack, axes="ZYX")
