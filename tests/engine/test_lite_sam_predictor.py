"""Lite-SAM's predictor: windows, growth, batches and proposals, with deterministic weights.

What every predictor promises is in ``test_predictor_contract``; here is what only this one does.
"""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
import pytest
import torch

from litesam.embedder import Embedder
from litesam.errors import ModelMismatchError
from litesam.models.lite_sam import WINDOWS
from litesam.models.prompt_maps import FADE_PER_SIDE, WindowPrompts
from litesam.predictors.base import check_prompts
from litesam.predictors.lite_sam import _MOST_STEPS, _VIEWS, LiteSamPredictor
from litesam.predictors.windows import reaches_border
from litesam.preprocess import Plane
from litesam.store import MemoryStore, ZarrStore
from litesam.tiling import make_tiles
from litesam.types import OUTSIDE_LOGIT, Masks, PromptBatch
from weights import constant_lite_sam, filled_predictor, set_own_boxes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from litesam.types import Embedding

#: Wider than high, so that swapped axes leave the image; a model pixel is about an image pixel.
HEIGHT, WIDTH = 300, 500
ORIGIN = (1000, 2000)
GRID, STRIDE = 64, 8
#: Sums in another order; logits are of the order of 10.
CLOSE = {"rtol": 0.0, "atol": 5e-3}


def _picture() -> npt.NDArray[np.uint8]:
    """Bright discs on a dark, noisy ground."""
    rng = np.random.default_rng(7)
    image = rng.normal(60, 8, (HEIGHT, WIDTH))
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    for y, x, r in ((60, 80, 20), (150, 300, 40), (220, 420, 15), (40, 400, 60)):
        image += 120 * ((yy - y) ** 2 + (xx - x) ** 2 < r * r)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> LiteSamPredictor:
    made = filled_predictor("lite_sam", tmp_path_factory.mktemp("weights"))
    assert isinstance(made, LiteSamPredictor)
    return made


@pytest.fixture(scope="module")
def nothing() -> LiteSamPredictor:
    return constant_lite_sam(-1.0)


@pytest.fixture(scope="module")
def whole_window() -> LiteSamPredictor:
    return constant_lite_sam(1.0)


@pytest.fixture(scope="module")
def embedding(predictor: LiteSamPredictor) -> Embedding:
    return predictor.encode(_picture(), ORIGIN)


