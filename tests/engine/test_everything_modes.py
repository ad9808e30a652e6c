"""Crops, another model's AutoPPN, boxes and instances, with predictors whose results are known."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from engine.threshold_predictor import (
    CONFIG,
    INPUT_PX,
    NORMALIZE,
    TILING,
    ThresholdPredictor,
    discs,
    same_objects,
)
from litesam.embedder import Embedder
from litesam.errors import Cancelled, ConfigError, PromptError, WeightsError
from litesam.everything import (
    crop_boxes,
    find_objects,
    generate,
    segment_everything,
    uses_option,
    ways_of_option,
)
from litesam.everything.sources import shared_proposer
from litesam.models.registry import get_spec
from litesam.preprocess import Plane
from litesam.store import MemoryStore
from litesam.tiling import make_tiles
from litesam.types import (
    PROPOSALS,
    Box,
    EverythingConfig,
    Masks,
    Progress,
    Tile,
    TilingConfig,
)

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.types import Embedding, LabelArray, MaskRecord

CENTRES = [(20, 20), (20, 60), (60, 30), (100, 100), (90, 50)]
#: Objects in cores, in halos, on seams and on the corner where four tiles meet.
MANY = [(y, x) for y in range(12, 290, 23) for x in range(14, 200, 21)]


class PlainPredictor(ThresholdPredictor):
    """As SAM: no proposals of its own, the places are another model's."""

    def __init__(self) -> None:
        super().__init__(proposes=False)
        self.spec = replace(
            self.spec, name="plain", proposals=("grid", "auto_ppn", "boxes"), proposer="lite_sam"
        )

    def propose(self, embedding: Embedding, *, top_n: int, confidence_threshold: float) -> None:
        return None


class InstancePredictor(ThresholdPredictor):
    """As FastSAM: the network finds all objects by itself."""

    def __init__(self) -> None:
        super().__init__(proposes=False)
        self.spec = replace(self.spec, name="instances", proposals=("instances",))

    def instances(self, embedding: Embedding) -> Masks:
        objects = self._objects(embedding)
        found = [objects == label for label in range(1, objects.max() + 1)]
        logits = np.where(found, np.float32(8), np.float32(-8)).reshape(-1, 1, INPUT_PX, INPUT_PX)
        confidence = np.linspace(0.9, 0.5, len(found), dtype=np.float32).reshape(-1, 1)
        return Masks(logits, confidence, embedding.frame, (INPUT_PX, INPUT_PX))


def run(
    image: np.ndarray, proposals: str | None = None, **options: object
) -> tuple[LabelArray, tuple[MaskRecord, ...]]:
    options = {"model": ThresholdPredictor(), "config": CONFIG, "tiling": TILING, **options}
    return segment_everything(image, proposals=proposals, normalize=NORMALIZE, **options)  # type: ignore[arg-type]


def boxes_around(centres: list[tuple[int, int]], radius: int = 7) -> np.ndarray:
    return np.array(
        [(y - radius, x - radius, y + radius + 1, x + radius + 1) for y, x in centres], float
    )


# ------------------------------------------------------------------------------------------- crops


@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    layers=st.integers(0, 4),
    overlap=st.floats(0, 0.9),
)
def test_crops_of_every_layer_cover_the_region(
    height: int, width: int, layers: int, overlap: float
) -> None:
    region = Box(30, 70, 30 + height, 70 + width)
    found = crop_boxes(region, layers, overlap)
    assert found[0] == (0, region)
    for layer in range(layers + 1):
        crops = [box for number, box in found if number == layer]
        assert len(crops) <= 4**layer
        seen = np.zeros((height, width), dtype=bool)
        for box in crops:
            assert region.y0 <= box.y0 < box.y1 <= region.y1
            assert region.x0 <= box.x0 < box.x1 <= region.x1
            seen[box.y0 - 30 : box.y1 - 30, box.x0 - 70 : box.x1 - 70] = True
        assert seen.all()


