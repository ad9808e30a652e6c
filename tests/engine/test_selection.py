"""Masks that are there already, chosen by points, boxes and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import litesam
from litesam.errors import ImageError, PromptError
from litesam.io import read_image
from litesam.merge import (
    picture_of,
    records_at,
    records_from_labels,
    select_by_box,
    select_by_boxes,
    select_by_points,
    select_by_prompts,
    select_by_text,
)
from litesam.samples import sample_path
from litesam.types import Box, BoxPrompt, MaskRecord, PointLabel, PointPrompt, Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def _square(y0: int, x0: int, y1: int, x1: int, iou: float = 0.5) -> MaskRecord:
    return MaskRecord(
        Box(y0, x0, y1, x1), np.ones((y1 - y0, x1 - x0), np.bool_), iou, 0.9, iou - 0.1
    )


#: A large square, a part of it, and another one far away.
LARGE, PART, FAR = _square(0, 0, 20, 20, 0.6), _square(5, 5, 10, 10, 0.9), _square(30, 30, 40, 36)
RECORDS = [PART, FAR, LARGE]


def _on(y: float, x: float) -> PointPrompt:
    return PointPrompt(y, x)


def _off(y: float, x: float) -> PointPrompt:
    return PointPrompt(y, x, PointLabel.BACKGROUND)


def test_masks_under_a_point_smallest_first() -> None:
    assert records_at(RECORDS, 7, 7) == [0, 2]
    assert records_at(RECORDS, 9.4, 9.4) == [0, 2]
    assert records_at(RECORDS, 9.6, 9.4) == [2]  # the next pixel's
    assert records_at(RECORDS, 25, 25) == []
    assert records_at([], 0, 0) == []


def test_foreground_point_joins_all_masks_that_hold_it() -> None:
    found = select_by_points(RECORDS, [_on(7, 7), _on(35, 31)])
    assert found.box == Box(0, 0, 40, 36)
    assert found.area == 400 + 60
    assert found.point == (7, 7)
    assert found.predicted_iou == 0.9
    assert found.score == pytest.approx(0.8)


def test_background_point_cuts_the_small_mask_out_of_the_large() -> None:
    found = select_by_points(RECORDS, [_on(15, 15), _off(35, 31)])
    assert found.area == 400
    # The large mask holds both points, and the last one decides; the part holds only the first.
    ring = select_by_points(RECORDS, [_off(7, 7), _on(15, 15)])
    assert ring.area == 400 - 25
    assert not ring.mask((50, 50))[7, 7]
    nothing = select_by_points(RECORDS, [_on(15, 15), _off(7, 7)])
    assert nothing.area == 0


def test_nothing_under_the_points_is_an_empty_mask() -> None:
    for records in (RECORDS, []):
        found = select_by_points(records, [_on(25, 25), _off(7, 7)])
        assert found.area == 0
        assert found.box == Box(0, 0, 0, 0)
        assert found.predicted_iou == found.score == 0.0
    with pytest.raises(PromptError, match="no points"):
        select_by_points(RECORDS, [])


def test_result_is_cut_to_its_pixels_and_leaves_the_records_alone() -> None:
    inner = _square(0, 0, 20, 10)
    found = select_by_points([LARGE, inner], [_off(1, 1), _on(1, 15)])
    assert found.box == Box(0, 10, 20, 20)
    assert LARGE.area == 400


def test_box_takes_the_mask_of_highest_iou() -> None:
    assert select_by_box(RECORDS, BoxPrompt(4, 4, 11, 11)) == 0
    assert select_by_box(RECORDS, BoxPrompt(1, 1, 18, 18)) == 2
    assert select_by_box(RECORDS, BoxPrompt(22, 22, 28, 28)) is None
    assert select_by_box([], BoxPrompt(0, 0, 1, 1)) is None
    # A box may reach over the border of the image.
    assert select_by_box(RECORDS, BoxPrompt(-5, -5, 19, 19)) == 2


def test_several_boxes_name_each_mask_once() -> None:
    boxes = [
        BoxPrompt(30, 30, 40, 35),
        BoxPrompt(0, 0, 19, 19),
        BoxPrompt(25, 25, 28, 28),
        BoxPrompt(1, 1, 20, 20),
    ]
    assert select_by_boxes(RECORDS, boxes) == [1, 2]


class BrightScorer:
    """Fits "bright" to bright pictures; keeps what it was asked."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(
        self, pictures: Sequence[npt.NDArray[np.uint8]], text: str
    ) -> npt.NDArray[np.float64]:
        assert text == "bright"
        self.shapes = [picture.shape for picture in pictures]
        return np.array([picture.mean() for picture in pictures])