@pytest.fixture
def all_parts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks as the decoder gives them; what is left out has tests in ``test_loose_parts``.

    Those of these weights are in many parts, and the last digit of a logit decides on some.
    """
    monkeypatch.setattr("litesam.predictors.lite_sam.drop_loose_parts", lambda *_: None)


def _of(predictor: LiteSamPredictor, embedding: Embedding) -> Embedding:
    """The same features as if that predictor had made them."""
    return replace(embedding, weights=predictor.encoder_hash)


def _clicks(points: npt.ArrayLike, labels: npt.ArrayLike | None = None) -> PromptBatch:
    """One or more points per prompt, relative to the region."""
    points = np.asarray(points, dtype=np.float32)
    points = points[:, None] if points.ndim == 2 else points
    labels = np.ones(points.shape[:2]) if labels is None else labels
    return PromptBatch(points=points + np.asarray(ORIGIN), labels=labels)


def _boxes(boxes: npt.ArrayLike) -> PromptBatch:
    return PromptBatch(boxes=np.asarray(boxes, dtype=np.float32) + np.asarray(ORIGIN * 2))


def _scattered(count: int, seed: int = 7) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform((0, 0), (HEIGHT - 1, WIDTH - 1), (count, 2))


def _assert_same(ours: Masks, theirs: Masks) -> None:
    np.testing.assert_allclose(ours.logits, theirs.logits, **CLOSE)
    np.testing.assert_allclose(ours.predicted_iou, theirs.predicted_iou, **CLOSE)


def _side(masks: Masks) -> int:
    """Side of the windows, cells."""
    return masks.logits.shape[-1] // 4


def _cells(embedding: Embedding, y: float, x: float) -> npt.NDArray[np.float64]:
    """Place of a region pixel in the embedding, (y, x) cells."""
    return np.array([y, x]) * np.asarray(embedding.frame.scale_yx) / STRIDE


# ------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize(
    ("size", "side"),
    # The longest side + 25 % + 2 cells must fit: 89 image pixels are 11.4 cells, with it 16.2.
    [(5, 16), (60, 16), (85, 16), (89, 32), (150, 32), (186, 32), (190, 64), (299, 64)],
)
def test_box_is_decoded_in_the_smallest_window_that_holds_it(
    nothing: LiteSamPredictor, embedding: Embedding, size: int, side: int
) -> None:
    for height, width in ((size, 5), (5, size), (size, size)):
        masks = nothing.decode_windows(
            _of(nothing, embedding), _boxes([[0, 100, height, 100 + width]])
        )
        assert _side(masks) == side
        assert (masks.origins is None) == (side == GRID)


@pytest.mark.parametrize(
    ("y", "x"), [(150, 250), (0, 0), (299, 499), (0, 499), (299, 0), (20, 250), (150, 490)]
)
def test_window_holds_the_prompt_and_stays_in_the_frame(
    nothing: LiteSamPredictor, embedding: Embedding, y: float, x: float
) -> None:
    embedding = _of(nothing, embedding)
    for prompts in (_clicks([[y, x]]), _boxes([[y - 10, x - 12, y + 10, x + 12]])):
        masks = nothing.decode_windows(embedding, prompts)
        assert masks.origins is not None
        side, corner = _side(masks), masks.origins[0] / 4
        assert ((corner >= 0) & (corner + side <= GRID)).all()
        place = _cells(embedding, y, x)
        assert ((corner <= place) & (place <= corner + side)).all()
        # In the middle, where the frame's border leaves room for that. The box that AutoPPN sees
        # under a click is cut at the border of the region.
        room = (place >= side / 2) & (place <= GRID - side / 2)
        assert (np.abs(place - corner - side / 2)[room] <= 1.5).all()


@pytest.mark.parametrize(("group", "side"), [(0, 16), (1, 16), (2, 64)])
def test_click_is_decoded_in_the_window_of_the_object_that_auto_ppn_sees(
    embedding: Embedding, group: int, side: int
) -> None:
    predictor = constant_lite_sam(-1.0)
    set_own_boxes(predictor._network, group)
    embedding = _of(predictor, embedding)
    assert _side(predictor.decode_windows(embedding, _clicks([[150, 250]]))) == side
    # A box that is given counts alone.
    box = _boxes([[140, 240, 160, 260]]).boxes
    box_and_click = replace(_clicks([[150, 250]]), boxes=box)
    assert _side(predictor.decode_windows(embedding, box_and_click)) == 16


def test_click_is_a_click_and_the_box_that_auto_ppn_sees(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    click = _clicks([[150, 250]])
    with torch.inference_mode():
        tensors = predictor._complete_prompts(predictor._view(embedding), click, embedding.frame)
    assert tensors.boxes is not None
    boxes = embedding.frame.boxes_to_image(tensors.boxes.numpy())
    both = replace(click, boxes=boxes)
    one, two = (predictor.decode(embedding, prompts) for prompts in (click, both))
    # A box that is given ends the mask; AutoPPN's does not.
    x0, y0, x1, y1 = np.round(tensors.boxes[0].numpy() / 2).astype(int)
    inside = (0, slice(None), slice(y0 + 1, y1 - 1), slice(x0 + 1, x1 - 1))
    assert one.logits[inside].size
    # Boxes in image pixels are known to 1e-4 at coordinates of 2000.
    np.testing.assert_allclose(one.logits[inside], two.logits[inside], rtol=0, atol=0.05)
    assert (two.logits[0, :, : y0 - 1] < one.logits[0, :, : y0 - 1]).any()


def test_clicks_far_apart_need_a_large_window(
    nothing: LiteSamPredictor, embedding: Embedding
) -> None:
    embedding = _of(nothing, embedding)
    for labels in ([[1, 1]], [[1, 0]]):
        far = _clicks([[[150, 100], [150, 400]]], labels)
        assert _side(nothing.decode_windows(embedding, far)) == GRID
    # Padding is no click.
    padded = _clicks([[[150, 100], [150, 400]]], [[1, -1]])
    assert _side(nothing.decode_windows(embedding, padded)) == 16
    # Without a click on the object nothing is known about it.
    beside = _clicks([[150, 100]], [[0]])
    assert _side(nothing.decode_windows(embedding, beside)) == GRID


def test_window_of_a_mask_prompt_holds_the_mask(
    nothing: LiteSamPredictor, embedding: Embedding
) -> None:
    embedding = _of(nothing, embedding)
    earlier = np.full((2, 256, 256), -5.0, np.float32)
    earlier[0, 100:140, 20:60] = 5.0
    earlier[1, 20:100, 20:200] = 5.0
    for index, side in ((0, 32), (1, 64)):
        masks = nothing.decode_windows(
            embedding, PromptBatch(low_res_masks=earlier[index : index + 1])
        )
        assert _side(masks) == side
    masks = nothing.decode_windows(embedding, PromptBatch(low_res_masks=earlier[:1]))
    assert masks.origins is not None
    assert (masks.origins[0] <= [100, 20]).all()
    assert (masks.origins[0] + 128 >= [140, 60]).all()
    # Nothing is known about the place of an empty mask.
    empty = PromptBatch(low_res_masks=np.full((1, 256, 256), -5.0))
    assert _side(nothing.decode_windows(embedding, empty)) == GRID


def test_mask_prompt_does_not_change_the_box(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    """The window grows to hold the mask; the box that is said about the object stays."""
    box = _boxes([[100, 200, 140, 260]])
    earlier = np.full((1, 256, 256), -5.0, np.float32)
    earlier[0, 10:140, 10:250] = 5.0
    both = replace(box, low_res_masks=earlier)
    tensors = predictor._complete_prompts(predictor._view(embedding), both, embedding.frame)
    assert tensors.boxes is not None
    before = tensors.boxes.clone()
    predictor._sides(tensors)
    assert torch.equal(tensors.boxes, before)
    with torch.inference_mode():
        logits, _ = predictor._network.decode_windows(
            predictor._image(embedding),
            predictor._positions,
            torch.zeros((1, 2), dtype=torch.int64),
            GRID,
            tensors,
            slice(0, 1),
        )
    decoded = predictor.decode(embedding, both, multimask=False)
    np.testing.assert_allclose(decoded.logits, logits.numpy(), **CLOSE)


# -------------------------------------------------------------------------------------- corrections


@pytest.fixture
def asked(predictor: LiteSamPredictor, monkeypatch: pytest.MonkeyPatch) -> list[WindowPrompts]:
    """What the decoder is asked, in order."""
    prompts: list[WindowPrompts] = []
    decode = predictor._decode_groups

    def note(embedding: Embedding, image: torch.Tensor, said: WindowPrompts, *rest: Any) -> Any:
        prompts.append(said)
        return decode(embedding, image, said, *rest)

    monkeypatch.setattr(predictor, "_decode_groups", note)
    return prompts


#: Three clicks on the large disc, the second beside it, and one on a small disc.
SERIES = _clicks([[[150, 300], [150, 350], [130, 280]]], [[1, 0, 1]])


def _first(prompts: PromptBatch, number: int) -> PromptBatch:
    return PromptBatch(points=prompts.points[:, :number], labels=prompts.labels[:, :number])


def test_further_clicks_correct_the_mask_before(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    before = predictor.decode(embedding, _first(SERIES, 1)).best()
    result = predictor.decode(embedding, _first(SERIES, 2), multimask=False)
    inside = np.argwhere(before.logits[0, 0] > 0)
    assert len(inside)
    # The box of the mask so far and the click; a pixel of the logits is two of the model.
    click = embedding.frame.points_to_model(SERIES.points[0, :1])[0, ::-1]
    low = np.minimum(inside.min(axis=0) * 2, click - 0.5)
    high = np.maximum(inside.max(axis=0) * 2 + 2, click + 0.5)
    boxes = embedding.frame.boxes_to_image([[low[1], low[0], high[1], high[0]]])
    both = replace(_first(SERIES, 2), boxes=boxes, low_res_masks=before.logits[:, 0])
    wanted = predictor.decode(embedding, both, multimask=False)
    # Boxes in image pixels are known to 1e-4 at coordinates of 2000.
    np.testing.assert_allclose(result.logits, wanted.logits, rtol=0, atol=0.05)
    assert np.abs(result.logits - before.logits).max() > 1


def test_next_click_decodes_once_and_the_result_does_not_depend_on_what_is_kept(
    predictor: LiteSamPredictor, asked: list[WindowPrompts]
) -> None:
    embedding = predictor.encode(_picture(), ORIGIN)
    numbers = []
    for number in (1, 2, 3):
        last = predictor.decode(embedding, _first(SERIES, number), multimask=number == 1)
        numbers.append(len(asked))
        asked.clear()
    assert numbers == [1, 1, 1]
    anew = predictor.decode(predictor.encode(_picture(), ORIGIN), SERIES, multimask=False)
    assert len(asked) == 2  # the mask of the first click agrees with the second
    np.testing.assert_array_equal(last.logits, anew.logits)


def test_clicks_of_many_objects_are_corrected_each_by_itself(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    points = [
        [[150, 300], [150, 350], [130, 280]],
        [[60, 80], [70, 90], [0, 0]],
        [[10, 10], [220, 420], [222, 418]],
        [[40, 400], [0, 0], [0, 0]],
    ]
    labels = [[1, 0, 1], [1, 1, -1], [0, 1, 1], [1, -1, -1]]
    together = predictor.decode(embedding, _clicks(points, labels), multimask=False)
    for row, (places, kinds) in enumerate(zip(points, labels, strict=True)):
        known = [i for i, kind in enumerate(kinds) if kind != -1]
        alone = _clicks([[places[i] for i in known]], [[kinds[i] for i in known]])
        found = predictor.decode(embedding, alone, multimask=False)
        _assert_same(found, together.take([row]))
    # Without its first click, which lies beside it, the object is another one to begin with.
    swapped = _clicks([[points[2][1], points[2][0], points[2][2]]], [[1, 0, 1]])
    found = predictor.decode(embedding, swapped, multimask=False)
    _assert_same(found, together.take([2]))


def test_box_comes_before_the_clicks_that_correct_it(
    predictor: LiteSamPredictor, embedding: Embedding, asked: list[WindowPrompts]
) -> None:
    box = _boxes([[100, 250, 200, 350]])
    predictor.decode(embedding, replace(_first(SERIES, 2), boxes=box.boxes), multimask=False)
    assert [one.points is None for one in asked] == [True, False, False]
    assert [one.mask_logits is None for one in asked] == [True, False, False]
    for one in asked[1:]:  # the user's box stays
        assert one.boxes is not None
        assert asked[0].boxes is not None
        torch.testing.assert_close(one.boxes, asked[0].boxes)
    asked.clear()
    predictor.decode(embedding, replace(_first(SERIES, 1), boxes=box.boxes), multimask=False)
    assert len(asked) == 1  # a click and a box, at once


@pytest.mark.usefixtures("all_parts_stay")
def test_number_of_decodes_for_many_clicks_is_limited(
    predictor: LiteSamPredictor, embedding: Embedding, asked: list[WindowPrompts]
) -> None:
    many = _clicks(_scattered(40)[None], np.ones((1, 40)))
    predictor.decode(embedding, many, multimask=False)
    assert len(asked) == _MOST_STEPS
    assert asked[-1].points is not None
    assert asked[-1].points.shape[1] == 40


def test_empty_mask_is_corrected_in_the_box_that_auto_ppn_sees(
    nothing: LiteSamPredictor, embedding: Embedding
) -> None:
    embedding = _of(nothing, embedding)
    masks = nothing.decode_windows(embedding, _first(SERIES, 2), multimask=False)
    single = nothing.decode_windows(embedding, _first(SERIES, 1), multimask=False)
    assert not (masks.whole().logits > 0).any()
    assert _side(masks) == _side(single)


# ------------------------------------------------------------------------------------------- growth


def test_mask_that_fills_its_window_is_decoded_in_a_larger_one(
    whole_window: LiteSamPredictor, embedding: Embedding
) -> None:
    embedding = _of(whole_window, embedding)
    masks = whole_window.decode_windows(embedding, _clicks(_scattered(3)))
    assert masks.origins is None
    assert _side(masks) == GRID
    assert (masks.logits > 0).all()


def test_mask_ends_at_a_box_that_is_given(
    whole_window: LiteSamPredictor, embedding: Embedding
) -> None:
    """The same logit everywhere: it says how far beyond its box a mask reaches."""
    embedding = _of(whole_window, embedding)
    box = _boxes([[100, 200, 140, 240]])
    masks = whole_window.decode_windows(embedding, box)
    assert _side(masks) == WINDOWS[0]
    height = float(masks.logits.max())
    reach = 40 * height / FADE_PER_SIDE
    where, mask = masks.crop(0)
    np.testing.assert_allclose(
        (where.y0, where.x0, where.y1, where.x1),
        np.array([100, 200, 140, 240]) + reach * np.array([-1, -1, 1, 1]) + np.tile(ORIGIN, 2),
        atol=2.5,
    )
    assert not mask[0, 0]  # the distances along x and y add up
    # A click on the object outside of its box takes the box along; those beside the object do not,
    # nor does one that corrects the mask of the box.
    for points, labels, lowest in (
        ([[180, 220]], [[1]], 180),
        ([[180, 220]], [[0]], 140),
        ([[[120, 220], [130, 220]]], [[1, 0]], 140),
        ([[[120, 220], [180, 220]]], [[1, 1]], 180),
    ):
        with_clicks = replace(_clicks(points, labels), boxes=box.boxes)
        found = whole_window.decode_windows(embedding, with_clicks, multimask=False)
        assert found.crop(0)[0].y1 - ORIGIN[0] == pytest.approx(lowest + reach, abs=reach + 3)
        inside = embedding.frame.points_to_model(with_clicks.points[0])[:, ::-1] / 2
        for (y, x), label in zip(np.round(inside).astype(int), with_clicks.labels[0], strict=True):
            assert label != 1 or found.whole().logits[0, 0, y, x] == pytest.approx(height)
    # Guesses bind nobody, and what was said by a mask may be corrected beyond its box.
    guess = replace(box, boxes_are_guesses=True)
    earlier = replace(box, low_res_masks=np.full((1, 256, 256), 8.0, np.float32))
    for prompts in (guess, earlier):
        assert (whole_window.decode(embedding, prompts).logits > 0).all()
    assert guess.take([0]).boxes_are_guesses
    assert PromptBatch.concatenate([guess, guess]).boxes_are_guesses


def test_reaching_the_border_of_the_frame_is_no_reason_to_grow() -> None:
    grid, side, pixels = 64, 16, 64
    inner, corner = [[10, 20]], [[0, 48]]
    for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        logits = np.full((1, 1, pixels, pixels), -1.0, np.float32)
        logits[0, 0, 30:34, 30:34] = 1.0
        assert not reaches_border(logits, np.ones((1, 1)), np.array(inner), side, grid)[0]
        logits[0, 0][edge] = 1.0
        assert reaches_border(logits, np.ones((1, 1)), np.array(inner), side, grid)[0]
    # The window in the top right corner: only left and bottom are borders inside the frame.
    for edge, grows in (
        (np.s_[0, 5:-5], False),
        (np.s_[-1, 5:-5], True),
        (np.s_[5:-5, 0], True),
        (np.s_[5:-5, -1], False),
    ):
        logits = np.full((1, 1, pixels, pixels), -1.0, np.float32)
        logits[0, 0][edge] = 1.0
        found = reaches_border(logits, np.ones((1, 1)), np.array(corner), side, grid)
        assert bool(found[0]) is grows


def test_only_the_best_candidate_decides_on_growth() -> None:
    logits = np.full((2, 3, 64, 64), -1.0, np.float32)
    logits[:, 1] = 1.0
    iou = np.array([[0.9, 0.5, 0.1], [0.2, 0.5, 0.1]])
    found = reaches_border(logits, iou, np.array([[10, 10]] * 2), 16, 64)
    assert found.tolist() == [False, True]


def _step_by_step(
    predictor: LiteSamPredictor, embedding: Embedding, prompts: WindowPrompts, ends: bool
) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Side, top-left cell and logits of one prompt with a box, by the rule as it is written down.

    ``ends``: the mask ends at the box.
    """
    assert prompts.boxes is not None
    x0, y0, x1, y1 = prompts.boxes[0].tolist()
    low, high = np.array([y0, x0]), np.array([y1, x1])
    if prompts.points is not None:
        click = prompts.points[0, 0].numpy()[::-1]
        low, high = np.minimum(low, click), np.maximum(high, click)
    first = next(s for s in WINDOWS if (high - low).max() / STRIDE * 1.25 + 2 <= s)
    for side in (s for s in WINDOWS if s >= first):
        corner = np.round((low + high) / 2 / STRIDE - side / 2).clip(0, GRID - side).astype(int)
        with torch.inference_mode():
            tensor, iou = predictor._network.decode_windows(
                torch.from_numpy(embedding.features["image"])[None],
                predictor._positions,
                torch.from_numpy(corner)[None],
                side,
                prompts,
                slice(1, 4),
            )
        logits = tensor[0].numpy()
        if ends:
            # A pixel of the logits is two of the model.
            y, x = (2 * (4 * c + np.arange(4 * side) + 0.5) for c in corner)
            down = np.maximum(np.maximum(y0 - y, y - y1), 0)
            across = np.maximum(np.maximum(x0 - x, x - x1), 0)
            fade = FADE_PER_SIDE * (down[:, None] + across) / np.sqrt((x1 - x0) * (y1 - y0))
            logits = logits - np.minimum(fade, -OUTSIDE_LOGIT).astype(np.float32)
        mask = logits[int(iou[0].argmax())] > 0
        inside = np.zeros((4 * GRID, 4 * GRID), bool)
        inside[1:-1, 1:-1] = True
        rows, columns = (slice(4 * c, 4 * (c + side)) for c in corner)
        rim = np.ones((4 * side, 4 * side), bool)
        rim[1:-1, 1:-1] = False
        # Rim of the window, less the part that is the rim of the frame.
        crossed = mask & rim & inside[rows, columns]
        if side == WINDOWS[-1] or not crossed.any():
            return side, corner, logits
    raise AssertionError("the last window holds everything")