#: A plane of 256 px is then shown at half its size.
ONE_TILE = TilingConfig(tile_px=512, halo_px=24, single_up_to_px=512)


def test_crops_find_what_lies_between_the_points_and_nothing_twice() -> None:
    centres = [(y, x) for y in range(20, 240, 31) for x in range(18, 240, 27)]
    image, truth = discs((256, 256), centres, radius=5)
    coarse = EverythingConfig(points_per_side=10)
    without, _ = run(image, "grid", config=coarse, tiling=ONE_TILE)
    labels, records = run(image, "grid", config=replace(coarse, crop_layers=2), tiling=ONE_TILE)
    # Not all: an object that lies within 20 px of an edge in every crop of layer 2 is left out.
    assert 2 * without.max() < len(records) <= truth.max()
    overlap = np.unique(np.stack([labels[truth > 0], truth[truth > 0]]), axis=1).T
    pairs = overlap[overlap[:, 0] > 0]
    assert len(set(pairs[:, 0])) == len(pairs) == len(records)


def test_crops_of_tiles_change_nothing() -> None:
    image, truth = discs((300, 210), MANY)
    config = replace(CONFIG, crop_layers=1)
    labels, records = run(image, "grid", config=config)
    assert len(records) == len(MANY)
    assert same_objects(labels, truth)


def test_crops_far_from_the_core_are_not_encoded_and_the_others_are_kept() -> None:
    image, _ = discs((128, 128), CENTRES)
    predictor = ThresholdPredictor()
    embedder = Embedder(predictor)
    plane = Plane(np.repeat(image[..., None], 3, axis=2), "as it is")
    corner = [Tile(0, Box(0, 0, 64, 64), Box(0, 0, 128, 128))]
    config = replace(CONFIG, crop_layers=2)
    for _ in range(2):
        records = find_objects(predictor, embedder, plane, corner, "grid", config)
        assert len(records) == 3
    # The crops of layer 2 begin at 0, 27, 54 and 81; points are asked for up to 64 + 16.
    assert predictor.encoded == 1 + 4 + 9


def test_fewer_points_in_deeper_layers() -> None:
    image, _ = discs((128, 128), CENTRES)
    predictor = ThresholdPredictor()
    config = EverythingConfig(points_per_side=8, crop_layers=2, crop_points_downscale=2)
    run(image, "grid", model=predictor, config=config)
    assert sum(predictor.decoded) == 8 * 8 + 4 * 4 * 4 + 16 * 2 * 2


def test_generate_needs_the_pixels_for_crops() -> None:
    predictor = ThresholdPredictor()
    embedding = predictor.encode(np.zeros((64, 64, 3), dtype=np.uint8))
    (tile,) = make_tiles((64, 64))
    with pytest.raises(ConfigError, match="Crops need the pixels"):
        generate(predictor, embedding, tile, "grid", EverythingConfig(crop_layers=1))


# ----------------------------------------------------------------------------------- small regions


def test_small_holes_are_filled_and_small_islands_removed_in_every_mode() -> None:
    image, truth = discs((120, 128), [(40, 40), (80, 90)], radius=14)
    image[38:41, 38:41] = 20  # a hole of 9 px
    filled = run(image, "grid", config=replace(CONFIG, min_region_area_px=10))[0]
    assert same_objects(filled, truth)
    for proposals in ("auto_ppn", "boxes"):
        config = EverythingConfig(min_region_area_px=10)
        assert same_objects(run(image, proposals, config=config)[0], truth)
        config = EverythingConfig(min_region_area_px=9)
        assert not same_objects(run(image, proposals, config=config)[0], truth)


# ------------------------------------------------------------------------- AutoPPN of another model


def test_places_of_another_model_go_to_the_chosen_decoder() -> None:
    image, truth = discs((300, 210), MANY)
    plain, places = PlainPredictor(), ThresholdPredictor()
    labels, records = run(image, "auto_ppn", model=plain, proposer=places)
    assert same_objects(labels, truth)
    assert (sum(plain.decoded) > 0, sum(places.decoded)) == (True, 0)
    own = run(image, "auto_ppn")
    assert np.array_equal(labels, own[0])
    assert [r.score for r in records] == [r.score for r in own[1]]


