"""What every predictor promises, for every model of the registry.

Where a model's own weights are not on this computer it gets deterministic ones: the promises are
about shapes, frames, determinism and errors, not about quality.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from litesam.errors import ImageError, ModelMismatchError, PromptError
from litesam.predictors import Predictor
from litesam.types import Embedding, Masks, PromptBatch
from weights import SLOW_ABOVE, build_network, model_cases, usable_predictor

if TYPE_CHECKING:
    import numpy.typing as npt

#: Wider than high, so that swapped axes leave the image.
HEIGHT, WIDTH = 90, 160
ORIGIN = (1000, 2000)
#: Logits and predicted IoU may differ by this when the same numbers are summed in another order;
#: they are of the order of 10 and 1.
CLOSE = {"rtol": 0.0, "atol": 5e-3}
#: Features that are not kept as float32.
DTYPES = {"early": np.float16, "picture": np.uint8}


@pytest.fixture(scope="module", params=model_cases())
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    return usable_predictor(request.param, tmp_path_factory.mktemp("weights"))


def _picture() -> npt.NDArray[np.uint8]:
    """Bright discs on a dark, noisy ground."""
    rng = np.random.default_rng(7)
    image = rng.normal(60, 8, (HEIGHT, WIDTH))
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    for y, x, r in ((25, 30, 12), (60, 70, 16), (30, 110, 9), (65, 140, 14)):
        image += 120 * ((yy - y) ** 2 + (xx - x) ** 2 < r * r)
    grey = image.clip(0, 255).astype(np.uint8)
    return np.stack([grey, grey, grey], axis=-1)


@pytest.fixture(scope="module")
def rgb() -> npt.NDArray[np.uint8]:
    return _picture()


@pytest.fixture(scope="module")
def embedding(predictor: Predictor, rgb: npt.NDArray[np.uint8]) -> Embedding:
    return predictor.encode(rgb, ORIGIN)


def _at(points: list[list[list[float]]], labels: list[list[int]]) -> PromptBatch:
    """Points relative to the region."""
    return PromptBatch(points=np.asarray(points) + np.asarray(ORIGIN), labels=labels)


def _boxes(boxes: list[list[float]]) -> PromptBatch:
    return PromptBatch(boxes=np.asarray(boxes) + np.asarray(ORIGIN * 2))


CLICKS = _at([[[25, 30]], [[60, 70]], [[30, 110]]], [[1], [1], [0]])
BOXES = _boxes([[10, 15, 40, 45], [44, 54, 77, 87], [20, 100, 40, 120]])
BOTH = PromptBatch(points=CLICKS.points, labels=[[1], [1], [1]], boxes=BOXES.boxes)


def _assert_same(ours: Masks, theirs: Masks) -> None:
    np.testing.assert_allclose(ours.logits, theirs.logits, **CLOSE)
    np.testing.assert_allclose(ours.predicted_iou, theirs.predicted_iou, **CLOSE)


def _candidates(predictor: Predictor, multimask: bool) -> int:
    """HQ models refine the best of three themselves and return that one."""
    return 3 if multimask and not predictor.spec.family.startswith("hq_") else 1


# ------------------------------------------------------------------------------------------- encode


def test_is_a_predictor(predictor: Predictor) -> None:
    assert isinstance(predictor, Predictor)
    assert predictor.device == "cpu"
    assert len(predictor.weights_hash) >= 16


def test_parameter_count_is_that_of_the_spec(predictor: Predictor) -> None:
    counted = sum(p.numel() for p in build_network(predictor.spec).parameters())
    assert counted == pytest.approx(predictor.spec.parameters, rel=0.02)


def test_embedding_has_the_features_of_the_spec(predictor: Predictor, embedding: Embedding) -> None:
    assert embedding.model == predictor.spec.encoder_name
    assert embedding.weights == predictor.encoder_hash
    assert embedding.frame.origin_yx == ORIGIN
    assert embedding.frame.size_yx == (HEIGHT, WIDTH)
    if predictor.spec.resize != "letterbox":
        assert embedding.frame.input_yx == (predictor.spec.frame_px, predictor.spec.frame_px)
    for name, shape in predictor.spec.feature_shapes.items():
        feature = embedding.features[name]
        assert feature.shape == shape
        assert feature.dtype == DTYPES.get(name, np.float32)
        assert feature.flags.c_contiguous
        assert np.isfinite(feature).all()


def test_encode_is_deterministic_sees_the_image_and_leaves_it_alone(
    predictor: Predictor, embedding: Embedding, rgb: npt.NDArray[np.uint8]
) -> None:
    before = rgb.copy()
    rgb.setflags(write=False)
    again = predictor.encode(rgb)
    other = predictor.encode(255 - rgb)
    np.testing.assert_array_equal(rgb, before)
    for name, feature in embedding.features.items():
        np.testing.assert_array_equal(again.features[name], feature)
        # A model that finds instances at encoding finds another number of them.
        assert other.features[name].shape != feature.shape or not np.allclose(
            other.features[name], feature, atol=1e-2
        )


# What is done about sizes is the same code for the lighter models of a family.
@pytest.mark.parametrize("predictor", model_cases(SLOW_ABOVE // 2), indirect=True)
@pytest.mark.parametrize("shape", [(1, 1), (3, 700)])
def test_extreme_sizes(predictor: Predictor, shape: tuple[int, int]) -> None:
    embedding = predictor.encode(np.full((*shape, 3), 90, np.uint8))
    masks = predictor.decode(embedding, PromptBatch(points=[[[0, 0]]], labels=[[1]]))
    assert np.isfinite(masks.logits).all()
    assert masks.to_image().shape[-2:] == shape


def test_encode_refuses_other_images(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match="uint8 is needed"):
        predictor.encode(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ImageError, match="uint8 is needed"):
        predictor.encode(np.zeros((8, 8), np.uint8))


# ------------------------------------------------------------------------------------------- decode


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompts", [CLICKS, BOXES, BOTH], ids=["points", "boxes", "both"])
def test_shapes_and_types(
    predictor: Predictor, embedding: Embedding, prompts: PromptBatch, multimask: bool
) -> None:
    masks = predictor.decode(embedding, prompts, multimask=multimask)
    candidates = _candidates(predictor, multimask)
    assert masks.origins is None
    assert masks.logits.shape == (3, candidates, *masks.low_res_yx)
    assert masks.logits.dtype == np.float32
    assert masks.predicted_iou.shape == (3, candidates)
    assert masks.predicted_iou.dtype == np.float32
    assert np.isfinite(masks.logits).all()
    assert np.isfinite(masks.predicted_iou).all()
    assert masks.frame == embedding.frame
    image = masks.to_image()
    assert image.shape == (3, candidates, HEIGHT, WIDTH)
    assert image.dtype == np.bool_


@pytest.mark.parametrize("prompts", [CLICKS, BOXES, BOTH], ids=["points", "boxes", "both"])
def test_batch_equals_single_prompts(
    predictor: Predictor, embedding: Embedding, prompts: PromptBatch
) -> None:
    batch = predictor.decode(embedding, prompts)
    for index in range(len(prompts)):
        _assert_same(predictor.decode(embedding, prompts.take([index])), batch.take([index]))


def test_large_batch_equals_its_parts(predictor: Predictor, embedding: Embedding) -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform((0, 0), (HEIGHT - 1, WIDTH - 1), (35, 1, 2))
    prompts = _at(points.tolist(), [[1]] * 35)
    batch = predictor.decode(embedding, prompts, multimask=False)
    for index in (0, 17, 34):
        single = predictor.decode(embedding, prompts.take([index]), multimask=False)
        _assert_same(single, batch.take([index]))


def test_decode_is_deterministic(predictor: Predictor, embedding: Embedding) -> None:
    first = predictor.decode(embedding, BOTH)
    second = predictor.decode(embedding, BOTH)
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.predicted_iou, second.predicted_iou)


def test_every_prompt_matters(predictor: Predictor, embedding: Embedding) -> None:
    masks = predictor.decode(embedding, CLICKS, multimask=False)
    assert np.abs(masks.logits[0] - masks.logits[1]).max() > 0.1
    plus, minus = _at([[[25, 30], [60, 70]]], [[1, 1]]), _at([[[25, 30], [60, 70]]], [[1, 0]])
    positive = predictor.decode(embedding, plus, multimask=False)
    negative = predictor.decode(embedding, minus, multimask=False)
    assert np.abs(positive.logits - negative.logits).max() > 0.1


def test_order_of_points_does_not_matter(predictor: Predictor, embedding: Embedding) -> None:
    """But for models with which each click corrects the mask so far: there the first one on the
    object comes before all others.
    """
    points, labels = np.array([[25, 30], [60, 70], [20, 35]]), np.array([1, 0, 1])
    order = [1, 0, 2] if predictor.spec.corrects else [2, 1, 0]
    forth = predictor.decode(embedding, _at([points], [labels]))
    back = predictor.decode(embedding, _at([points[order]], [labels[order]]))
    _assert_same(forth, back)


def test_points_are_row_then_column(predictor: Predictor, embedding: Embedding) -> None:
    predictor.decode(embedding, _at([[[10, WIDTH - 1]]], [[1]]))
    with pytest.raises(PromptError, match="outside the region"):
        predictor.decode(embedding, _at([[[WIDTH - 1, 10]]], [[1]]))


def test_origin_shifts_prompts_and_nothing_else(predictor: Predictor, embedding: Embedding) -> None:
    there = predictor.decode(embedding, BOTH)
    here = predictor.decode(
        replace(embedding, frame=embedding.frame.at((0, 0))),
        PromptBatch(
            points=BOTH.points - np.asarray(ORIGIN),
            labels=BOTH.labels,
            boxes=BOTH.boxes - np.asarray(ORIGIN * 2),
        ),
    )
    _assert_same(here, there)


def test_mask_prompt_is_used(predictor: Predictor, embedding: Embedding) -> None:
    if "mask" not in predictor.spec.prompts:
        pytest.skip("this model takes no mask prompts")
    click = CLICKS.take([0])
    first = predictor.decode(embedding, click, multimask=False)
    refined = predictor.decode(
        embedding, replace(click, low_res_masks=first.logits[:, 0]), multimask=False
    )
    assert refined.logits.shape == first.logits.shape
    assert np.abs(refined.logits - first.logits).max() > 1e-3
    alone = predictor.decode(
        embedding, PromptBatch(low_res_masks=first.logits[:, 0]), multimask=False
    )
    assert alone.logits.shape == first.logits.shape


def test_read_only_features_of_a_store_are_taken(
    predictor: Predictor, embedding: Embedding
) -> None:
    features = {name: feature.copy() for name, feature in embedding.features.items()}
    for feature in features.values():
        feature.setflags(write=False)
    masks = predictor.decode(replace(embedding, features=features), CLICKS)
    _assert_same(masks, predictor.decode(embedding, CLICKS))


def test_two_threads_get_what_one_gets(predictor: Predictor, embedding: Embedding) -> None:
    wanted = [predictor.decode(embedding, CLICKS.take([i])) for i in range(3)]
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda i: predictor.decode(embedding, CLICKS.take([i % 3])), range(6)))
    for index, masks in enumerate(got):
        _assert_same(masks, wanted[index % 3])


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompts", [CLICKS, BOXES, BOTH], ids=["points", "boxes", "both"])
def test_windows_hold_what_decode_returns(
    predictor: Predictor, embedding: Embedding, prompts: PromptBatch, multimask: bool
) -> None:
    windows = predictor.decode_windows(embedding, prompts, multimask=multimask)
    assert windows.low_res_yx == predictor.decode(embedding, prompts).low_res_yx
    _assert_same(windows.whole(), predictor.decode(embedding, prompts, multimask=multimask))


@pytest.mark.parametrize("size", [1, 2, 64])
@pytest.mark.parametrize("prompts", [CLICKS, BOXES], ids=["points", "boxes"])
def test_batches_hold_every_prompt_once(
    predictor: Predictor, embedding: Embedding, prompts: PromptBatch, size: int
) -> None:
    parts = list(predictor.batches(embedding, prompts, batch_size=size))
    assert all(0 < len(part) <= size for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(3))


def test_proposals_lie_in_the_region_best_first(predictor: Predictor, embedding: Embedding) -> None:
    proposals = predictor.propose(embedding, top_n=5, confidence_threshold=0.0)
    own = "auto_ppn" in predictor.spec.proposals and predictor.spec.proposer is None
    assert (proposals is not None) == own
    if proposals is None:
        return
    assert len(proposals) <= 5
    assert proposals.points.shape == (len(proposals), 2)
    assert proposals.boxes.shape == (len(proposals), 4)
    assert proposals.confidence.shape == (len(proposals),)
    assert (np.diff(proposals.confidence) <= 0).all()
    inside = proposals.points - np.asarray(ORIGIN)
    assert ((inside >= -0.5) & (inside <= np.array([HEIGHT, WIDTH]) - 0.5)).all()
    if len(proposals):
        # They are prompts that the same predictor takes.
        labels = np.ones((len(proposals), 1))
        batch = PromptBatch(points=proposals.points[:, None], labels=labels, boxes=proposals.boxes)
        assert len(predictor.decode_windows(embedding, batch, multimask=False)) == len(proposals)


# ------------------------------------------------------------------------------------------- errors


def test_embedding_of_another_model_or_weights(predictor: Predictor, embedding: Embedding) -> None:
    for changed in (replace(embedding, model="other"), replace(embedding, weights="other")):
        with pytest.raises(ModelMismatchError, match="encode the image again"):
            predictor.decode(changed, CLICKS)
        with pytest.raises(ModelMismatchError, match="encode the image again"):
            predictor.decode_windows(changed, CLICKS)


def test_prompts_outside_the_region(predictor: Predictor, embedding: Embedding) -> None:
    for decode in (predictor.decode, predictor.decode_windows):
        with pytest.raises(PromptError, match=r"Point 0 of prompt 0 at \(y=0, x=0\)"):
            decode(embedding, PromptBatch(points=[[[0, 0]]], labels=[[1]]))
        with pytest.raises(PromptError, match="Box 0"):
            decode(embedding, PromptBatch(boxes=[[0, 0, 10, 10]]))


def test_box_over_the_rim_is_the_clipped_box(predictor: Predictor, embedding: Embedding) -> None:
    over = predictor.decode(embedding, _boxes([[-20, 100, 50, WIDTH + 30]]))
    clipped = predictor.decode(embedding, _boxes([[0, 100, 50, WIDTH]]))
    _assert_same(over, clipped)


def test_mask_prompt_of_another_size(predictor: Predictor, embedding: Embedding) -> None:
    masks = np.zeros((1, HEIGHT, WIDTH), np.float32)
    takes = "mask" in predictor.spec.prompts
    words = f"Mask prompts are {HEIGHT}x{WIDTH}" if takes else "does not take an earlier mask"
    with pytest.raises(PromptError, match=words):
        predictor.decode(embedding, PromptBatch(low_res_masks=masks))


def test_too_many_points_are_refused_and_not_dropped(
    predictor: Predictor, embedding: Embedding
) -> None:
    count = 8 if predictor.spec.max_points is None else predictor.spec.max_points + 1
    points = [[[25.0, 30.0 + step] for step in range(count)]]
    if predictor.spec.max_points is None:
        assert len(predictor.decode(embedding, _at(points, [[1] * count]))) == 1
        return
    with pytest.raises(PromptError, match=f"{count} points"):
        predictor.decode(embedding, _at(points, [[1] * count]))


def test_batch_without_prompts(predictor: Predictor, embedding: Embedding) -> None:
    with pytest.raises(PromptError, match="no prompts"):
        predictor.decode(embedding, PromptBatch(boxes=np.zeros((0, 4))))
