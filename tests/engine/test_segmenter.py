from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from engine.threshold_predictor import (
    CONFIG,
    INPUT_PX,
    NORMALIZE,
    TILING,
    ThresholdPredictor,
    discs,
    same_objects,
)
from litesam.errors import Cancelled, ConfigError, ImageError, PromptError
from litesam.everything import segment_everything
from litesam.segmenter import PLANES_IN_MEMORY, Segmenter
from litesam.types import BoxPrompt, PointLabel, PointPrompt, Prompts

CENTRES = [(20, 20), (20, 60), (60, 30), (100, 100)]
MANY = [(y, x) for y in range(12, 290, 23) for x in range(14, 200, 21)]


def make(image: np.ndarray, axes: str | None = None, **options: object) -> Segmenter:
    options = {"model": ThresholdPredictor(), "normalize": NORMALIZE, "tiling": TILING, **options}
    return Segmenter(image, axes=axes, **options)  # type: ignore[arg-type]


def click(y: float, x: float, *background: tuple[float, float]) -> Prompts:
    beside = [PointPrompt(*point, PointLabel.BACKGROUND) for point in background]
    return Prompts(points=(PointPrompt(y, x), *beside))


def around(y: int, x: int, radius: int = 9) -> Prompts:
    return Prompts(box=BoxPrompt(y - radius, x - radius, y + radius, x + radius))


def test_click_gives_the_object_in_the_shape_of_the_plane() -> None:
    image, truth = discs((110, 128), CENTRES)
    result = make(image).segment(click(60, 30))
    assert result.mask.shape == (110, 128)
    assert result.mask.dtype == np.bool_
    assert np.array_equal(result.mask, truth == 3)
    assert np.array_equal(result.record.mask((110, 128)), result.mask)
    assert result.record.point == (60, 30)


@pytest.mark.parametrize("prompt", [click, around])
def test_every_object_of_a_tiled_plane_is_segmented_exactly(prompt: object) -> None:
    image, truth = discs((300, 210), MANY)
    segmenter = make(image)
    assert len(segmenter.tiles) == 12
    for number, (y, x) in enumerate(MANY, start=1):
        result = segmenter.segment(prompt(y, x))  # type: ignore[operator]
        assert np.array_equal(result.mask, truth == number)


def test_only_the_tile_of_the_click_is_embedded() -> None:
    image, _ = discs((300, 210), MANY)
    predictor = ThresholdPredictor()
    segmenter = make(image, model=predictor)
    segmenter.segment(click(12, 14))
    segmenter.segment(click(35, 14))
    assert predictor.encoded == 1
    assert not segmenter.is_embedded()


def test_embed_makes_all_tiles_ready() -> None:
    image, _ = discs((300, 210), MANY)
    predictor = ThresholdPredictor()
    segmenter = make(image, model=predictor)
    steps = []
    segmenter.embed(on_progress=steps.append)
    assert segmenter.is_embedded()
    assert predictor.encoded == steps[-1].total == 12
    segmenter.segment(click(200, 100))
    assert predictor.encoded == 12
    with pytest.raises(Cancelled):
        make(image).embed(cancelled=lambda: True)


def test_single_click_has_three_candidates_and_the_best_one_is_taken() -> None:
    image, truth = discs((110, 128), CENTRES)
    result = make(image).segment(click(20, 20))
    assert (result.candidates, result.candidate) == (3, 1)
    following = result.with_candidate(result.candidate + 1)
    assert (following.candidate, following.record.area) == (2, 0)
    smaller = following.with_candidate(following.candidate + 1)
    assert 0 < smaller.record.area < (truth == 1).sum()
    assert np.array_equal(smaller.with_candidate(1).mask, result.mask)


@pytest.mark.parametrize(
    ("prompts", "candidates"),
    [(click(20, 20), 3), (around(20, 20), 1), (click(20, 20, (20, 60)), 1)],
    ids=["click", "box", "two clicks"],
)
def test_only_an_ambiguous_prompt_has_candidates(prompts: Prompts, candidates: int) -> None:
    image, _ = discs((110, 128), CENTRES)
    segmenter = make(image)
    assert segmenter.segment(prompts).candidates == candidates
    assert segmenter.segment(prompts, multimask=True).candidates == 3