def test_both_embeddings_are_kept_in_the_same_store() -> None:
    image, _ = discs((300, 210), MANY)
    plain, places, store = PlainPredictor(), ThresholdPredictor(), MemoryStore()
    for _ in range(2):
        run(image, "auto_ppn", model=plain, proposer=places, store=store)
    assert (plain.encoded, places.encoded) == (12, 12)
    assert {key.model for key in store.keys()} == {"plain", "threshold"}  # noqa: SIM118


def test_tiles_without_proposals_are_not_encoded_by_the_chosen_model() -> None:
    image, truth = discs((300, 210), [(30, 30)])
    plain, places = PlainPredictor(), ThresholdPredictor()
    labels, _ = run(image, "auto_ppn", model=plain, proposer=places)
    assert same_objects(labels, truth)
    assert (plain.encoded, places.encoded) == (1, 12)


def test_a_model_without_autoppn_says_what_it_needs() -> None:
    predictor = PlainPredictor()
    embedding = predictor.encode(np.zeros((64, 64, 3), dtype=np.uint8))
    (tile,) = make_tiles((64, 64))
    with pytest.raises(ConfigError, match="no AutoPPN of its own; give proposed="):
        generate(predictor, embedding, tile, "auto_ppn")
    with pytest.raises(ConfigError, match="'plain' proposes nothing"):
        run(np.zeros((64, 64), np.uint8), "auto_ppn", proposer=predictor)


def test_generate_takes_proposals_of_another_model() -> None:
    image, _ = discs((120, 128), CENTRES)
    rgb = np.repeat(image[..., None], 3, axis=2)
    plain, places = PlainPredictor(), ThresholdPredictor()
    (tile,) = make_tiles(image.shape)
    proposed = places.propose(places.encode(rgb), top_n=9, confidence_threshold=0.4)
    records = generate(plain, plain.encode(rgb), tile, "auto_ppn", proposed=proposed)
    assert len(records) == len(CENTRES)


def test_lite_sam_proposes_by_default_and_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_proposer.cache_clear()
    assert shared_proposer("lite_sam", "cpu") is shared_proposer("lite_sam", "cpu")
    assert shared_proposer("lite_sam", "cpu").spec == get_spec("lite_sam")
    image, truth = discs((120, 128), CENTRES)
    # Its AutoPPN sees bright discs; the decoder is exact.
    config = EverythingConfig(confidence_threshold=0.2)
    labels, _ = run(image, "auto_ppn", model=PlainPredictor(), config=config)
    assert same_objects(labels, truth)


# ------------------------------------------------------------------------------------------- boxes


def test_boxes_of_the_caller_become_objects() -> None:
    image, truth = discs((300, 210), MANY)
    given = boxes_around(MANY)
    predictor = PlainPredictor()
    labels, records = run(image, boxes=given, model=predictor)
    assert same_objects(labels, truth)
    assert len(records) == sum(predictor.decoded) == len(MANY)  # each box once, in one tile
    assert set(predictor.multimask) == {False}
    assert {record.point for record in records} == {None}


@pytest.mark.parametrize("form", [np.asarray, list, lambda boxes: lambda rgb: boxes])
def test_boxes_come_as_array_list_or_function(form: object) -> None:
    image, truth = discs((120, 128), CENTRES)
    labels, _ = run(image, boxes=form(boxes_around(CENTRES)))  # type: ignore[operator]
    assert same_objects(labels, truth)


