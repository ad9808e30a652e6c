"""Everything mode and the segmenter with the real networks.

Where a model's own weights are not on this computer it gets deterministic ones: what is asked here
is that prompts, windows, frames, masks and labels fit together, not that the objects are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from litesam.errors import ConfigError
from litesam.everything import segment_everything
from litesam.merge import mask_iou
from litesam.segmenter import Segmenter
from litesam.types import (
    PROPOSALS,
    BoxPrompt,
    EverythingConfig,
    PointLabel,
    PointPrompt,
    Prompts,
    TilingConfig,
)
from weights import model_cases, usable_predictor

if TYPE_CHECKING:
    import numpy.typing as npt

    from litesam.predictors import Predictor

#: Few prompts and no filters: the networks are slow and without training nothing would pass.
CONFIG = EverythingConfig(
    points_per_side=3,
    points_per_batch=5,
    predicted_iou_threshold=0.0,
    stability_threshold=0.0,
    confidence_threshold=0.0,
    top_n=6,
)
TILING = TilingConfig(tile_px=128, halo_px=24, single_up_to_px=128)


@pytest.fixture(scope="module", params=model_cases(60_000_000))
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    return usable_predictor(request.param, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.uint8]:
    """(110, 170): two tiles."""
    random = np.random.default_rng(0)
    yy, xx = np.mgrid[:110, :170]
    bright = np.zeros((110, 170))
    for y, x, radius in ((30, 30, 12), (70, 40, 9), (40, 100, 15), (85, 140, 11)):
        bright += np.exp(-((((yy - y) ** 2 + (xx - x) ** 2) / radius**2) ** 2))
    return (20 + 180 * bright + random.normal(0, 4, bright.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def segmenter(predictor: Predictor, image: npt.NDArray[np.uint8]) -> Segmenter:
    return Segmenter(image, predictor, tiling=TILING)


@pytest.mark.parametrize("proposals", PROPOSALS)
def test_labels_and_records_agree_and_are_the_same_again(
    segmenter: Segmenter, image: npt.NDArray[np.uint8], proposals: str
) -> None:
    spec = segmenter.predictor.spec
    if proposals not in spec.proposals:
        with pytest.raises(ConfigError, match=f"cannot propose prompts with '{proposals}'"):
            segmenter.everything(proposals=proposals, config=CONFIG)
        return
    labels, records = segmenter.everything(proposals=proposals, config=CONFIG)
    assert labels.shape == image.shape
    assert [r.label for r in records] == list(range(1, len(records) + 1))
    assert set(np.unique(labels)) - {0} == {r.label for r in records}
    for record in records:
        assert np.array_equal(labels == record.label, record.mask(labels.shape))
        assert np.isfinite([record.score, record.predicted_iou, record.stability]).all()
    if proposals == spec.proposals[0]:  # from the image on; once for each model is enough
        again, _ = segment_everything(image, segmenter.predictor, None, CONFIG, tiling=TILING)
    else:
        again, _ = segmenter.everything(proposals=proposals, config=CONFIG)
    assert np.array_equal(labels, again)


def test_boxes_of_the_caller_are_decoded_as_prompts_are(
    predictor: Predictor, image: npt.NDArray[np.uint8]
) -> None:
    one_tile = Segmenter(image[:, :128], predictor, tiling=TILING)
    boxes = [(18.0, 18.0, 43.0, 43.0), (25.0, 84.0, 56.0, 117.0)]
    if "boxes" not in predictor.spec.proposals:
        with pytest.raises(ConfigError, match="'boxes'"):
            one_tile.find_objects(boxes=boxes)
        return
    found = one_tile.find_objects(boxes=boxes)
    singles = [one_tile.segment(Prompts(box=BoxPrompt(*box))).record for box in boxes]
    expected = sorted((r for r in singles if r.area), key=lambda r: -r.area)
    for record, single in zip(found, expected, strict=True):
        # A logit next to 0 may flip: sums have another order in a batch.
        assert mask_iou(record, single) > 0.98


def _click(y: float, x: float) -> Prompts:
    return Prompts(points=(PointPrompt(y, x),))


def test_click_candidates_and_refinement(segmenter: Segmenter) -> None:
    first = segmenter.segment(_click(40, 100))
    assert first.mask.shape == segmenter.plane_shape
    spec = segmenter.predictor.spec
    # HQ refines the best of the three; the others are gone.
    assert first.candidates == (1 if spec.hq == spec.name else 3)
    assert first.record.predicted_iou == first.masks.predicted_iou.max()
    low_res = None
    if "mask" in spec.prompts:
        low_res = first.masks.whole().logits[0, first.candidate]
    background = PointPrompt(70, 60, PointLabel.BACKGROUND)
    refined = segmenter.segment(
        Prompts(points=(PointPrompt(40, 100), background), low_res_mask=low_res), tile=first.tile
    )
    assert refined.candidates == 1
    assert refined.mask.shape == segmenter.plane_shape


def test_mask_is_that_of_the_decoder(segmenter: Segmenter, predictor: Predictor) -> None:
    prompts = Prompts(box=BoxPrompt(15, 15, 45, 45))
    result = segmenter.segment(prompts)
    box = result.tile.padded
    embedding = predictor.encode(segmenter.plane().rgb[box.slices], (box.y0, box.x0))
    masks = predictor.decode(embedding, prompts.to_batch(), multimask=False)
    expected = np.zeros(segmenter.plane_shape, dtype=bool)
    expected[box.slices] = masks.to_image()[0, 0]
    assert np.array_equal(result.mask, expected)


def test_many_prompts_give_what_single_ones_give(segmenter: Segmenter) -> None:
    prompts = [
        _click(30, 30),
        Prompts(box=BoxPrompt(20, 80, 60, 120)),
        _click(85, 140),
        _click(70, 40),
    ]
    records = segmenter.segment_many(prompts)
    for given, record in zip(prompts, records, strict=True):
        single = segmenter.segment(given)
        mask = record.mask(segmenter.plane_shape)
        # A logit next to 0 may flip: sums have another order in a batch.
        assert (mask ^ single.mask).sum() <= 0.01 * max(mask.sum(), 100)
        assert record.predicted_iou == pytest.approx(single.record.predicted_iou, abs=5e-3)