@pytest.mark.usefixtures("all_parts_stay")
@pytest.mark.parametrize("kind", ["clicks", "boxes", "guesses"])
def test_batch_with_all_kinds_of_growth_is_what_single_prompts_give(
    predictor: LiteSamPredictor, embedding: Embedding, kind: str
) -> None:
    points = _scattered(32)
    prompts = _clicks(points)
    if kind != "clicks":
        size = np.where(np.arange(len(points)) % 2, 20, 150)[:, None]
        boxes = np.concatenate([points, points + size], axis=1).clip(0, 499)
        prompts = replace(_boxes(boxes), boxes_are_guesses=kind == "guesses")
    prompts = check_prompts(prompts, embedding.frame, (256, 256))
    whole = predictor.decode(embedding, prompts)
    with torch.inference_mode():
        view = predictor._view(embedding)
        tensors = predictor._complete_prompts(view, prompts, embedding.frame)
    sides = []
    for index in range(len(points)):
        one = tensors.take(np.array([index]))
        side, corner, logits = _step_by_step(predictor, embedding, one, ends=kind == "boxes")
        expected = np.full((3, 256, 256), OUTSIDE_LOGIT, np.float32)
        rows, columns = (slice(4 * c, 4 * (c + side)) for c in corner)
        expected[:, rows, columns] = logits
        np.testing.assert_allclose(whole.logits[index], expected, **CLOSE)
        sides.append(side)
    # Where boxes end the masks their windows need not grow.
    assert set(sides) == set(WINDOWS[:2] if kind == "boxes" else WINDOWS)