def test_function_of_boxes_sees_the_plane_and_unused_tiles_are_not_encoded() -> None:
    image, truth = discs((300, 210), [(30, 30)])
    predictor = PlainPredictor()

    def detector(rgb: np.ndarray) -> list[tuple[int, int, int, int]]:
        assert (rgb.shape, rgb.dtype) == ((300, 210, 3), np.uint8)
        found = ndimage.find_objects(ndimage.label(rgb[..., 0] > 100)[0])
        return [(y.start, x.start, y.stop, x.stop) for y, x in found]

    labels, _ = run(image, boxes=detector, model=predictor)
    assert same_objects(labels, truth)
    assert predictor.encoded == 1


def test_no_boxes_no_objects() -> None:
    predictor = PlainPredictor()
    labels, records = run(np.full((90, 90), 200, np.uint8), boxes=[], model=predictor)
    assert (labels.any(), records, predictor.encoded) == (False, (), 0)


def test_largest_comes_first_and_smaller_masks_stay_on_top() -> None:
    image, _ = discs((120, 128), [(60, 60)], radius=30)
    image[55:66, 55:66] = 255
    predictor = PlainPredictor()

    def decode(embedding: Embedding, prompts: object, *, multimask: bool = True) -> Masks:
        masks = ThresholdPredictor.decode(predictor, embedding, prompts, multimask=multimask)  # type: ignore[arg-type]
        inner = np.where(embedding.features["image"][0] > 240, np.float32(8), np.float32(-8))
        masks.logits[1, 0] = inner
        return masks

    predictor.decode_windows = decode  # type: ignore[method-assign]
    boxes = [(28, 28, 93, 93), (55, 55, 66, 66)]
    labels, records = run(image, boxes=boxes, model=predictor)
    assert [r.label for r in records] == [1, 2]
    assert (labels == 2).sum() == 11 * 11
    assert labels[40, 60] == 1


def test_a_box_larger_than_a_tile_is_one_object() -> None:
    image = np.full((300, 300), 20, np.uint8)
    image[40:70, 10:290] = 200
    labels, records = run(image, boxes=[(40, 10, 70, 290)])
    assert len(records) == 1
    assert np.array_equal(labels == 1, image > 127)


def test_boxes_of_autoppn() -> None:
    image, truth = discs((300, 210), MANY)
    assert same_objects(run(image, "boxes")[0], truth)
    plain = run(image, "boxes", model=PlainPredictor(), proposer=ThresholdPredictor())
    assert same_objects(plain[0], truth)
    areas = [r.area for r in plain[1]]
    assert areas == sorted(areas, reverse=True)


