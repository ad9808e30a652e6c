"""The grid of everything mode finds what SAM's automatic mask generator finds.

Reference: the official generator with MobileSAM and deterministic weights (salt 6, so that masks
are small and of different quality), in the conformance kit. Its boxes reach from the first to the
last pixel, (x, y, width, height) with width = x1 - x0.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import litesam
from litesam.embedder import Embedder
from litesam.errors import ConfigError
from litesam.everything import crop_boxes, find_objects, generate, grid_points
from litesam.merge import (
    box_nms,
    near_inner_edge,
    record_from_masks,
    remove_small_regions,
    stability_score,
)
from litesam.preprocess import Plane
from litesam.tiling import make_tiles
from litesam.types import Box, EverythingConfig, PromptBatch
from parity.fill import fill_state_dict
from parity.goldens import DATA, KIT, read_names

if TYPE_CHECKING:
    from litesam.predictors import Predictor
    from litesam.types import Embedding, MaskRecord

    Array = np.ndarray[Any, Any]

FOLDER = KIT / "amg"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "golden.npz").is_file(), reason="the conformance kit is not beside the checkout"
)


@pytest.fixture(scope="module")
def index() -> dict[str, Any]:
    return json.loads((FOLDER / "golden.json").read_text())


@pytest.fixture(scope="module")
def arrays() -> dict[str, Array]:
    with np.load(FOLDER / "golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def amg_predictor(index: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    state = fill_state_dict(read_names(DATA / "state_dict.tsv"), salt=index["salt"])
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save({name: torch.from_numpy(np.asarray(a)) for name, a in state.items()}, path)
    return litesam.load_predictor("mobile_sam", weights=path, device="cpu")


@pytest.fixture(scope="module")
def image(index: dict[str, Any]) -> Array:
    with Image.open(KIT / "images" / index["image"]["file"]) as file:
        return np.asarray(file.convert("RGB"))


@pytest.fixture(scope="module")
def embedding(amg_predictor: Predictor, image: Array) -> Embedding:
    return amg_predictor.encode(image)


@pytest.fixture(scope="module")
def candidates(amg_predictor: Predictor, embedding: Embedding) -> list[MaskRecord]:
    """All masks of the 8 × 8 grid before any filter."""
    points = grid_points(Box(0, 0, *embedding.frame.size_yx), 8)
    prompts = PromptBatch(points=points[:, None], labels=np.ones((len(points), 1)))
    masks = amg_predictor.decode_windows(embedding, prompts, multimask=True)
    return [record_from_masks(masks, p, m) for p in range(len(points)) for m in range(3)]


def test_grid_is_the_same(arrays: dict[str, Array], index: dict[str, Any]) -> None:
    width, height = index["image"]["size_wh"]
    assert np.array_equal(grid_points(Box(0, 0, height, width), 8), arrays["grid"][:, ::-1])


def test_candidates_are_the_same(candidates: list[MaskRecord], arrays: dict[str, Array]) -> None:
    iou = np.array([c.predicted_iou for c in candidates])
    # Float32 sums in another order; the predicted IoU is a short sum of the decoder's tokens.
    np.testing.assert_allclose(iou, arrays["candidates.iou"], atol=1e-3)
    areas = np.array([c.area for c in candidates])
    expected = arrays["candidates.areas"]
    # A logit next to 0 may flip: a pixel here and there along the outlines.
    assert (np.abs(areas - expected) <= np.maximum(2, 0.01 * expected)).all()
    present = expected > 0
    stability = np.array([c.stability for c in candidates])
    large = expected > 200  # one flipped pixel moves the ratio by less than 0.01
    np.testing.assert_allclose(stability[large], arrays["candidates.stability"][large], atol=0.01)
    boxes = np.array([(c.box.x0, c.box.y0, c.box.x1 - 1, c.box.y1 - 1) for c in candidates])
    same = (boxes[present] == arrays["candidates.boxes"][present]).all(axis=1)
    assert same.mean() > 0.95


@pytest.fixture(scope="module")
def embedder(amg_predictor: Predictor) -> Embedder:
    return Embedder(amg_predictor)


def _config(settings: dict[str, Any]) -> EverythingConfig:
    """SAM's parameters in our names; those that a run does not name have SAM's defaults."""
    return EverythingConfig(
        points_per_side=settings["points_per_side"],
        points_per_batch=settings["points_per_batch"],
        predicted_iou_threshold=settings["pred_iou_thresh"],
        stability_threshold=settings["stability_score_thresh"],
        stability_offset=settings["stability_score_offset"],
        nms_iou=settings["box_nms_thresh"],
        crop_layers=settings["crop_n_layers"],
        crop_points_downscale=settings.get("crop_n_points_downscale_factor", 1),
        min_region_area_px=settings["min_mask_region_area"],
    )


@pytest.mark.parametrize("run", ["default_points8", "nms_0.9", "min_region", "crops"])
def test_records_are_the_same(
    run: str,
    embedder: Embedder,
    image: Array,
    arrays: dict[str, Array],
    index: dict[str, Any],
) -> None:
    settings, expected = (index["runs"][run][key] for key in ("settings", "records"))
    plane = Plane(image, "as it is")
    records = find_objects(
        embedder.predictor,
        embedder,
        plane,
        make_tiles(plane.shape_yx),
        "grid",
        _config(settings),
    )

    assert len(records) == len(expected)
    shape = tuple(index["arrays"][f"{run}.masks"]["full_shape"])
    masks = np.unpackbits(arrays[f"{run}.masks"])[: np.prod(shape)].reshape(shape).astype(bool)
    for record, reference, mask in zip(records, expected, masks, strict=True):
        x, y = reference["point_coords"][0]
        assert record.point == (y, x)
        assert record.predicted_iou == pytest.approx(reference["predicted_iou"], abs=1e-3)
        assert record.stability == pytest.approx(reference["stability_score"], abs=0.02)
        x0, y0, width, height = reference["bbox"]
        box = record.box
        np.testing.assert_allclose(
            (box.x0, box.y0, box.x1 - 1 - box.x0, box.y1 - 1 - box.y0),
            (x0, y0, width, height),
            atol=2,  # a logit next to 0 may flip
        )
        ours = record.mask(mask.shape)
        assert (ours & mask).sum() / (ours | mask).sum() >= 0.99


def test_crops_need_the_pixels(amg_predictor: Predictor, embedding: Embedding) -> None:
    (tile,) = make_tiles(embedding.frame.size_yx)
    with pytest.raises(ConfigError, match="Crops need the pixels"):
        generate(amg_predictor, embedding, tile, "grid", EverythingConfig(crop_layers=1))


def test_crops_are_the_same(index: dict[str, Any]) -> None:
    for name, case in index["helpers"]["generate_crop_boxes"].items():
        height, width, layers = (int(n) for n in re.findall(r"(?:h|w|layers)(\d+)", name))
        found = crop_boxes(Box(0, 0, height, width), layers, case["overlap_ratio"])
        assert [layer for layer, _ in found] == case["layers"]
        assert [[b.x0, b.y0, b.x1, b.y1] for _, b in found] == case["boxes_xyxy"]


@pytest.mark.parametrize("kind", ["holes", "islands"])
@pytest.mark.parametrize("least", [20, 60])
def test_small_regions_are_the_same(
    kind: str, least: int, arrays: dict[str, Array], index: dict[str, Any]
) -> None:
    shape = index["arrays"]["helper.regions.masks"]["full_shape"]

    def stored(name: str) -> Array:
        flat = np.unpackbits(arrays[f"helper.regions.{name}"])[: np.prod(shape)]
        return flat.reshape(shape).astype(bool)

    changes = index["helpers"]["remove_small_regions"][f"{kind}{least}_changed"]
    for mask, expected, changed in zip(
        stored("masks"), stored(f"{kind}{least}"), changes, strict=True
    ):
        ours, is_changed = remove_small_regions(mask, least, kind)  # type: ignore[arg-type]
        assert is_changed == changed
        assert np.array_equal(ours, expected)


@pytest.mark.parametrize("offset", [0.5, 1.0, 3.0])
def test_stability_score_is_the_same(offset: float, arrays: dict[str, Array]) -> None:
    ours = stability_score(arrays["helper.stability.logits"], offset)
    np.testing.assert_array_equal(ours, arrays[f"helper.stability.offset{offset}"])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_box_nms_is_the_same(threshold: float, arrays: dict[str, Array]) -> None:
    boxes = arrays["helper.nms.boxes"][:, [1, 0, 3, 2]]
    kept = box_nms(boxes, arrays["helper.nms.scores"], threshold)
    assert kept.tolist() == arrays[f"helper.nms.keep{threshold}"].tolist()


def test_boxes_near_a_crop_edge_are_the_same(index: dict[str, Any]) -> None:
    for crop, case in index["helpers"]["is_box_near_crop_edge"].items():
        region = np.array(json.loads(crop))
        boxes = np.array(case["boxes_in_crop"]) + np.tile(region[:2], 2)
        swap = [1, 0, 3, 2]
        ours = near_inner_edge(boxes[:, swap], region[swap], np.array(case["orig_box"])[swap])
        assert ours.tolist() == case["result"]