# ------------------------------------------------------------------------------------- same results


@pytest.mark.parametrize("multimask", [True, False])
def test_outside_the_window_is_certainly_not_the_object(
    nothing: LiteSamPredictor, embedding: Embedding, multimask: bool
) -> None:
    embedding = _of(nothing, embedding)
    windows = nothing.decode_windows(embedding, _clicks(_scattered(4)), multimask=multimask)
    whole = nothing.decode(embedding, _clicks(_scattered(4)), multimask=multimask)
    assert windows.origins is not None
    assert whole.origins is None
    assert whole.logits.shape[-2:] == whole.low_res_yx == (256, 256)
    side = windows.logits.shape[-1]
    for index, (y, x) in enumerate(windows.origins):
        left = whole.logits[index].copy()
        np.testing.assert_array_equal(left[:, y : y + side, x : x + side], windows.logits[index])
        left[:, y : y + side, x : x + side] = OUTSIDE_LOGIT
        assert (left == OUTSIDE_LOGIT).all()


def test_windows_of_several_sizes_are_padded_to_the_largest(
    nothing: LiteSamPredictor, embedding: Embedding
) -> None:
    embedding = _of(nothing, embedding)
    boxes = _boxes([[100, 200, 120, 220], [10, 20, 150, 170], [280, 480, 300, 500]])
    together = nothing.decode_windows(embedding, boxes)
    assert _side(together) == 32
    assert together.origins is not None
    assert ((together.origins >= 0) & (together.origins + 128 <= 256)).all()
    for index in range(3):
        alone = nothing.decode_windows(embedding, boxes.take([index]))
        _assert_same(together.take([index]).whole(), alone.whole())
    seen = (together.logits[[0, 2]] != OUTSIDE_LOGIT).sum(axis=(2, 3))
    assert (seen == 64 * 64).all()


