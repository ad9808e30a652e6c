"""FastSAM's predictor on instances made by hand: what is kept, and what prompts choose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import litesam
from litesam.embedder import Embedder
from litesam.errors import ModelMismatchError, PromptError
from litesam.frames import fit_letterbox
from litesam.merge import record_from_masks
from litesam.models.folding import fold
from litesam.models.registry import get_spec
from litesam.models.yolov8_seg import YoloSeg, YoloShape, shape_of
from litesam.predictors.fast_sam import FastSamPredictor
from litesam.predictors.instances import InstanceSettings, choose_instances
from litesam.preprocess import to_rgb
from litesam.store import MemoryStore, ZarrStore
from litesam.tiling import make_tiles
from litesam.types import Embedding, PromptBatch, TilingConfig
from weights import fill_network

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

TINY = YoloShape(8, (8, 16, 16, 16), (1, 2, 2, 1), 1, 16, 64, 16, 32)
SETTINGS = InstanceSettings()
SIZE = (256, 192)
ORIGIN = (1000, 2000)


def _predictor(settings: InstanceSettings | None = None) -> FastSamPredictor:
    return FastSamPredictor(
        get_spec("fastsam_s"),
        fill_network(YoloSeg(TINY)),
        "cpu",
        "tiny",
        settings=settings,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def predictor() -> FastSamPredictor:
    return _predictor()


def _embedding(
    predictor: FastSamPredictor, boxes: list[list[float]], scores: list[float] | None = None
) -> Embedding:
    """Instances whose masks fill their boxes: (y0, x0, y1, x1) pixels of the region.

    The region has a quarter of the model's resolution, like the prototypes: pixels are cells.
    """
    frame = fit_letterbox(SIZE, 1024, ORIGIN)
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]] * 4
    if scores is None:
        scores = np.linspace(0.9, 0.5, len(corners)).tolist()
    features = {
        "prototypes": np.ones((1, *SIZE), np.float32),
        "boxes": corners,
        "scores": np.asarray(scores, np.float32),
        "coefficients": np.full((len(corners), 1), 3.0, np.float32),
    }
    return Embedding(features, frame, predictor.spec.encoder_name, predictor.encoder_hash)


def _points(*points: tuple[float, float, int]) -> PromptBatch:
    places = np.array([[point[:2] for point in points]]) + np.asarray(ORIGIN)
    return PromptBatch(points=places, labels=[[label for *_, label in points]])


def _box(*corners: float) -> PromptBatch:
    return PromptBatch(boxes=np.array([corners]) + np.asarray(ORIGIN * 2))


def _filled(*boxes: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(SIZE, np.bool_)
    for y0, x0, y1, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


#: A large one, a part of it, one that overlaps the large one, and one far away.
WHOLE, PART, ASIDE, FAR = (
    (10, 10, 90, 90),
    (30, 30, 50, 50),
    (60, 60, 120, 120),
    (200, 150, 240, 190),
)
FOUR = [list(map(float, box)) for box in (PART, WHOLE, ASIDE, FAR)]


# -------------------------------------------------------------------------------- cells → instances


def _choose(
    boxes: Any, scores: Any, settings: InstanceSettings = SETTINGS
) -> dict[str, npt.NDArray[np.float32]]:
    array = np.asarray(boxes, np.float32)
    coefficients = np.arange(len(array), dtype=np.float32)[:, None]
    return choose_instances(
        array, np.asarray(scores, np.float32), coefficients, (768, 1024), settings
    )


def test_only_sure_cells_are_instances_best_first() -> None:
    boxes = [[100, 100, 200, 200], [300, 300, 400, 400], [500, 500, 600, 600]]
    found = _choose(boxes, [0.5, 0.4, 0.8])
    np.testing.assert_allclose(found["scores"], [0.8, 0.5])
    np.testing.assert_array_equal(found["coefficients"][:, 0], [2, 0])


def test_of_two_nearly_equal_boxes_the_better_stays() -> None:
    boxes = [[100, 100, 200, 200], [100, 100, 200, 195], [100, 100, 200, 150]]
    assert _choose(boxes, [0.5, 0.8, 0.6])["coefficients"][:, 0].tolist() == [1, 2]


def test_at_most_so_many_instances() -> None:
    boxes = [[10 * i, 40, 10 * i + 8, 60] for i in range(40)]
    assert len(_choose(boxes, np.linspace(0.9, 0.5, 40), InstanceSettings(most=7))["scores"]) == 7


def test_sides_next_to_the_border_move_to_it() -> None:
    found = _choose(
        [[19, 20, 500, 749], [-5, -30, 1004.5, 400], [500, 19.9, 1004, 748]], [0.9, 0.8, 0.7]
    )
    np.testing.assert_allclose(found["boxes"][0], [0, 20, 500, 768])
    np.testing.assert_allclose(found["boxes"][1], [0, 0, 1024, 400])
    np.testing.assert_allclose(found["boxes"][2], [500, 0, 1004, 748])


def test_every_box_of_nearly_the_whole_picture_becomes_the_whole() -> None:
    boxes = [[21, 21, 1003, 747], [0, 0, 1024, 768], [30, 30, 500, 500], [21, 0, 1024, 720]]
    found = _choose(boxes, [0.9, 0.8, 0.7, 0.6], InstanceSettings(nms_iou=0.99))
    full = [0.0, 0.0, 1024.0, 768.0]
    assert found["boxes"][[0, 1, 3]].tolist() == [full] * 3
    assert found["boxes"][2].tolist() == [30, 30, 500, 500]


def test_no_cell_is_sure() -> None:
    found = _choose([[0, 0, 10, 10]], [0.1])
    assert found["boxes"].shape == (0, 4)
    assert found["scores"].shape == (0,)
    assert found["coefficients"].shape == (0, 1)


# -------------------------------------------------------------------------------------------- masks


def test_instances_are_cut_to_their_boxes(predictor: FastSamPredictor) -> None:
    embedding = _embedding(predictor, [[10.4, 20.6, 30.5, 40.0], [0, 0, 256, 192]])
    masks = predictor.instances(embedding)
    assert masks.logits.shape == (2, 1, *SIZE)
    image = masks.to_image()[:, 0]
    np.testing.assert_array_equal(image[0], _filled((11, 21, 31, 40)))
    assert image[1].all()
    np.testing.assert_allclose(masks.predicted_iou[:, 0], embedding.features["scores"])
    box, crop = masks.crop(0)
    assert (box.y0, box.x0, box.y1, box.x1) == (1011, 2021, 1031, 2040)
    assert crop.all()
    assert record_from_masks(masks, 0).stability == 1.0
    assert [record_from_masks(masks.take([1]), 0).area] == [256 * 192]


def test_box_between_pixel_centres_is_an_empty_mask(predictor: FastSamPredictor) -> None:
    embedding = _embedding(predictor, [[10.2, 10.2, 10.8, 50.0]])
    assert not predictor.instances(embedding).to_image().any()
    assert not predictor.decode(embedding, _points((10, 20, 1)), multimask=False).to_image().any()


# ------------------------------------------------------------------------------------------ prompts


def _decode(
    predictor: FastSamPredictor, prompts: PromptBatch, boxes: list[list[float]] = FOUR
) -> tuple[npt.NDArray[np.bool_], float]:
    masks = predictor.decode(_embedding(predictor, boxes), prompts, multimask=False)
    return masks.to_image()[0, 0], float(masks.predicted_iou[0, 0])


def test_point_joins_all_instances_that_hold_it(predictor: FastSamPredictor) -> None:
    mask, confidence = _decode(predictor, _points((70, 70, 1)))
    np.testing.assert_array_equal(mask, _filled(WHOLE, ASIDE))
    assert confidence == pytest.approx(0.9 - 0.4 / 3)


def test_background_point_cuts_small_instances_out(predictor: FastSamPredictor) -> None:
    mask, _ = _decode(predictor, _points((15, 15, 1), (100, 100, 0)))
    np.testing.assert_array_equal(mask, _filled(WHOLE) & ~_filled(ASIDE))
    # The large instance holds both points; the last one decides.
    mask, _ = _decode(predictor, _points((40, 40, 0), (15, 15, 1)))
    np.testing.assert_array_equal(mask, _filled(WHOLE) & ~_filled(PART))


@pytest.mark.parametrize("multimask", [True, False])
def test_nothing_under_the_click_is_an_empty_mask(
    predictor: FastSamPredictor, multimask: bool
) -> None:
    for boxes in (FOUR, []):
        embedding = _embedding(predictor, boxes)
        for prompts in (_points((150, 10, 1)), _points((15, 15, 0)), _box(150, 5, 160, 20)):
            masks = predictor.decode(embedding, prompts, multimask=multimask)
            assert not masks.to_image().any()
            assert (masks.predicted_iou == 0).all()
            assert record_from_masks(masks, 0).area == 0


def test_box_takes_the_instance_of_highest_iou(predictor: FastSamPredictor) -> None:
    for wanted in (WHOLE, PART, ASIDE, FAR):
        mask, _ = _decode(predictor, _box(*(value + 0.5 for value in wanted)))
        np.testing.assert_array_equal(mask, _filled(wanted))


def test_points_in_a_box_choose_among_what_holds_them(predictor: FastSamPredictor) -> None:
    both = replace(_points((70, 70, 1), (15, 15, 0)), boxes=_box(28, 28, 65, 65).boxes)
    mask, _ = _decode(predictor, both)
    np.testing.assert_array_equal(mask, _filled(ASIDE))
    # Nothing fits the points: the box alone.
    both = replace(
        _points((40, 40, 1), (70, 70, 1), (110, 110, 1)), boxes=_box(28, 28, 52, 52).boxes
    )
    mask, _ = _decode(predictor, both)
    np.testing.assert_array_equal(mask, _filled(PART))


def test_padding_points_say_nothing(predictor: FastSamPredictor) -> None:
    with_padding, _ = _decode(predictor, _points((40, 40, 1), (205, 160, -1)))
    np.testing.assert_array_equal(with_padding, _filled(WHOLE))


def test_three_candidates_of_a_click_from_small_to_large(predictor: FastSamPredictor) -> None:
    nested = [[float(20 + i), 20.0, float(100 - i), 100.0] for i in (0, 5, 10, 15, 20)]
    embedding = _embedding(predictor, nested, [0.6, 0.5, 0.9, 0.7, 0.45][:5])
    order = np.argsort(-embedding.features["scores"])  # the network's: best first
    features = {n: f if n == "prototypes" else f[order] for n, f in embedding.features.items()}
    masks = predictor.decode(replace(embedding, features=features), _points((60, 60, 1)))
    heights = masks.to_image()[0].any(axis=2).sum(axis=1).tolist()
    assert heights == [40, 60, 80]
    np.testing.assert_allclose(masks.predicted_iou[0], [0.45, 0.9, 0.6])


def test_fewer_candidates_than_three_leave_empty_ones(predictor: FastSamPredictor) -> None:
    masks = predictor.decode(_embedding(predictor, FOUR), _points((220, 170, 1)))
    assert masks.to_image().sum(axis=(2, 3)).tolist() == [[1600, 0, 0]]
    assert masks.predicted_iou[0, 1:].tolist() == [0, 0]
    # No single instance holds both points: the join of the single mode is the only candidate.
    masks = predictor.decode(_embedding(predictor, FOUR), _points((220, 170, 1), (100, 100, 1)))
    assert masks.to_image().sum(axis=(2, 3)).tolist() == [[1600 + 3600, 0, 0]]


def test_candidates_of_a_box_start_with_the_best_fit(predictor: FastSamPredictor) -> None:
    embedding = _embedding(predictor, FOUR)
    masks = predictor.decode(embedding, _box(58, 58, 118, 118))
    np.testing.assert_array_equal(masks.to_image()[0, 0], _filled(ASIDE))
    np.testing.assert_array_equal(masks.to_image()[0, 1], _filled(WHOLE))
    assert masks.predicted_iou[0].argmax() == 0  # the part of the whole is more confident


def test_mask_prompts_are_refused(predictor: FastSamPredictor) -> None:
    masks = PromptBatch(low_res_masks=np.zeros((1, 256, 256), np.float32))
    with pytest.raises(PromptError, match="does not take an earlier mask"):
        predictor.decode(_embedding(predictor, FOUR), masks)


def test_instances_of_another_model_are_refused(predictor: FastSamPredictor) -> None:
    with pytest.raises(ModelMismatchError):
        predictor.instances(replace(_embedding(predictor, FOUR), weights="other"))


# -------------------------------------------------------------------------- the way of an embedding


def test_settings_belong_to_the_identity_of_embeddings(predictor: FastSamPredictor) -> None:
    other = _predictor(InstanceSettings(confidence=0.3))
    assert _predictor().encoder_hash == predictor.encoder_hash != other.encoder_hash


@pytest.mark.parametrize("kind", ["memory", "zarr"])
def test_image_without_instances_goes_through_the_store(
    kind: str, predictor: FastSamPredictor, tmp_path: Path
) -> None:
    store = MemoryStore() if kind == "memory" else ZarrStore(tmp_path / "store")
    plane = to_rgb(np.zeros((90, 70), np.uint8))
    tile = make_tiles(plane.shape_yx, TilingConfig())[0]
    first = Embedder(predictor, store).embed(plane, tile)
    assert len(first.features["scores"]) == 0
    again = Embedder(predictor, store).embed(plane, tile)  # another one: read from the store
    assert again.frame == first.frame
    for name, feature in first.features.items():
        np.testing.assert_array_equal(again.features[name], feature)
    masks = predictor.decode(again, PromptBatch(points=[[[10, 10]]], labels=[[1]]))
    assert not masks.to_image().any()
    assert len(predictor.instances(again)) == 0


def test_segmenter_and_everything_mode_without_instances(predictor: FastSamPredictor) -> None:
    segmenter = litesam.Segmenter(np.zeros((90, 70), np.uint8), model=predictor)
    result = segmenter.segment(litesam.Prompts(points=(litesam.PointPrompt(5, 5),)))
    assert result.record.area == 0
    labels, records = segmenter.everything()
    assert labels.max() == 0
    assert records == ()


# ------------------------------------------------------------------------------------- the network


def test_folded_network_computes_the_same() -> None:
    network = fill_network(YoloSeg(TINY)).eval()
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain = network(x)
        folded = fold(network)(x)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    for name in ("boxes", "scores", "coefficients", "prototypes"):
        torch.testing.assert_close(getattr(folded, name), getattr(plain, name), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "shape", [TINY, replace(TINY, bins=26, box_width=104), replace(TINY, prototypes=False)]
)
def test_sizes_are_read_from_the_tensors(shape: YoloShape) -> None:
    network = YoloSeg(shape)
    assert shape_of(network.state_dict()) == shape
    with torch.inference_mode():
        raw = network.eval()(torch.rand(2, 3, 64, 32))
    assert raw.boxes.shape == (2, 8 * 4 + 4 * 2 + 2, 4)
    assert (raw.prototypes is not None) == shape.prototypes


def test_boxes_are_expected_distances_from_the_centres_of_cells() -> None:
    network = YoloSeg(TINY).eval()
    with torch.no_grad():
        for branch in network.model["22"].cv2:
            branch[2].weight.zero_()
            branch[2].bias.zero_()
            branch[2].bias.view(4, 16)[:, 2] = 100.0  # all four distances: two cells
        raw = network(torch.rand(1, 3, 64, 64))
    corners = raw.boxes[0]
    torch.testing.assert_close(corners[0], torch.tensor([-12.0, -12.0, 20.0, 20.0]))
    torch.testing.assert_close(corners[64], torch.tensor([-24.0, -24.0, 40.0, 40.0]))
    torch.testing.assert_close(corners[-1], torch.tensor([-16.0, -16.0, 112.0, 112.0]))