def test_mask_of_an_earlier_result_can_be_fed_back() -> None:
    image, truth = discs((300, 210), MANY)
    segmenter = make(image)
    first = segmenter.segment(click(150, 98))
    again = segmenter.segment(
        Prompts(low_res_mask=first.masks.logits[0, first.candidate]), tile=first.tile
    )
    assert first.masks.logits.shape[2:] == (INPUT_PX, INPUT_PX)
    assert np.array_equal(again.mask, first.mask)
    assert again.tile == first.tile
    assert np.array_equal(first.mask, truth == truth[150, 98])


def test_background_click_far_away_does_not_matter() -> None:
    image, truth = discs((300, 210), MANY)
    result = make(image).segment(click(12, 14, (290, 200)))
    assert np.array_equal(result.mask, truth == 1)


def test_click_on_nothing_gives_an_empty_mask() -> None:
    image, _ = discs((110, 128), CENTRES)
    result = make(image).segment(click(1, 1))
    assert not result.mask.any()
    assert result.record.area == 0


@pytest.mark.parametrize(
    "prompts",
    [
        click(-1, 5),
        click(5, 128),
        Prompts(box=BoxPrompt(200, 0, 220, 10)),
        Prompts(box=BoxPrompt(5, -20, 9, 0)),
    ],
)
@pytest.mark.parametrize("size", [(110, 128), (300, 210)])
def test_prompts_outside_the_image_are_refused(prompts: Prompts, size: tuple[int, int]) -> None:
    image, _ = discs(size, CENTRES)
    if size == (300, 210):
        prompts = {
            5.0: click(5, 211),
            -1.0: prompts,
        }.get(prompts.points[0].y if prompts.points else 0, Prompts(box=BoxPrompt(0, 210, 9, 240)))
    segmenter = make(image)
    with pytest.raises(PromptError, match="outside"):
        segmenter.segment(prompts)
    with pytest.raises(PromptError, match=r"Prompt 1: .*outside"):
        segmenter.segment_many([click(20, 20), prompts])


def test_box_over_the_border_of_the_image_is_fine() -> None:
    image, truth = discs((110, 128), [(3, 3), (60, 60)])
    result = make(image).segment(Prompts(box=BoxPrompt(-5, -5, 12, 12)))
    assert np.array_equal(result.mask, truth == 1)


def test_many_prompts_give_what_single_ones_give_in_their_order() -> None:
    image, _ = discs((300, 210), MANY)
    predictor = ThresholdPredictor()
    segmenter = make(image, model=predictor)
    prompts = [click(y, x) if i % 2 else around(y, x) for i, (y, x) in enumerate(MANY)]
    prompts.append(click(*MANY[0], (12, 35)))
    records = segmenter.segment_many(prompts)
    assert len(predictor.decoded) == 12 * 2 + 1  # one batch for each tile and kind of prompt
    assert len(records) == len(prompts)
    for given, record in zip(prompts, records, strict=True):
        single = segmenter.segment(given).record
        assert (record.box, record.score, record.point) == (single.box, single.score, single.point)
        assert np.array_equal(record.crop, single.crop)


def test_no_prompts_give_no_records() -> None:
    assert make(np.zeros((50, 50), dtype=np.uint8)).segment_many([]) == []


def test_planes_of_a_stack_are_read_once_and_the_last_ones_kept() -> None:
    class Counted:
        """A lazy array that counts how often it is read."""

        def __init__(self, array: np.ndarray) -> None:
            self.array, self.shape, self.dtype = array, array.shape, array.dtype
            self.reads = 0

        def __getitem__(self, key: object) -> np.ndarray:
            self.reads += 1
            return self.array[key]  # type: ignore[index]

    image, truth = discs((90, 128), CENTRES[:3])
    stack = Counted(np.stack([np.roll(image, 5 * z, axis=1) for z in range(8)]))
    segmenter = make(stack, "ZYX")  # type: ignore[arg-type]
    assert segmenter.plane_shape == (90, 128)
    assert stack.reads == 0
    for _ in range(3):
        result = segmenter.segment(click(60, 45), index=(3,))
        assert np.array_equal(result.mask, np.roll(truth == 3, 15, axis=1))
    segmenter.segment(click(60, 45), index=3)
    assert stack.reads == 1
    for z in range(1 + PLANES_IN_MEMORY):
        segmenter.plane(z)
    assert len(segmenter._planes) == PLANES_IN_MEMORY