def test_order_of_prompts_does_not_matter(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    points = _scattered(6, seed=1)
    boxes = np.concatenate([points - 8, points + np.array([9, 60])], axis=1).clip(0, 499)
    boxes[3] = [10, 10, 290, 400]
    prompts = replace(_clicks(points), boxes=_boxes(boxes).boxes)
    order = np.array([3, 0, 5, 1, 4, 2])
    forth = predictor.decode(embedding, prompts, multimask=False)
    back = predictor.decode(embedding, prompts.take(order), multimask=False)
    _assert_same(back, forth.take(order))


def test_more_prompts_than_one_chunk(predictor: LiteSamPredictor, embedding: Embedding) -> None:
    points = _scattered(11, seed=5)
    prompts = _clicks(points)
    together = predictor.decode(embedding, prompts, multimask=False)
    for index in (0, 7, 10):
        alone = predictor.decode(embedding, prompts.take([index]), multimask=False)
        _assert_same(alone, together.take([index]))


def test_the_same_again(predictor: LiteSamPredictor, embedding: Embedding) -> None:
    again = predictor.encode(_picture(), ORIGIN)
    np.testing.assert_array_equal(again.features["image"], embedding.features["image"])
    prompts = _clicks(_scattered(3))
    one, two = (predictor.decode_windows(e, prompts) for e in (embedding, again))
    np.testing.assert_array_equal(one.logits, two.logits)
    np.testing.assert_array_equal(one.predicted_iou, two.predicted_iou)


def test_auto_ppn_is_asked_once_for_an_embedding_and_keeps_none_alive(
    predictor: LiteSamPredictor,
) -> None:
    asked = []
    hook = predictor._network.auto_ppn.register_forward_hook(lambda *_: asked.append(None))
    embedding = predictor.encode(_picture(), ORIGIN)
    for place in ((60, 80), (150, 300)):
        predictor.decode_windows(embedding, _clicks([place]))
    predictor.propose(embedding, top_n=5, confidence_threshold=0.0)
    hook.remove()
    assert len(asked) == 1
    watched = ref(embedding)
    del embedding
    gc.collect()
    assert watched() is None


def test_many_embeddings_in_turn_by_several_threads_are_not_mistaken_for_each_other(
    predictor: LiteSamPredictor,
) -> None:
    regions = [np.roll(_picture(), 37 * number, axis=1) for number in range(_VIEWS + 3)]
    embeddings = [predictor.encode(region, ORIGIN) for region in regions]
    prompts = _clicks([(60, 80)])

    def ask(number: int) -> Masks:
        return predictor.decode_windows(embeddings[number], prompts)

    order = [number for _ in range(3) for number in range(len(embeddings))]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, order))
    fresh = LiteSamPredictor(
        predictor.spec, predictor._network, "cpu", predictor.weights_hash, predictor.encoder_hash
    )
    for number, masks in zip(order, found, strict=True):
        fresh._views = []
        wanted = fresh.decode_windows(embeddings[number], prompts)
        np.testing.assert_array_equal(masks.origins, wanted.origins)
        _assert_same(masks, wanted)


