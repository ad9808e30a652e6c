"""Objects carried through a stack from the panel: one step, confidence, worst slice, correction."""

from __future__ import annotations

import napari.settings
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QScrollArea

from engine.threshold_predictor import CENTRES, discs
from litesam.io import read_image
from litesam.samples import SAMPLES, sample_path
from litesam.session import replay
from litesam.types import PropagateConfig

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES
#: Prompts of a file are answered in a resampled plane, too.
FROM_PROMPTS = 0.85


@pytest.fixture
def stack() -> tuple[np.ndarray, np.ndarray]:
    """(8, 128, 128): three columns; the third one ends after the sixth slice."""
    image, truth = discs((128, 128), CENTRES)
    labels = np.stack([truth] * 8)
    labels[6:][labels[6:] == 3] = 0
    return np.where(labels > 0, np.stack([image] * 8), 0).astype(image.dtype), labels


@pytest.fixture
def opened(predictor, open_panel, stack):
    """The stack at its fourth slice, and the section unfolded at its second page."""
    hands = open_panel(stack[0])
    hands.viewer.dims.set_current_step(0, 3)
    unfold(hands)
    return hands


def unfold(hands) -> None:
    hands.widget.volume.expand(animate=False)
    hands.pick("volume.mode", "propagate")
    hands.settle()


def commit(hands, *centres) -> None:
    for centre in centres:
        hands.click(centre)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()


def choose(hands, *centres) -> None:
    """Choose the objects there with the mouse and the key for it."""
    for centre in centres:
        hands.hover(centre)
        hands.key(Qt.Key.Key_E)
        hands.settle()


def press(hands, name: str) -> None:
    hands.press(f"volume.propagate.{name}")
    hands.settle()


def same(mask: np.ndarray, truth: np.ndarray, least: float = 0.9) -> None:
    """The same slices, and nearly the same pixels: propagation looks at a resampled plane."""
    np.testing.assert_array_equal(mask.any(axis=(1, 2)), truth.any(axis=(1, 2)))
    assert (mask & truth).sum() / (mask | truth).sum() > least


def at(hands) -> int:
    return int(hands.viewer.dims.current_step[0])