def test_words_take_the_mask_whose_picture_fits_best() -> None:
    rgb = np.zeros((50, 50, 3), np.uint8)
    other = _square(20, 20, 35, 35)
    rgb[20:35, 20:35] = 90
    scorer = BrightScorer()
    found = select_by_text([PART, LARGE, other], rgb, "bright", scorer)
    assert found is not None
    assert found.index == 2
    assert found.share == pytest.approx(1.0)
    assert scorer.shapes == [(20, 20, 3), (15, 15, 3)]  # the part is too small to be looked at


def test_words_without_a_mask_that_is_large_enough() -> None:
    rgb = np.zeros((50, 50, 3), np.uint8)
    assert select_by_text([PART], rgb, "bright", BrightScorer()) is None
    with pytest.raises(PromptError, match="text is empty"):
        select_by_text(RECORDS, rgb, "  ", BrightScorer())


def test_picture_is_the_mask_on_white() -> None:
    rgb = np.full((50, 50, 3), 10, np.uint8)
    ring = MaskRecord(Box(1, 2, 3, 4), np.array([[True, False], [True, True]]), 1.0, 1.0, 1.0)
    np.testing.assert_array_equal(picture_of(ring, rgb)[..., 0], [[10, 255], [10, 10]])


# --------------------------------------------------------------------- points and a box of a prompt


def test_prompts_choose_as_their_parts_do() -> None:
    points = (_on(15, 15), _off(35, 31))
    by_points = select_by_prompts(RECORDS, Prompts(points))
    assert by_points.box == select_by_points(RECORDS, points).box
    assert select_by_prompts(RECORDS, Prompts(box=BoxPrompt(4, 4, 11, 11))) is PART
    assert select_by_prompts(RECORDS, Prompts(box=BoxPrompt(22, 22, 28, 28))).area == 0


def test_points_say_which_of_the_masks_in_a_box() -> None:
    box = BoxPrompt(1, 1, 18, 18)
    assert select_by_prompts(RECORDS, Prompts((_on(7, 7),), box)) is LARGE
    assert select_by_prompts(RECORDS, Prompts((_on(7, 7), _off(15, 15)), box)) is PART
    assert select_by_prompts(RECORDS, Prompts((_off(15, 15),), box)) is PART
    # No mask holds the point: the box decides alone.
    assert select_by_prompts(RECORDS, Prompts((_on(25, 25),), box)) is LARGE


def test_mask_prompts_choose_nothing() -> None:
    with pytest.raises(PromptError, match="cannot choose among masks"):
        select_by_prompts(RECORDS, Prompts(low_res_mask=np.zeros((4, 4), np.float32)))


def test_label_images_of_any_program() -> None:
    labels = np.zeros((30, 40), np.uint16)
    labels[2:6, 3:9] = 700
    labels[4:8, 20:30] = 3
    labels[20:22, 35:40] = 700  # a second part of the same object
    records = records_from_labels(labels)
    assert [record.label for record in records] == [3, 700]
    assert records[1].box == Box(2, 3, 22, 40)
    for record in records:
        assert np.array_equal(record.mask((30, 40)), labels == record.label)
    found = select_by_points(records, [_on(4, 4)])
    assert (found.label, found.area) == (700, 24 + 10)
    assert select_by_points(records, [_on(4, 4), _on(5, 25)]).label == 0  # no longer one of them
    assert records_from_labels(np.zeros((5, 5), int)) == []
    assert [r.area for r in records_from_labels(np.full((5, 5), 2))] == [25]
    for wrong in (labels.astype(float), labels[0], labels.astype(int) - 1):
        with pytest.raises(ImageError):
            records_from_labels(wrong)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("the network was asked")


def test_a_click_on_the_result_of_everything_mode_asks_no_decoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Public, from the image to the object, with the bundled weights."""
    image = np.asarray(read_image(sample_path("nuclei")).array)[150:310, 250:450]
    segmenter = litesam.Segmenter(image, axes="YX")
    labels, records = segmenter.everything()
    objects = segmenter.find_objects()
    for name in ("decode", "decode_windows", "encode"):
        monkeypatch.setattr(segmenter.predictor, name, _refuse)
    assert len(records) > 3
    for record in records:
        rows, columns = np.nonzero(record.crop)
        y, x = float(rows[0] + record.box.y0), float(columns[0] + record.box.x0)
        chosen = litesam.select_by_prompts(records, Prompts((_on(y, x),)))
        assert chosen.label == record.label == labels[int(y), int(x)]
        assert np.array_equal(chosen.mask(labels.shape), labels == record.label)
        box = BoxPrompt(record.box.y0, record.box.x0, record.box.y1, record.box.x1)
        assert litesam.select_by_prompts(records, Prompts(box=box)).label == record.label
        smallest = objects[litesam.records_at(objects, y, x)[0]]
        assert smallest.mask(labels.shape)[int(y), int(x)]
    words = litesam.select_by_text(objects, segmenter.plane().rgb, "bright", BrightScorer())
    assert words is not None
    assert 0 < words.share <= 1