def test_negative_points_and_mask_prompts_are_heard(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    two = [[[150, 300], [160, 330]]]
    plus = predictor.decode(embedding, _clicks(two, [[1, 1]]), multimask=False)
    minus = predictor.decode(embedding, _clicks(two, [[1, 0]]), multimask=False)
    assert np.abs(plus.logits - minus.logits).max() > 0.1
    click = _clicks([[150, 300]])
    first = predictor.decode(embedding, click, multimask=False)
    refined = predictor.decode(
        embedding, replace(click, low_res_masks=first.logits[:, 0]), multimask=False
    )
    assert np.abs(first.logits - refined.logits).max() > 1e-3


def test_prompts_of_the_caller_stay_as_they_are(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    masks = np.random.default_rng(0).normal(0, 5, (2, 256, 256)).astype(np.float32)
    prompts = replace(_clicks([[20, 30], [250, 450]]), low_res_masks=masks)
    prompts = replace(prompts, boxes=_boxes([[10, 20, 40, 60], [240, 440, 320, 520]]).boxes)
    copies = [a.copy() for a in (prompts.points, prompts.labels, prompts.boxes, masks)]
    features = embedding.features["image"].copy()
    predictor.decode_windows(embedding, prompts)
    for before, after in zip(
        copies,
        (prompts.points, prompts.labels, prompts.boxes, prompts.low_res_masks),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(features, embedding.features["image"])


@pytest.mark.parametrize(("height", "width"), [(40, 500), (500, 40), (512, 512), (1200, 900)])
def test_images_of_other_proportions(predictor: LiteSamPredictor, height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    embedding = predictor.encode(rgb, (7, 11))
    assert embedding.features["image"].shape == (256, GRID, GRID)
    corner = [7 + height - 1, 11 + width - 1]
    masks = predictor.decode_windows(embedding, PromptBatch(points=[[corner]], labels=[[1]]))
    assert masks.to_image().shape == (1, 3, height, width)
    box, pixels = masks.best().crop(0)
    assert 7 <= box.y0 <= box.y1 <= 7 + height
    assert 11 <= box.x0 <= box.x1 <= 11 + width
    assert pixels.shape == box.size_yx


# ------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("size", [1, 3, 64])
def test_batches_have_windows_of_one_size_and_hold_every_prompt_once(
    predictor: LiteSamPredictor, nothing: LiteSamPredictor, embedding: Embedding, size: int
) -> None:
    rng = np.random.default_rng(4)
    low = rng.uniform((0, 0), (200, 300), (20, 2))
    prompts = _boxes(np.concatenate([low, low + rng.choice([20, 120, 199], (20, 1))], axis=1))
    parts = list(predictor.batches(embedding, prompts, batch_size=size))
    assert all(0 < len(part) <= size for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(20))
    theirs = _of(nothing, embedding)
    sides = [
        {_side(nothing.decode_windows(theirs, prompts.take([i]))) for i in part} for part in parts
    ]
    assert all(len(found) == 1 for found in sides)
    assert set().union(*sides) == set(WINDOWS)


# ---------------------------------------------------------------------------------------- proposals


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
def test_proposals_lie_in_the_region(
    predictor: LiteSamPredictor, embedding: Embedding, threshold: float
) -> None:
    found = predictor.propose(embedding, top_n=400, confidence_threshold=threshold)
    assert len(found) > 5
    assert found.points.dtype == found.boxes.dtype == found.confidence.dtype == np.float32
    low, high = np.asarray(ORIGIN), np.add(ORIGIN, (HEIGHT, WIDTH))
    assert ((found.points >= low) & (found.points <= high - 1)).all()
    assert ((found.boxes[:, :2] >= low) & (found.boxes[:, 2:] <= high)).all()
    assert (found.boxes[:, 2:] - found.boxes[:, :2] >= 1).all()
    assert (found.confidence > threshold).all()
    assert (np.diff(found.confidence) <= 0).all()
    # Points lie in their boxes: sides go out from them.
    assert ((found.points >= found.boxes[:, :2]) & (found.points <= found.boxes[:, 2:])).all()


def test_the_first_proposals_do_not_depend_on_how_many_are_asked_for(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    many = predictor.propose(embedding, top_n=40, confidence_threshold=0.0)
    few = predictor.propose(embedding, top_n=7, confidence_threshold=0.0)
    assert len(few) == 7
    np.testing.assert_array_equal(few.points, many.points[:7])
    np.testing.assert_array_equal(few.boxes, many.boxes[:7])


def test_no_proposal_is_an_answer(predictor: LiteSamPredictor, embedding: Embedding) -> None:
    none = predictor.propose(embedding, top_n=10, confidence_threshold=1.0)
    assert len(none) == 0
    assert none.points.shape == (0, 2)
    assert none.boxes.shape == (0, 4)


def test_proposals_move_with_the_region(predictor: LiteSamPredictor, embedding: Embedding) -> None:
    there = predictor.propose(embedding, top_n=30, confidence_threshold=0.0)
    here = predictor.propose(
        replace(embedding, frame=embedding.frame.at((0, 0))), top_n=30, confidence_threshold=0.0
    )
    np.testing.assert_allclose(here.points + np.asarray(ORIGIN), there.points, atol=1e-3)
    np.testing.assert_allclose(here.boxes + np.asarray(ORIGIN * 2), there.boxes, atol=1e-3)


def test_proposals_are_prompts(predictor: LiteSamPredictor, embedding: Embedding) -> None:
    found = predictor.propose(embedding, top_n=5, confidence_threshold=0.0)
    prompts = PromptBatch(
        points=found.points[:, None], labels=np.ones((len(found), 1)), boxes=found.boxes
    )
    assert len(predictor.decode_windows(embedding, prompts, multimask=False)) == len(found)


def test_proposals_of_a_tiny_region(predictor: LiteSamPredictor) -> None:
    embedding = predictor.encode(np.full((1, 1, 3), 90, np.uint8), (3, 4))
    found = predictor.propose(embedding, top_n=5, confidence_threshold=0.0)
    assert (found.points == [3, 4]).all()
    assert (found.boxes == [3, 4, 4, 5]).all()


def test_proposals_of_another_models_embedding(
    predictor: LiteSamPredictor, embedding: Embedding
) -> None:
    with pytest.raises(ModelMismatchError, match="encode the image again"):
        predictor.propose(replace(embedding, model="sam"), top_n=5, confidence_threshold=0.5)


# ------------------------------------------------------------------------------------------- stored


@pytest.mark.parametrize("kind", ["memory", "zarr"])
def test_stored_embedding_decodes_the_same(
    predictor: LiteSamPredictor, tmp_path: Path, kind: str
) -> None:
    plane = Plane(_picture(), "as it is")
    (tile,) = make_tiles(plane.rgb.shape[:2])
    store = MemoryStore() if kind == "memory" else ZarrStore(tmp_path / "store")
    first = Embedder(predictor, store).embed(plane, tile)
    again = Embedder(predictor, store).embed(plane, tile)
    assert again is not first
    assert again.frame == first.frame
    np.testing.assert_array_equal(again.features["image"], first.features["image"])
    prompts = PromptBatch(points=[[[60, 80]], [[150, 300]]], labels=[[1], [1]])
    one, two = (predictor.decode_windows(e, prompts) for e in (first, again))
    np.testing.assert_array_equal(one.logits, two.logits)