def test_prompts_are_committed_and_carried_as_one_step(opened, stack) -> None:
    hands, truth = opened, stack[1]
    page = hands.widget.volume.propagate
    assert not page.carry.isEnabled()
    assert "click on one" in page.carry.toolTip()
    hands.click(THIRD)
    hands.settle()
    press(hands, "carry")
    data = hands.objects.data
    same(data == 1, truth == 3)
    carried = data.copy()
    assert "1 object(s) carried through 6 slices" in hands.status
    assert len(hands.points.data) == 0
    values = dict(page.plot.confidence.values)
    assert sorted(values) == [0, 1, 2, 3, 4, 5]
    assert values[3] == 1.0
    assert page.plot.confidence.prompted == {3}
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert "carried" in hands.status
    assert not np.delete(data, 3, axis=0).any()  # the commit stays: it is a step of its own
    np.testing.assert_array_equal(data[3] == 1, truth[3] == 3)
    hands.key(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    np.testing.assert_array_equal(data, carried)


def test_an_object_opened_again_is_carried_as_it_is(opened, stack) -> None:
    """Also if it is committed without any new pixel."""
    commit(opened, FIRST)
    opened.hover(FIRST)
    opened.key(Qt.Key.Key_R)
    opened.settle()
    press(opened, "carry")
    opened.settle()
    same(opened.objects.data == 1, stack[1] == 1)
    assert set(np.unique(opened.objects.data)) == {0, 1}


def test_chosen_objects_go_under_their_ids_and_past_others(opened, stack) -> None:
    hands, truth = opened, stack[1]
    commit(hands, FIRST, SECOND, THIRD)
    hands.objects.data[5, 30, 30] = 9  # an object of somebody else's
    choose(hands, FIRST, THIRD)
    assert hands.widget.state.selected == {1, 3}
    press(hands, "carry")
    data = np.asarray(hands.objects.data)
    same((data == 1) | (data == 9), truth == 1)
    same(data == 3, truth == 3)
    np.testing.assert_array_equal(data[3], truth[3])
    assert data[5, 30, 30] == 9
    assert np.unique(data[[0, 1, 2, 4, 5, 6, 7]]).tolist() == [0, 1, 3, 9]
    # What the session says gives the same again.
    session = hands.widget.controller.keeper.session(hands.objects)
    assert session is not None
    replayed = replay(session, hands.image.data, check_weights=False).labels
    np.testing.assert_array_equal(replayed, np.where(data == 9, 0, data))


def test_a_correction_runs_only_what_depends_on_it(opened, stack, predictor) -> None:
    hands = opened
    commit(hands, FIRST)
    choose(hands, FIRST)
    page = hands.widget.volume.propagate
    assert not page.worst.isEnabled()
    assert "carried" in page.worst.toolTip()
    press(hands, "carry")
    press(hands, "again")
    assert "Nothing was corrected" in hands.status
    press(hands, "worst")
    worst = at(hands)
    assert worst in (0, 7)
    assert f"Slice {worst}: object 1" in hands.status
    # A correction by hand: half of the object is erased.
    before = hands.objects.data.copy()
    rows = np.nonzero((before[worst] == 1).any(axis=1))[0]
    lower = before[worst] == 1
    lower[: int(rows.mean())] = False
    hands.objects.data_setitem(np.nonzero(np.where(lower, True, False)[None] * _at(worst)), 0)
    hands.settle()
    steps = predictor.decoded.copy()
    press(hands, "again")
    data = hands.objects.data
    assert len(predictor.decoded) > len(steps)
    np.testing.assert_array_equal(data[worst] == 1, (before[worst] == 1) & ~lower)
    other = 0 if worst == 7 else 7  # beyond the first prompted slice nothing runs again
    np.testing.assert_array_equal(data[other], before[other])
    assert dict(page.plot.confidence.values)[worst] == 1.0
    assert page.plot.confidence.prompted == {3, worst}
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert "carried" in hands.status


def _at(number: int) -> np.ndarray:
    chosen = np.zeros((8, 1, 1), dtype=bool)
    chosen[number] = True
    return chosen


def test_a_click_on_the_plot_goes_to_the_slice(opened) -> None:
    hands = opened
    commit(hands, FIRST)
    choose(hands, FIRST)
    press(hands, "carry")
    plot = hands.widget.volume.propagate.plot
    position = QPoint(int(plot.width() * 6.5 / 8), plot.height() // 2)
    hands.qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=position)
    hands.settle()
    assert at(hands) == 6
    assert plot.confidence.shown == 6
    drawn = plot.grab().toImage()
    assert drawn.pixelColor(position.x(), 2).name() == "#ffd92e"


def test_cancel_leaves_the_layer_as_it_is(opened, predictor) -> None:
    hands = opened
    commit(hands, FIRST)
    choose(hands, FIRST)
    before = hands.objects.data.copy()
    predictor.gate.clear()
    hands.press("volume.propagate.carry")
    hands.until(predictor.waiting.is_set)
    assert not hands.widget.volume.propagate.carry.isEnabled()
    hands.press("cancel")
    predictor.gate.set()
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, before)
    assert "ancelled" in hands.status


def test_nuclei_of_the_sample_with_the_real_model(open_panel) -> None:
    """From one slice, as a person drew it, to all others. (A click there is another matter.)"""
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "embryo")
    hands.qtbot.wait(100)
    hands.settle()
    reference = sample_path("embryo").with_name(SAMPLES["embryo"].labels_file)
    truth = np.asarray(read_image(reference).array)
    hands.viewer.dims.set_current_step(0, 22)
    drawn = np.zeros_like(truth, dtype=np.int32)
    drawn[22] = truth[22]
    layer = hands.viewer.add_labels(drawn, scale=hands.image.scale)
    hands.pick("target", layer)
    unfold(hands)
    numbers = np.unique(truth[22])[1:].tolist()
    hands.widget.state.select(numbers)
    hands.settle()
    press(hands, "carry")
    found = []
    for number in numbers:
        mask, wanted = layer.data == number, truth == number
        found.append((mask & wanted).sum() / (mask | wanted).sum())
    assert np.mean(found) > 0.6, found
    press(hands, "worst")
    assert (layer.data[at(hands)] > 0).any()