def test_no_filter_unless_it_is_asked_for() -> None:
    image, _ = discs((120, 128), CENTRES)
    boxes = boxes_around(CENTRES)
    assert len(run(image, boxes=boxes)[1]) == 5
    strict = EverythingConfig(predicted_iou_threshold=0.96)
    assert len(run(image, boxes=boxes, config=strict)[1]) == 0


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([(0, 0, 5, 5), (200, 0, 220, 9)], r"Box 1: .*outside"),
        ([(0, 0, 5)], r"shape \(1, 3\)"),
        ([(9, 0, 5, 5)], r"Box 0: .*empty"),
    ],
)
def test_wrong_boxes(boxes: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        run(np.zeros((120, 128), np.uint8), boxes=boxes)


def test_boxes_with_other_proposals_are_refused_before_the_image_is_read() -> None:
    class Unreadable:
        shape, dtype = (64, 64), np.dtype(np.uint8)

        def __getitem__(self, key: object) -> None:
            raise AssertionError("read")

    with pytest.raises(ConfigError, match="Boxes were given"):
        run(Unreadable(), "grid", boxes=[(0, 0, 5, 5)])  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------- instances


def test_instances_of_the_network() -> None:
    image, truth = discs((300, 210), MANY)
    predictor = InstancePredictor()
    labels, records = run(image, model=predictor)
    assert same_objects(labels, truth)
    assert len(records) == len(MANY)
    assert predictor.decoded == []


def test_instances_below_the_confidence_are_dropped() -> None:
    image, _ = discs((120, 128), CENTRES)
    _, records = run(image, model=InstancePredictor(), config=EverythingConfig())
    assert [r.score for r in records] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    config = EverythingConfig(confidence_threshold=0.65)
    assert len(run(image, model=InstancePredictor(), config=config)[1]) == 3


def test_instances_larger_than_a_tile_are_joined_and_nothing_is_nothing() -> None:
    image = np.full((300, 300), 20, np.uint8)
    image[40:70, 10:290] = 200
    labels, _ = run(image, model=InstancePredictor())
    assert np.array_equal(labels == 1, image > 127)
    assert run(np.zeros((90, 90), np.uint8), model=InstancePredictor())[1] == ()


def test_a_model_without_instances_says_so() -> None:
    with pytest.raises(ConfigError, match="cannot propose prompts with 'instances'"):
        run(np.zeros((90, 90), np.uint8), "instances")


# ---------------------------------------------------------------------------- overlaps and progress


def test_find_objects_keeps_parts_and_wholes() -> None:
    """What overlaps is settled only when labels are painted."""
    image, _ = discs((120, 128), CENTRES)
    predictor = ThresholdPredictor()
    embedder = Embedder(predictor)
    plane = Plane(np.repeat(image[..., None], 3, axis=2), "as it is")
    config = EverythingConfig(points_per_side=16, predicted_iou_threshold=0.5, nms_iou=0.95)
    records = find_objects(predictor, embedder, plane, make_tiles(image.shape), "grid", config)
    assert len(records) == 2 * len(CENTRES)  # each disc, and the disc with its rim worn off


MODES = {
    "grid": lambda: {"proposals": "grid", "config": replace(CONFIG, crop_layers=1)},
    "auto_ppn": lambda: {"proposals": "auto_ppn", "proposer": ThresholdPredictor()},
    "boxes": lambda: {"boxes": boxes_around(MANY)},
}


@pytest.mark.parametrize("mode", MODES)
def test_progress_grows_to_the_end(mode: str) -> None:
    image, _ = discs((300, 210), MANY)
    seen: list[Progress] = []
    run(image, model=PlainPredictor(), on_progress=seen.append, **MODES[mode]())
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, seen[-1].total)
    assert "tile 2 of" in " ".join(p.message for p in seen)


@pytest.mark.parametrize("mode", MODES)
def test_cancel_comes_through_within_a_batch(mode: str) -> None:
    image, _ = discs((300, 210), MANY)
    predictor = PlainPredictor()
    with pytest.raises(Cancelled):
        run(
            image,
            model=predictor,
            cancelled=lambda: len(predictor.decoded) >= 1,
            **{**MODES[mode](), "tiling": TilingConfig(512, 64, 512)},
        )
    assert len(predictor.decoded) == 1
    assert predictor.decoded[0] <= 32


def test_instances_report_tile_by_tile_and_can_be_cancelled() -> None:
    image, _ = discs((300, 210), MANY)
    seen: list[Progress] = []
    run(image, model=InstancePredictor(), on_progress=seen.append)
    assert [p.done for p in seen] == [100 * tile for tile in range(13)]
    assert seen[-1].message == f"{len(MANY)} objects"
    predictor = InstancePredictor()
    with pytest.raises(Cancelled):
        run(image, model=predictor, cancelled=lambda: predictor.encoded == 2)
    assert predictor.encoded == 2


def test_options_without_effect_are_known() -> None:
    assert uses_option("points_per_side", "grid")
    assert not uses_option("points_per_side", "auto_ppn")
    assert uses_option("top_n", "boxes")
    assert not uses_option("top_n", "boxes", with_boxes=True)
    assert uses_option("min_area_px", "instances")
    assert not uses_option("points_per_batch", "instances")
    for option in fields(EverythingConfig):
        assert ways_of_option(option.name)
        assert set(ways_of_option(option.name)) <= set(PROPOSALS)


def test_a_weights_file_of_the_user(tmp_path: Path) -> None:
    image, _ = discs((120, 128), CENTRES)
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        segment_everything(image, weights=tmp_path / "none.safetensors")
