"""Objects are carried through a stack from a few prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

import litesam
from engine.threshold_predictor import NORMALIZE, TILING, ThresholdPredictor
from litesam.errors import Cancelled, ImageError, PromptError
from litesam.io import read_image, read_labels
from litesam.merge import bridge
from litesam.samples import SAMPLES, sample_path
from litesam.segmenter import Segmenter
from litesam.types import BoxPrompt, PointPrompt, Progress, Prompts, PropagateConfig
from litesam.volume.propagate import Propagated, Seed, corrected, propagate
from weights import filled_predictor

if TYPE_CHECKING:
    from pathlib import Path

#: Planes of 128 px without a rim: the predictor of the tests is exact on them.
EXACT = PropagateConfig(object_share=0.0)

Volume = npt.NDArray[np.int32]


def tubes(depth: int = 12) -> Volume:
    """Two slanting tubes, slices 1 to 9 and 3 to 10."""
    volume = np.zeros((depth, 110, 128), dtype=np.int32)
    y, x = np.indices(volume.shape[1:])
    for z in range(1, 10):
        volume[z][(y - 30 - z) ** 2 + (x - 30 - 2 * z) ** 2 <= 64] = 1
    for z in range(3, 11):
        volume[z][(y - 80) ** 2 + (x - 90 + 2 * z) ** 2 <= (12 - z) ** 2] = 2
    return volume


def grey(volume: Volume) -> npt.NDArray[np.uint8]:
    return np.where(volume > 0, 200, 20).astype(np.uint8)


def segmenter_of(image: npt.NDArray[np.uint8], axes: str = "ZYX") -> Segmenter:
    return Segmenter(image, ThresholdPredictor(), axes, normalize=NORMALIZE, tiling=TILING)


def click(name: int, number: int, volume: Volume) -> Seed:
    y, x = np.argwhere(volume[number] == name).mean(axis=0)
    return Seed(name, number, Prompts(points=(PointPrompt(float(y), float(x)),)))


def mask_of(name: int, number: int, volume: Volume) -> Seed:
    return Seed(name, number, mask=volume[number] == name)


def volume_of(result: Propagated) -> Volume:
    return np.array([result.labels(number) for number in range(result.shape[0])])


@pytest.mark.parametrize("seed_of", [click, mask_of])
def test_objects_are_carried_to_both_of_their_ends(seed_of: object) -> None:
    truth = tubes()
    seeds = [seed_of(1, 4, truth), seed_of(2, 6, truth)]  # type: ignore[operator]
    result = propagate(segmenter_of(grey(truth)), seeds, config=EXACT)
    np.testing.assert_array_equal(volume_of(result), truth)
    assert result.objects == (1, 2)
    assert list(result.confidence[1]) == list(range(1, 10))
    assert result.confidence[1][4] == 1.0
    assert all(0 < c < 1 for z, c in result.confidence[1].items() if z != 4)
    assert [number for number, _ in result.slices()] == list(range(1, 11))
    for number, labels in result.slices():
        np.testing.assert_array_equal(labels, result.labels(number))


def test_all_objects_of_a_slice_are_decoded_in_one_batch() -> None:
    volume = np.zeros((5, 120, 128), dtype=np.int32)
    for name in range(1, 10):
        y, x = divmod(name - 1, 3)
        volume[:, 10 + 40 * y : 20 + 40 * y, 10 + 40 * x : 22 + 40 * x] = name
    segmenter = segmenter_of(grey(volume))
    result = propagate(segmenter, [mask_of(n, 2, volume) for n in range(1, 10)], config=EXACT)
    np.testing.assert_array_equal(volume_of(result), volume)
    # The slice of the prompts once, to learn what the model makes of them, and each other slice.
    assert segmenter.predictor.decoded == [9] * 5  # type: ignore[attr-defined]
    small = replace(EXACT, batch_size=4)
    again = segmenter_of(grey(volume))
    result = propagate(again, [mask_of(n, 2, volume) for n in range(1, 10)], config=small)
    np.testing.assert_array_equal(volume_of(result), volume)
    assert again.predictor.decoded == [4, 4, 1] * 5  # type: ignore[attr-defined]


def test_between_two_prompted_slices_nothing_stops_and_a_hole_is_filled() -> None:
    truth = tubes()
    image = grey(truth)
    image[4:6] = 20  # two dark slices
    seeds = [mask_of(1, 2, truth), mask_of(1, 8, truth)]
    result = propagate(segmenter_of(image), seeds, config=EXACT)
    assert list(result.confidence[1]) == list(range(1, 10))
    assert result.worst_slice(1) in (4, 5)
    for number in (4, 5):
        found, true = result.mask(1, number), truth[number] == 1
        assert np.count_nonzero(found & true) / np.count_nonzero(found | true) > 0.6
    for number in (3, 6, 7):
        np.testing.assert_array_equal(result.mask(1, number), truth[number] == 1)


def test_an_object_that_is_lost_for_a_slice_is_waited_for() -> None:
    truth = tubes()
    image = grey(truth)
    image[5] = 20
    segmenter = segmenter_of(image)
    result = propagate(segmenter, [mask_of(1, 3, truth)], config=EXACT)
    assert list(result.confidence[1]) == list(range(1, 10))
    assert result.worst_slice(1) == 5
    at_once = propagate(segmenter, [mask_of(1, 3, truth)], config=replace(EXACT, patience=0))
    assert list(at_once.confidence[1]) == [1, 2, 3, 4]
    near = propagate(segmenter, [mask_of(1, 3, truth)], config=replace(EXACT, max_slices=1))
    assert list(near.confidence[1]) == [2, 3, 4]


def test_an_object_that_dims_is_lost() -> None:
    truth = tubes()
    image = grey(truth)
    image[6:][truth[6:] == 1] = 135  # still found, but at 64 % of the contrast
    found = [
        list(propagate(segmenter_of(image), [mask_of(1, 4, truth)], config=config).confidence[1])
        for config in (replace(EXACT, min_contrast=0.7), EXACT)
    ]
    assert found == [[1, 2, 3, 4, 5], list(range(1, 10))]


def test_an_object_that_jumps_or_swells_is_lost() -> None:
    volume = np.zeros((6, 110, 128), dtype=np.int32)
    volume[:3, 40:60, 40:60] = 1
    volume[3:, 30:80, 30:90] = 1
    result = propagate(segmenter_of(grey(volume)), [mask_of(1, 1, volume)], config=EXACT)
    assert list(result.confidence[1]) == [0, 1, 2]
    loose = replace(EXACT, max_area_change=10.0, min_overlap=0.1)
    result = propagate(segmenter_of(grey(volume)), [mask_of(1, 1, volume)], config=loose)
    assert list(result.confidence[1]) == list(range(6))


def test_a_correction_gives_what_all_prompts_at_once_give_and_runs_only_where_it_must() -> None:
    truth = tubes()
    image = grey(truth)
    image[6] = 20
    first = [mask_of(1, 2, truth), mask_of(1, 9, truth), mask_of(2, 5, truth)]
    segmenter = segmenter_of(image)
    before = propagate(segmenter, first, config=EXACT)
    calls = segmenter.predictor.decoded  # type: ignore[attr-defined]
    calls.clear()
    after = corrected(before, [mask_of(1, 6, truth)])
    # From slice 6 to the prompted slices 2 and 9, both ways: 3 + 2 slices, each twice, and slice 6
    # itself once. One object alone.
    assert calls == [1] * (2 * (3 + 2) + 1)
    whole = propagate(segmenter_of(image), [*first, mask_of(1, 6, truth)], config=EXACT)
    np.testing.assert_array_equal(volume_of(after), volume_of(whole))
    assert after.confidence == whole.confidence
    assert after.seeds == {1: (2, 6, 9), 2: (5,)}
    np.testing.assert_array_equal(after.mask(1, 6), truth[6] == 1)
    assert before.seeds == {1: (2, 9), 2: (5,)}  # the earlier result stays


def test_objects_may_be_given_other_numbers() -> None:
    """Afterwards, too: a correction under the new number goes on from what is known."""
    truth = tubes()
    first = propagate(
        segmenter_of(grey(truth)), [mask_of(1, 4, truth), mask_of(2, 6, truth)], config=EXACT
    )
    other = first.renumbered(7)
    assert other.objects == (7, 8)
    assert other.confidence[8] == first.confidence[2]
    np.testing.assert_array_equal(volume_of(other), np.where(truth > 0, truth + 6, 0))
    mask = truth[8] == 2
    again = corrected(other, [Seed(8, 8, mask=mask)])
    assert again.seeds == {7: (4,), 8: (6, 8)}
    np.testing.assert_array_equal(volume_of(again), volume_of(other))


def test_a_prompted_slice_is_replaced_by_its_correction() -> None:
    truth = tubes()
    wrong = Seed(1, 4, mask=np.roll(truth[4] == 1, 40, axis=1))
    segmenter = segmenter_of(grey(truth))
    before = propagate(segmenter, [wrong], config=EXACT)
    after = corrected(before, [mask_of(1, 4, truth), mask_of(2, 4, truth)])
    np.testing.assert_array_equal(volume_of(after), truth)


def test_contested_pixels_go_to_the_higher_confidence() -> None:
    truth = tubes()
    other = truth[4] == 1
    other[:, :40] = False
    seeds = [mask_of(1, 4, truth), Seed(7, 4, mask=other)]
    result = propagate(segmenter_of(grey(truth)), seeds, config=EXACT)
    shared = result.mask(1, 6) & result.mask(7, 6)
    assert shared.any()
    winner = 1 if result.confidence[1][6] >= result.confidence[7][6] else 7
    assert set(result.labels(6)[shared]) == {winner}
    # Both are certain on their prompted slice: the first number has the pixel.
    assert set(result.labels(4)[other]) == {1}


def test_a_stack_of_stacks_is_gone_through_along_one_axis() -> None:
    truth = tubes()
    image = np.stack([grey(truth) & 1, grey(truth), grey(truth) & 1])  # t, z, y, x
    segmenter = segmenter_of(image, "TZYX")
    result = propagate(segmenter, [mask_of(1, 4, truth)], index=(1,), config=EXACT)
    np.testing.assert_array_equal(volume_of(result), np.where(truth == 1, 1, 0))
    turned = segmenter_of(image.transpose(1, 0, 2, 3), "TZYX")
    result = propagate(turned, [mask_of(1, 4, truth)], axis="t", index=(1,), config=EXACT)
    np.testing.assert_array_equal(volume_of(result), np.where(truth == 1, 1, 0))
    with pytest.raises(ImageError, match=r"1 are needed.*\(T\)"):
        propagate(segmenter, [mask_of(1, 4, truth)])
    with pytest.raises(ImageError, match="no axis 'C'"):
        propagate(segmenter, [mask_of(1, 4, truth)], axis="C", index=(1,))
    with pytest.raises(ImageError, match="one plane"):
        propagate(segmenter_of(grey(truth)[4], "YX"), [mask_of(1, 0, truth[4:])])


def test_tiles_of_a_large_plane_serve_the_objects_in_them() -> None:
    volume = np.zeros((4, 300, 210), dtype=np.int32)
    volume[:, 120:140, 95:118] = 1  # across the seams
    volume[:, 250:270, 10:30] = 2
    seeds = [mask_of(1, 1, volume), click(2, 2, volume)]
    result = propagate(segmenter_of(grey(volume)), seeds)
    np.testing.assert_array_equal(volume_of(result), volume)


def test_it_is_cancelled_within_a_slice() -> None:
    volume = np.zeros((5, 120, 128), dtype=np.int32)
    for name in range(1, 4):
        volume[:, 40 * name - 30 : 40 * name - 20, 10:22] = name
    seeds = [mask_of(name, 0, volume) for name in range(1, 4)]
    segmenter = segmenter_of(grey(volume))
    predictor = segmenter.predictor
    with pytest.raises(Cancelled):
        propagate(
            segmenter,
            seeds,
            config=replace(EXACT, batch_size=1),
            cancelled=lambda: len(predictor.decoded) >= 5,  # type: ignore[attr-defined]
        )
    assert len(predictor.decoded) == 5  # type: ignore[attr-defined]  # of 3 per slice


def test_progress_counts_slices() -> None:
    truth = tubes()
    steps: list[Progress] = []
    propagate(
        segmenter_of(grey(truth)), [mask_of(1, 4, truth)], config=EXACT, on_progress=steps.append
    )
    assert [step.done for step in steps] == list(range(1, 12))
    assert {step.total for step in steps} == {11}


def test_a_rim_shows_small_planes_smaller_and_changes_no_place() -> None:
    truth = tubes()[:, :100, :100]
    segmenter = segmenter_of(grey(truth))
    result = propagate(segmenter, [mask_of(1, 4, truth)], config=PropagateConfig(object_share=0.1))
    assert result.state.stack.rim_px == (35, 35)  # 17 px of 170
    for number in range(1, 10):
        found, true = result.mask(1, number), truth[number] == 1
        assert np.count_nonzero(found & true) / np.count_nonzero(found | true) > 0.85
    np.testing.assert_array_equal(result.mask(1, 4), truth[4] == 1)
    # An object at the very rim stays in the plane.
    edge = np.zeros((3, 100, 100), dtype=np.int32)
    edge[:, :15, 85:] = 1
    result = propagate(segmenter_of(grey(edge)), [mask_of(1, 1, edge)])
    assert result.mask(1, 0).shape == (100, 100)
    assert np.count_nonzero(result.mask(1, 0) != edge[0]) < 40


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([], "No object"),
        ([Seed(1, 30, mask=np.ones((110, 128), bool))], "outside 0 … 11"),
        ([Seed(1, 3, mask=np.ones((110, 128), bool))] * 2, "prompted twice"),
        ([Seed(1, 3, mask=np.ones((10, 10), bool))], "planes have"),
        ([Seed(1, 3, mask=np.zeros((110, 128), bool))], "makes no mask"),
        ([Seed(1, 0, Prompts(points=(PointPrompt(5, 5),)))], "makes no mask"),
        ([Seed(1, 3, Prompts(box=BoxPrompt(200, 0, 220, 10)))], "lies outside"),
    ],
)
def test_seeds_that_say_nothing_are_refused(seeds: list[Seed], words: str) -> None:
    with pytest.raises(PromptError) as caught:
        propagate(segmenter_of(grey(tubes())), seeds, config=EXACT)
    assert words in str(caught.value)


def test_a_seed_is_prompts_or_a_mask() -> None:
    with pytest.raises(PromptError, match="one of them"):
        Seed(1, 0)
    with pytest.raises(PromptError, match="from 1 on"):
        Seed(0, 0, mask=np.ones((2, 2), bool))


def test_masks_are_prompts_for_models_that_take_them(tmp_path: Path) -> None:
    truth = tubes()[1:4]
    config = PropagateConfig(
        prompt_kind="mask", stop_quality=0.0, min_overlap=0.0, max_area_change=100.0
    )
    predictor = filled_predictor("lite_sam", tmp_path)
    results = [
        propagate(Segmenter(grey(truth), predictor, "ZYX"), [mask_of(1, 2, truth)], config=config)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*(volume_of(result) for result in results))


def test_nuclei_of_an_embryo_are_followed_better_than_copied() -> None:
    path = sample_path("embryo")
    image = np.asarray(read_image(path).array)
    labels = read_labels(path.with_name(SAMPLES["embryo"].labels_file))
    truth = np.asarray(labels.array).astype(np.int32)
    seeds = []
    for name in (5, 9):
        used = np.flatnonzero((truth == name).any(axis=(1, 2)))
        seeds.append(mask_of(name, int(used[len(used) // 2]), truth))
    segmenter = litesam.Segmenter(image, "lite_sam", "ZYX", device="cpu")
    result = propagate(segmenter, seeds)
    scores = []
    for seed in seeds:
        true = truth == seed.object
        found = np.array([result.mask(seed.object, z) for z in range(len(truth))])
        copy = true.any(axis=(1, 2))[:, None, None] & (truth[seed.slice] == seed.object)
        scores.append([np.sum(m & true) / np.sum(m | true) for m in (found, copy)])
    ours, copied = np.mean(scores, axis=0)
    assert ours > copied + 0.02
    assert ours > 0.7


def test_a_bridge_is_what_guides_between_two_slices() -> None:
    truth = tubes()
    image = np.full(truth.shape, 20, dtype=np.uint8)  # nothing to be seen but the prompted slices
    seeds = [mask_of(1, 2, truth), mask_of(1, 6, truth)]
    result = propagate(segmenter_of(image), seeds, config=EXACT)
    for step, mask in enumerate(bridge(truth[2] == 1, truth[6] == 1, 3)):
        found = result.mask(1, 3 + step)
        assert np.count_nonzero(found & mask) / np.count_nonzero(found | mask) > 0.6