def test_a_commit_in_the_worst_slice_corrects_it(opened, stack) -> None:
    hands, truth = opened, stack[1]
    commit(hands, FIRST)
    choose(hands, FIRST)
    press(hands, "carry")
    press(hands, "worst")
    worst = at(hands)
    assert not np.array_equal(hands.objects.data[worst] == 1, truth[worst] == 1)
    hands.hover(FIRST)
    hands.qtbot.wait(20)
    hands.key(Qt.Key.Key_R)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data[worst] == 1, truth[worst] == 1)
    press(hands, "again")
    same(hands.objects.data == 1, truth == 1)
    np.testing.assert_array_equal(hands.objects.data[worst] == 1, truth[worst] == 1)
    assert dict(hands.widget.volume.propagate.plot.confidence.values)[worst] == 1.0


def test_time_series_of_stacks_keep_their_time(predictor, open_panel, stack) -> None:
    image, truth = stack
    hands = open_panel(np.stack([image] * 5), axis_labels=("t", "z", "y", "x"))
    hands.viewer.dims.set_current_step(0, 1)
    hands.viewer.dims.set_current_step(1, 3)
    unfold(hands)
    hands.click(THIRD)
    hands.settle()
    press(hands, "carry")
    data = np.asarray(hands.objects.data)
    same(data[1] == 1, truth == 3)
    assert not np.delete(data, 1, axis=0).any()
    press(hands, "worst")
    assert hands.viewer.dims.current_step[0] == 1
    assert hands.viewer.dims.current_step[1] in (0, 5)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert np.unique(np.nonzero(hands.objects.data)[1]).tolist() == [3]


@pytest.fixture
def chosen_file(monkeypatch, tmp_path):
    """What the dialog for a file answers: a file with these lines."""

    def choose(*lines: str):
        path = tmp_path / "prompts.csv"
        path.write_text("\n".join(lines))
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))

    return choose


def test_objects_of_a_prompts_file_are_carried(opened, stack, chosen_file) -> None:
    """Two objects, one of them prompted on two slices, as one step and under new ids."""
    hands, truth = opened, stack[1]
    commit(hands, SECOND)
    page = hands.widget.volume.propagate
    (y1, x1), (y3, x3) = FIRST, THIRD
    chosen_file(
        "object,z,y,x,label",
        f"left,1,{y1},{x1},1",
        f"left,6,{y1},{x1},1",
        f"right,3,{y3},{x3},1",
    )
    press(hands, "file")
    data = hands.objects.data
    assert "2 object(s) carried through 8 slices" in hands.status
    assert np.unique(data).tolist() == [0, 1, 2, 3]
    same(data == 2, truth == 1, FROM_PROMPTS)
    same(data == 3, truth == 3, FROM_PROMPTS)
    assert page.plot.confidence.prompted == {1, 3, 6}
    np.testing.assert_array_equal(data[3] == 1, truth[3] == 2)
    press(hands, "worst")
    assert at(hands) not in (1, 6)
    # A stroke corrects one of them, as any carried object.
    before = data.copy()
    top = np.nonzero(before[5] == 2)[0].min()
    hands.objects.data_setitem((np.array([5]), np.array([top - 1]), np.array([x1])), 2)
    hands.settle()
    press(hands, "again")
    assert page.plot.confidence.prompted == {1, 3, 5, 6}
    session = hands.widget.controller.keeper.session(hands.objects)
    replayed = replay(session, hands.image.data, check_weights=False).labels
    np.testing.assert_array_equal(replayed, hands.objects.data)
    for _ in range(3):
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
    assert np.unique(hands.objects.data).tolist() == [0, 1]


def test_a_file_makes_the_layer_and_its_errors_are_told(opened, stack, chosen_file) -> None:
    hands, truth = opened, stack[1]
    (y1, x1), _, _ = CENTRES
    for lines, message in (
        (("object,y,x", f"a,{y1},{x1}"), "need z"),
        (("object,z,y,x", f"a,90,{y1},{x1}"), "slice 90, outside 0 … 7"),
        (("object,z,y,x", f"a,1,{y1},wide"), "line 2"),
    ):
        chosen_file(*lines)
        press(hands, "file")
        assert message in hands.status, hands.status
        assert hands.objects is None
    chosen_file("z,y,x", f"2,{y1},{x1}")
    press(hands, "file")
    same(hands.objects.data == 1, truth == 1, FROM_PROMPTS)


