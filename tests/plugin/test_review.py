"""Everything with a review: sliders, clicks on candidates, accept and discard, in a window."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QStyle, QStyleOptionSlider

from engine.threshold_predictor import CENTRES, discs
from litesam.types import Box, BoxPrompt, EverythingConfig, MaskRecord
from napari_litesam import segmenters
from napari_litesam.candidates import Filters, collect
from napari_litesam.jobs import JobContext
from napari_litesam.requests import (
    EverythingRequest,
    ImageSource,
    PlaneRequest,
    resolve_plane,
    visible_field,
)
from napari_litesam.state import Tool, Where

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = CENTRES


def drag_slider(hands, name: str, share: float) -> None:
    """Take the handle of a slider with the mouse and let it go at a share of its range."""
    slider = hands.widget.review.sliders[name]
    option = QStyleOptionSlider()
    slider.initStyleOption(option)
    handle = slider.style().subControlRect(
        QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, slider
    )
    start = handle.center()
    way = slider.width() - handle.width()
    edge = QStyle.sliderPositionFromValue(0, 1000, round(share * 1000), way)
    end = QPoint(edge + handle.width() // 2, start.y())
    left = Qt.MouseButton.LeftButton
    QTest.mouseMove(slider, start)
    QTest.mousePress(slider, left, pos=start)
    for part in (0.25, 0.5, 0.75, 1.0):
        QTest.mouseMove(slider, start + (end - start) * part)
        hands.settle()
    QTest.mouseRelease(slider, left, pos=end)
    hands.settle()


def shown(hands) -> np.ndarray:
    """Where candidates that are kept are painted."""
    layer = hands.widget.controller._layers.candidates
    data = np.asarray(layer.data)
    return (data > 0) & (data < 255) & layer.visible


@pytest.fixture
def sizes() -> tuple[np.ndarray, np.ndarray]:
    """(128, 128) image of a large, a middle and a small disc and its labels."""
    labels = np.zeros((128, 128), np.int32)
    for number, (centre, radius) in enumerate(zip(CENTRES, (16, 10, 5), strict=True), 1):
        part = discs((128, 128), [centre], radius)[1] > 0
        labels[part] = number
    return np.where(labels > 0, 200, 20).astype(np.uint8), labels


@pytest.fixture
def reviewed(predictor, open_panel, sizes):
    """A panel in which *Everything* has found the three discs."""
    hands = open_panel(sizes[0])
    hands.press("everything")
    hands.settle()
    return hands


def test_nothing_is_written_before_it_is_accepted(reviewed, sizes) -> None:
    hands, labels = reviewed, sizes[1]
    assert hands.objects is None
    assert hands.widget.review.isVisible()
    assert hands.widget.review.count.text() == "3 of 3 candidates kept"
    np.testing.assert_array_equal(shown(hands), labels > 0)
    picture = np.asarray(hands.widget.controller._layers.candidates.data)
    assert len({int(picture[centre]) for centre in CENTRES}) == 3
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, labels > 0)
    assert hands.objects.data.max() == 3
    assert "3 objects, ids 1 to 3" in hands.status
    assert not hands.widget.review.isVisible()
    assert not shown(hands).any()
    assert hands.widget.positive.isChecked(), "clicks make prompts again"


def test_sliders_act_at_once_without_decoding(reviewed, sizes, predictor) -> None:
    hands, labels = reviewed, sizes[1]
    decoded = len(predictor.decoded)
    steps = len(hands.widget.controller._history._back)
    drag_slider(hands, "min_area", 0.83)
    assert not shown(hands)[THIRD]
    assert shown(hands)[FIRST]
    drag_slider(hands, "max_area", 0.95)
    np.testing.assert_array_equal(shown(hands), labels == 2)
    assert hands.widget.review.count.text() == "1 of 3 candidates kept"
    assert len(predictor.decoded) == decoded
    # A drag is one step of undo, however many moves it had.
    assert len(hands.widget.controller._history._back) == steps + 2
    hands.press("undo")
    hands.settle()
    np.testing.assert_array_equal(shown(hands), np.isin(labels, (1, 2)))
    assert hands.widget.review.sliders["max_area"].value() == 200, "the slider follows"
    hands.press("undo")
    hands.settle()
    assert shown(hands)[THIRD]
    hands.press("redo")
    hands.settle()
    hands.press("review.accept")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, np.isin(labels, (1, 2)))


def test_every_slider_moves_by_keys(reviewed, sizes) -> None:
    """With the score of the model: 0.95 for each disc; their stability is 1."""
    hands = reviewed
    for name, key, back in (
        ("predicted_iou", Qt.Key.Key_End, Qt.Key.Key_Home),
        ("min_area", Qt.Key.Key_End, Qt.Key.Key_Home),
        ("max_area", Qt.Key.Key_Home, Qt.Key.Key_End),
    ):
        slider = hands.widget.review.sliders[name]
        hands.qtbot.keyClick(slider, key)
        hands.settle()
        assert not shown(hands)[SECOND], name
        hands.qtbot.keyClick(slider, back)
        hands.settle()
        assert shown(hands)[SECOND], name
    for name in ("stability", "overlap"):
        hands.qtbot.keyClick(hands.widget.review.sliders[name], Qt.Key.Key_Home)
        hands.settle()
        assert getattr(hands.widget.state.review.filters, name) == 0.0
        assert shown(hands)[SECOND], "discs do not overlap"


def test_clicks_reject_and_accept(reviewed, sizes) -> None:
    hands, labels = reviewed, sizes[1]
    layer = hands.widget.controller._layers.candidates
    hands.click(FIRST)
    hands.settle()
    assert not shown(hands)[FIRST]
    assert layer.data[FIRST] == 255, "what was clicked away is grey"
    assert "1 rejected" in hands.widget.review.count.text()
    hands.click(FIRST)
    hands.settle()
    assert shown(hands)[FIRST]
    # What the filters hide comes back by a click, too.
    hands.qtbot.keyClick(hands.widget.review.sliders["min_area"], Qt.Key.Key_End)
    hands.settle()
    assert not shown(hands)[THIRD]
    hands.click(THIRD)
    hands.settle()
    np.testing.assert_array_equal(shown(hands), np.isin(labels, (1, 3)))
    assert len(hands.points.data) == 0, "clicks on candidates are no prompts"
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not shown(hands)[THIRD]
    hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    hands.settle()
    assert shown(hands)[THIRD]
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, np.isin(labels, (1, 3)))
    # One step takes all of it back, and the review with its verdicts is there again.
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.objects.data.any()
    np.testing.assert_array_equal(shown(hands), np.isin(labels, (1, 3)))
    hands.press("redo")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, np.isin(labels, (1, 3)))
    assert not shown(hands).any()


def test_a_drag_moves_the_canvas_and_no_candidate(reviewed, sizes) -> None:
    hands = reviewed
    camera = getattr(hands.viewer, "scene", hands.viewer).camera
    before = tuple(camera.center)
    hands.drag(FIRST, (50, 50))
    hands.settle()
    assert tuple(camera.center) != before
    np.testing.assert_array_equal(shown(hands), sizes[1] > 0)


def test_discard_and_undo(reviewed, sizes) -> None:
    hands, labels = reviewed, sizes[1]
    hands.key(Qt.Key.Key_C, SHIFT)
    hands.settle()
    assert not hands.widget.review.isVisible()
    assert not shown(hands).any()
    assert hands.widget.positive.isChecked()
    hands.press("undo")
    hands.settle()
    assert hands.widget.review.isVisible()
    np.testing.assert_array_equal(shown(hands), labels > 0)
    hands.press("undo")
    hands.settle()
    assert not hands.widget.review.isVisible()
    assert not hands.widget.undo.isEnabled()


def test_never_overwrites_and_prompts_go_on(reviewed, sizes) -> None:
    hands, labels = reviewed, sizes[1]
    hands.press("positive")
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    hands.press("commit")
    hands.settle()
    np.testing.assert_array_equal(shown(hands), labels > 0)
    hands.press("review.pick")
    assert hands.widget.state.settings.tool is Tool.PICK
    hands.click(FIRST)
    hands.settle()
    hands.press("review.accept")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, np.where(labels == 2, 1, (labels == 3) * 2))
    assert "1 left out" in hands.status


def test_review_belongs_to_its_plane(predictor, open_panel, sizes) -> None:
    image, labels = sizes
    hands = open_panel(np.stack([image, np.rot90(image)]), axis_labels=("z", "y", "x"))
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    hands.press("everything")
    hands.settle()
    hands.viewer.dims.set_current_step(0, 1)
    hands.settle()
    assert not shown(hands).any()
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    np.testing.assert_array_equal(shown(hands), labels > 0)
    hands.press("review.accept")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data[0] > 0, labels > 0)
    assert not hands.objects.data[1].any()


def test_removing_the_layer_discards(reviewed, sizes) -> None:
    hands = reviewed
    hands.viewer.layers.remove(hands.widget.controller._layers.candidates)
    hands.settle()
    assert not hands.widget.review.isVisible()
    hands.press("undo")
    hands.settle()
    np.testing.assert_array_equal(shown(hands), sizes[1] > 0)


def many(count: int, side: int) -> list[MaskRecord]:
    """Discs of all sizes at random places, with random scores."""
    random = np.random.default_rng(3)
    records = []
    for _ in range(count):
        radius = int(random.integers(6, 24))
        y, x = (int(v) for v in random.integers(radius, side - radius, 2))
        yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        box = Box(y - radius, x - radius, y + radius + 1, x + radius + 1)
        scores = random.random(3)
        records.append(MaskRecord(box, yy**2 + xx**2 <= radius**2, *map(float, scores)))
    return records


def test_a_thousand_candidates_follow_the_slider(predictor, open_panel) -> None:
    side = 1024
    hands = open_panel(np.zeros((side, side), np.uint8), contrast_limits=(0, 255))
    controller = hands.widget.controller
    plane = resolve_plane(hands.widget.state.settings, controller._scene())
    slider = hands.widget.review.sliders["predicted_iou"]

    def work(records: list[MaskRecord]) -> float:
        """Seconds of this thread for a move; not on the wall: others may hold the processor."""
        found = collect(records, (side, side), Filters(overlap=0.7))
        controller.review.begin(plane, found, answers_boxes=False)
        hands.settle()
        times = []
        for _ in range(12):
            start = time.thread_time()
            hands.qtbot.keyClick(slider, Qt.Key.Key_PageUp)
            hands.settle()
            times.append(time.thread_time() - start)
        return float(np.median(times))

    few, many_of_them = work(many(10, side)), work(many(1000, side))
    assert 0 < hands.widget.state.review.kept < 600
    print(f"{1000 * many_of_them:.0f} ms of work; {1000 * few:.0f} with ten candidates")
    # Nearly all of it is the window's own; nothing is decoded or compared again.
    assert many_of_them < 5 * few


# ------------------------------------------------------------------------------------------ regions


def choose_where(hands, where: Where) -> None:
    hands.pick("where", where)
    hands.settle()


@pytest.mark.parametrize("at_once", [False, True])
def test_only_in_the_newest_box(predictor, open_panel, cells, at_once) -> None:
    image, labels = cells
    hands = open_panel(image)
    choose_where(hands, Where.BOX)
    hands.press("everything")
    hands.settle()
    assert "Draw the region first" in hands.status
    hands.press("box")
    hands.drag((10, 70), (60, 120))
    hands.settle()
    if at_once:
        hands.everything()
    else:
        hands.press("everything")
        hands.settle()
        np.testing.assert_array_equal(shown(hands), labels == 2)
        hands.press("review.accept")
        hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, labels == 2)


def test_only_in_the_drawn_outline(predictor, open_panel, cells) -> None:
    """What lies in the box around the outline, but not in the outline, is left out."""
    image, labels = cells
    hands = open_panel(image)
    choose_where(hands, Where.BOX)
    hands.press("lasso")
    # A hook around the discs 1 and 3 that leaves disc 2 out.
    corners = [(8, 8), (8, 45), (50, 52), (70, 80), (110, 110), (118, 118), (120, 8), (60, 8)]
    native, left = hands.canvas.native, Qt.MouseButton.LeftButton
    places = [hands.at(hands.image, corner) for corner in corners]
    hands.qtbot.mouseMove(native, places[0])
    QTest.mousePress(native, left, pos=places[0])
    for place in places[1:]:
        QTest.mouseMove(native, place)
        hands.qtbot.wait(20)
    QTest.mouseRelease(native, left, pos=places[-1])
    hands.settle()
    (shape,) = hands.widget.controller.prompts.boxes.data
    assert shape[:, 1].max() > 100, "disc 2 lies in the box around it"
    hands.press("everything")
    hands.settle()
    np.testing.assert_array_equal(shown(hands), (labels == 1) | (labels == 3))


def test_only_in_the_visible_field(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    camera = getattr(hands.viewer, "scene", hands.viewer).camera
    camera.zoom *= 2.5
    camera.center = (*camera.center[:-2], *THIRD)
    hands.until(lambda: visible_field(hands.image).y0 > FIRST[0])
    choose_where(hands, Where.VIEW)
    hands.press("everything")
    hands.settle()
    np.testing.assert_array_equal(shown(hands), labels == 3)


def test_only_tiles_of_the_region_are_encoded(predictor) -> None:
    image, labels = discs((1024, 1024), [(100, 100), (900, 900), (880, 120)], 40)
    source = ImageSource(image, "YX", None, (1024, 1024), (), "lite_sam", "auto", None)
    request = EverythingRequest(
        PlaneRequest(source, None), None, EverythingConfig(), (), BoxPrompt(0, 0, 200, 200)
    )
    context = JobContext(lambda _: None, lambda: False)
    found = segmenters.candidates(segmenters.SegmenterPool(), request, context)
    assert predictor.encoded == 1
    assert [bool(labels[tuple(int(v) for v in r.point)] == 1) for r in found.records] == [True]