@pytest.mark.parametrize("index", [None, 9, (1, 2), "z", 1.5])
def test_index_that_chooses_no_plane_is_refused(index: object) -> None:
    segmenter = make(np.zeros((8, 50, 60), dtype=np.uint8), "ZYX")
    with pytest.raises(ImageError):
        segmenter.segment(click(5, 5), index=index)  # type: ignore[arg-type]


@pytest.mark.parametrize("axes", ["YX", "ZYZ", "ABC"])
def test_axes_that_do_not_fit_are_refused(axes: str) -> None:
    with pytest.raises(ImageError, match="axes="):
        make(np.zeros((8, 50, 60), dtype=np.uint8), axes)


def test_plane_shape_knows_channels() -> None:
    assert make(np.zeros((50, 60, 3), dtype=np.uint8)).plane_shape == (50, 60)
    assert make(np.zeros((3, 50, 60), dtype=np.uint8), channel=1).plane_shape == (50, 60)
    assert make(np.zeros((50, 9, 60), dtype=np.uint8), "yzx").plane_shape == (50, 60)


def test_contrast_of_a_stack_is_that_of_each_plane_unless_limits_are_given() -> None:
    image, truth = discs((90, 128), CENTRES[:3])
    stack = np.stack([image, image // 10] * 4)
    stretched = make(stack, "ZYX", normalize=None)
    assert np.array_equal(stretched.segment(click(60, 30), index=1).mask, truth == 3)
    assert not make(stack, "ZYX").segment(click(60, 30), index=1).mask.any()


def test_everything_is_that_of_segment_everything() -> None:
    image, truth = discs((300, 210), MANY)
    segmenter = make(image)
    for proposals in ("auto_ppn", "grid"):
        labels, records = segmenter.everything(proposals=proposals, config=CONFIG)
        assert same_objects(labels, truth)
        expected, _ = segment_everything(
            image,
            ThresholdPredictor(),
            proposals,
            CONFIG,
            normalize=NORMALIZE,
            tiling=TILING,
        )
        assert np.array_equal(labels, expected)
        assert len(records) == len(MANY)
    with pytest.raises(ConfigError):
        segmenter.everything(proposals="stars")


def test_threads_share_a_segmenter() -> None:
    image, truth = discs((300, 210), MANY)
    stack = np.stack([np.roll(image, z, axis=0) for z in range(5)])
    predictor = ThresholdPredictor()
    segmenter = make(stack, "ZYX", model=predictor)

    def one(job: int) -> bool:
        z, number = job % 5, 1 + job % len(MANY)
        y, x = MANY[number - 1]
        result = segmenter.segment(click(y + z, x), index=z)
        return np.array_equal(result.mask, np.roll(truth == number, z, axis=0))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(4 * len(MANY))))
    assert predictor.encoded <= 60


def test_prompts_that_the_model_does_not_take_are_refused_before_it_embeds() -> None:
    image, _ = discs((110, 128), CENTRES)
    predictor = ThresholdPredictor()
    predictor.spec = replace(predictor.spec, prompts=("point", "box"), max_points=3)
    segmenter = make(image, model=predictor)
    earlier = np.zeros((8, 8), np.float32)
    with pytest.raises(PromptError, match="does not take an earlier mask"):
        segmenter.segment(replace(around(60, 30), low_res_mask=earlier))
    with pytest.raises(PromptError, match=r"The prompt has 4 points.*3 at most"):
        segmenter.segment(click(60, 30, (61, 40), (50, 40), (50, 20)))
    with pytest.raises(PromptError, match="Prompt 1: The prompt has 4 points"):
        segmenter.segment_many([click(20, 20), click(60, 30, (61, 40), (50, 40), (50, 20))])
    assert predictor.encoded == 0
    assert segmenter.segment(click(60, 30, (61, 40), (50, 40))).mask.any()