def test_a_file_for_a_series_of_stacks_is_of_the_time_shown(
    predictor, open_panel, stack, chosen_file
) -> None:
    image, truth = stack
    hands = open_panel(np.stack([image] * 2), axis_labels=("t", "z", "y", "x"))
    hands.viewer.dims.set_current_step(0, 1)
    unfold(hands)
    (y1, x1), _, (y3, x3) = CENTRES
    chosen_file("object,t,z,y,x", f"a,0,2,{y1},{x1}", f"b,1,2,{y3},{x3}")
    press(hands, "file")
    data = np.asarray(hands.objects.data)
    assert not data[0].any()
    same(data[1] == 1, truth == 3, FROM_PROMPTS)
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    chosen_file("object,t,z,y,x", f"b,1,2,{y3},{x3}")
    press(hands, "file")
    assert "no object at t = 0" in hands.status


def type_option(hands, name: str, text: str) -> None:
    """Type into a field of *Where objects end* as a user does, unfolded if need be."""
    page = hands.widget.volume.propagate
    area = hands.widget.findChild(QScrollArea)
    if not page.section.isExpanded():
        area.ensureWidgetVisible(page.section.toggleButton())
        hands.qtbot.mouseClick(page.section.toggleButton(), Qt.MouseButton.LeftButton)
    field = page.options.controls[name]
    hands.until(field.isVisible)
    area.ensureWidgetVisible(field)
    field.setFocus()
    field.selectAll()
    hands.qtbot.keyClicks(field, text)
    hands.qtbot.keyClick(field, Qt.Key.Key_Return)
    hands.settle()


def test_options_say_where_objects_end_and_stay(opened, open_panel, stack) -> None:
    hands = opened
    commit(hands, FIRST, SECOND)
    hands.widget.state.select({1, 2})
    hands.settle()
    page = hands.widget.volume.propagate
    field = page.options.controls["max_slices"]
    assert field.text() == "no limit"
    type_option(hands, "max_slices", "2")
    assert hands.widget.state.settings.propagate == PropagateConfig(max_slices=2)
    press(hands, "carry")
    data = hands.objects.data
    assert np.unique(np.nonzero(data)[0]).tolist() == [1, 2, 3, 4, 5]
    near = data.copy()
    # Other options, and again: nothing has to be corrected for that, and it is one step.
    field.setFocus()
    hands.qtbot.keyClick(field, Qt.Key.Key_Down)
    hands.qtbot.keyClick(field, Qt.Key.Key_Down)
    hands.settle()
    assert field.text() == "no limit"
    press(hands, "again")
    assert "2 object(s) carried through 8 slices" in hands.status
    same(data == 1, stack[1] == 1)
    same(data == 2, stack[1] == 2)
    np.testing.assert_array_equal(data[3], near[3])
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    np.testing.assert_array_equal(data, near)
    # With the same options again there is nothing to do.
    hands.key(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    press(hands, "again")
    assert "Nothing was corrected" in hands.status


def test_fewer_slices_than_before_are_taken_back(opened) -> None:
    hands = opened
    commit(hands, FIRST)
    hands.widget.state.select({1})
    hands.settle()
    press(hands, "carry")
    assert hands.objects.data.any(axis=(1, 2)).all()
    type_option(hands, "max_slices", "1")
    press(hands, "again")
    assert np.unique(np.nonzero(hands.objects.data)[0]).tolist() == [2, 3, 4]


@pytest.mark.skipif(
    not hasattr(napari.settings, "get_plugin_settings"), reason="napari keeps settings from 0.9 on"
)
def test_where_objects_end_is_kept_for_the_next_start(opened, open_panel, stack) -> None:
    hands = opened
    type_option(hands, "max_slices", "3")
    type_option(hands, "stop_quality", "0.9")
    hands.viewer.close()
    napari.settings._PLUGIN_SETTINGS.clear()
    again = open_panel(stack[0])
    unfold(again)
    page = again.widget.volume.propagate
    assert again.widget.state.settings.propagate == PropagateConfig(max_slices=3, stop_quality=0.9)
    assert page.options.controls["max_slices"].text() == "3 slices"
    assert page.section.isExpanded(), "as it was left"
    head = page.section.toggleButton()
    again.widget.findChild(QScrollArea).ensureWidgetVisible(head)
    again.qtbot.mouseClick(head, Qt.MouseButton.LeftButton)
    again.until(lambda: head.text().startswith("▸ Where objects end · Stop"))
    assert "Stop quality 0.9 · Max slices 3" in head.toolTip()
