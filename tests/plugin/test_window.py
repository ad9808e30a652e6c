"""The panel in a real window: what a user does with mouse and keys, and what comes of it."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.types import PointLabel

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = CENTRES


def test_first_click_gives_a_mask(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    assert "click on an object" in hands.status
    hands.click(FIRST)
    hands.until(lambda: hands.preview.any())
    np.testing.assert_array_equal(hands.preview, labels == 1)
    assert hands.widget.controller.preview.name == "Lite-SAM preview"
    assert "149 px" in hands.status


def test_panel_opened_before_the_image(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(None)
    assert "Open an image" in hands.status
    assert not hands.widget.embed.isEnabled()
    assert "Open an image" in hands.widget.embed.toolTip()
    hands.viewer.add_image(image)
    hands.qtbot.wait(50)
    hands.click(SECOND)
    hands.until(lambda: hands.preview.any())
    np.testing.assert_array_equal(hands.preview, labels == 2)


def test_commit_by_key_then_next_object_gets_the_next_id(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    for number, centre in enumerate((SECOND, FIRST), start=1):
        hands.click(centre)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()
        assert len(hands.points.data) == 0
        assert not hands.preview.any()
        assert f"Object {number} committed" in hands.status
    assert hands.objects.data.dtype == np.int32
    np.testing.assert_array_equal(hands.objects.data, (labels == 2) * 1 + (labels == 1) * 2)


def test_commit_pressed_before_the_mask_is_there(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    hands.key(Qt.Key.Key_C)
    predictor.gate.set()
    hands.until(lambda: hands.objects is not None)
    np.testing.assert_array_equal(hands.objects.data, labels == 1)


def test_negative_clicks_by_key_button_and_modifier(predictor, open_panel) -> None:
    # Two discs that touch are one bright object: a negative point takes the object out.
    image = np.full((128, 128), 20, np.uint8)
    image[40:60, 20:50] = image[70:90, 20:50] = 200
    hands = open_panel(image)
    hands.click((50, 35))
    hands.settle()
    hands.click((80, 35))
    hands.settle()
    assert hands.preview.sum() == 1200
    hands.key(Qt.Key.Key_T)
    assert hands.widget.negative.isChecked()
    hands.click((80, 30))
    hands.settle()
    assert hands.preview.sum() == 600
    assert list(hands.points.features["label"]) == ["positive", "positive", "negative"]
    assert str(hands.points.symbol[2]) != str(hands.points.symbol[0])
    hands.press("undo")
    hands.press("positive")
    hands.click((80, 40), modifier=CONTROL)
    hands.settle()
    assert list(hands.points.features["label"]) == ["positive", "positive", "negative"]
    assert hands.preview.sum() == 600
    hands.click((80, 45))
    assert hands.points.features["label"].iloc[3] == "positive"
    hands.settle()


def test_toggling_a_selected_point_decodes_again(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.click(SECOND)
    hands.settle()
    assert hands.preview[SECOND]
    hands.key(Qt.Key.Key_3)  # napari's tool that selects
    hands.qtbot.wait(30)
    hands.click(SECOND)
    assert set(hands.points.selected_data) == {1}
    hands.key(Qt.Key.Key_T)
    hands.settle()
    assert not hands.preview[SECOND]
    assert hands.preview[FIRST]


def test_moving_and_deleting_a_point_decodes_again(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_3)  # napari's tool that selects
    hands.qtbot.wait(30)
    hands.drag(FIRST, THIRD)
    hands.settle()
    assert hands.preview[THIRD]
    assert not hands.preview[FIRST]
    hands.click(THIRD)
    hands.key(Qt.Key.Key_Delete)
    hands.settle()
    assert not hands.preview.any()
    assert "click on an object" in hands.status


def test_box_by_dragging(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    hands.press("box")
    hands.drag((18, 78), (42, 102))
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    hands.drag((78, 48), (102, 72))
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 3)
    hands.press("undo")
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)


def test_undo_takes_back_prompts_and_commits(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    assert not hands.widget.undo.isEnabled()
    hands.click(FIRST)
    hands.settle()
    hands.press("commit")
    hands.settle()
    assert hands.objects.data.any()
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.objects.data.any()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.preview.any()
    assert len(hands.points.data) == 0


def test_clear_by_key(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.click(SECOND)
    hands.settle()
    hands.key(Qt.Key.Key_C, SHIFT)
    hands.settle()
    assert len(hands.points.data) == 0
    assert not hands.preview.any()
    assert hands.objects is None


def test_napari_undo_takes_back_a_commit(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.press("commit")
    hands.objects.undo()
    assert not hands.objects.data.any()


def test_everything_keeps_committed_objects(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    hands.click(SECOND)
    hands.settle()
    hands.press("commit")
    hands.settle()
    hands.everything()
    found = hands.objects.data
    np.testing.assert_array_equal(found > 0, labels > 0)
    assert (found[labels == 2] == 1).all()
    assert set(np.unique(found)) == {0, 1, 2, 3}
    assert "2 objects, ids 2 to 3" in hands.status
    hands.press("undo")
    np.testing.assert_array_equal(hands.objects.data, labels == 2)


def test_everything_with_the_grid_and_own_options(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    controls = hands.widget.options.controls
    hands.pick("proposals", "grid")
    hands.unfold("everything_options")
    hands.type_in(controls["points_per_side"], "16")
    hands.type_in(controls["min_area_px"], "1000")
    hands.everything()
    assert hands.objects is None
    assert "found no object" in hands.status
    hands.type_in(controls["min_area_px"], "0")
    hands.everything()
    np.testing.assert_array_equal(hands.objects.data > 0, labels > 0)


def test_embedding_never_blocks_the_window_and_can_be_cancelled(
    predictor, open_panel, cells
) -> None:
    hands = open_panel(cells[0])
    predictor.gate.clear()
    hands.press("embed")
    hands.until(predictor.waiting.is_set)
    # The encoder stands still; the window does not.
    hands.until(hands.widget.progress.isVisible)
    assert not hands.widget.embed.isEnabled()
    assert "running" in hands.widget.embed.toolTip()
    hands.press("cancel")
    assert "Cancelled" in hands.status
    assert not hands.widget.cancel.isEnabled()
    predictor.gate.set()
    hands.settle()
    assert "Cancelled" in hands.status
    assert hands.widget.embed.isEnabled()


def test_cancelled_prompt_is_answered_after_embedding(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    hands.press("cancel")
    predictor.gate.set()
    hands.settle()
    assert not hands.preview.any()
    hands.press("embed")
    hands.settle()
    assert hands.preview[FIRST]


def test_latest_prompt_wins(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    for _ in range(3):
        hands.qtbot.wait(20)
        hands.press("undo")
        hands.click(SECOND)
    predictor.gate.set()
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    # The first request went on to its embedding; of those that waited only the newest was decoded.
    assert predictor.encoded == 1
    assert len(predictor.decoded) == 2


def test_scaled_and_shifted_layer(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image, scale=(0.5, 2.0), translate=(100, -40))
    hands.click(THIRD)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 3)
    np.testing.assert_allclose(hands.points.data[0], THIRD, atol=0.6)
    preview = hands.widget.controller.preview
    np.testing.assert_allclose(preview.scale, (0.5, 2.0))
    np.testing.assert_allclose(preview.translate, (100, -40))
    hands.press("commit")
    np.testing.assert_allclose(hands.objects.translate, (100, -40))
    hands.image.scale = (1.0, 1.0)
    np.testing.assert_allclose(preview.scale, (1.0, 1.0))


def test_planes_of_a_stack(predictor, open_panel, cells) -> None:
    image, labels = cells
    stack = np.stack([np.roll(image, 4 * z, axis=1) for z in range(6)])
    hands = open_panel(stack, scale=(2.0, 1.0, 1.0))
    hands.viewer.dims.set_current_step(0, 2)
    hands.qtbot.wait(50)
    centre = (FIRST[0], FIRST[1] + 8)
    hands.click(centre)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, np.roll(labels, 8, axis=1) == 1)
    # Prompts and preview belong to their plane …
    hands.viewer.dims.set_current_step(0, 3)
    hands.settle()
    assert not hands.preview.any()
    assert not hands.widget.commit.isEnabled()
    # … and come back with it.
    hands.viewer.dims.set_current_step(0, 2)
    hands.settle()
    hands.press("commit")
    hands.viewer.dims.set_current_step(0, 4)
    hands.settle()
    hands.everything()
    objects = hands.objects.data
    assert objects.shape == stack.shape
    assert sorted(np.unique(np.nonzero(objects)[0])) == [2, 4]
    np.testing.assert_array_equal(objects[2], np.roll(labels, 8, axis=1) == 1)
    assert sorted(np.unique(objects[4])) == [0, 2, 3, 4]


def test_embedding_all_planes(predictor, open_panel, cells) -> None:
    stack = np.stack([np.roll(cells[0], z, axis=0) for z in range(5)])
    hands = open_panel(stack)
    hands.tick("all_planes")
    hands.press("embed")
    hands.settle()
    assert predictor.encoded == 5
    assert "5 plane(s) embedded" in hands.status
    hands.click(FIRST)
    hands.settle()
    assert predictor.encoded == 5


def test_rgb_and_one_of_its_colours(predictor, open_panel, cells) -> None:
    image, labels = cells
    colour = np.zeros((*image.shape, 3), np.uint8)
    colour[..., 1] = image
    hands = open_panel(colour, rgb=True)
    assert hands.widget.channel.isEnabled()
    hands.pick("channel", hands.widget.channel.itemData(2))
    hands.settle()
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)


def test_image_is_exchanged_while_it_is_embedded(predictor, open_panel, cells) -> None:
    image, _labels = cells
    hands = open_panel(image)
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    old = hands.image
    other = hands.viewer.add_image(np.rot90(image).copy(), name="other")
    assert hands.image is old, "a new image does not take the panel away from the chosen one"
    hands.viewer.layers.remove(old)
    predictor.gate.set()
    hands.settle()
    assert hands.image is other
    assert hands.widget.image.currentText() == "other"
    assert not hands.preview.any()
    hands.click((90, 30))
    hands.settle()
    assert hands.preview[90, 30]


def test_model_is_changed_while_it_works(predictor, open_panel, cells, present) -> None:
    present("mobile_sam")
    hands = open_panel(cells[0])
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    hands.choose_model("mobile_sam")
    hands.until(lambda: hands.in_use == "mobile_sam")
    predictor.gate.set()
    hands.settle()
    assert hands.preview[FIRST], "the prompt is answered by the new model"
    assert hands.widget.proposals.currentData() == "grid"


@pytest.mark.parametrize("which", ["points", "boxes"])
def test_removed_prompt_layer_comes_back_with_its_tool(predictor, open_panel, cells, which) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.viewer.layers.remove(getattr(hands.widget.controller.prompts, which))
    hands.settle()
    assert not hands.preview.any()
    assert len(hands.viewer.layers) == 1, "its partner and the preview go with it"
    assert "removed" in hands.status
    hands.press("positive")
    hands.settle()
    hands.click(SECOND)
    hands.settle()
    assert hands.preview[SECOND]


def test_removed_preview_and_objects_come_back(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.viewer.layers.remove(hands.widget.controller.preview)
    hands.click(SECOND)
    hands.settle()
    assert hands.preview[SECOND]
    hands.press("commit")
    hands.settle()
    hands.viewer.layers.remove(hands.objects)
    hands.settle()
    assert hands.objects is None
    hands.click(FIRST)
    hands.settle()
    hands.press("commit")
    assert hands.objects.data.max() == 1


def test_renamed_layers_are_still_ours(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    for layer in hands.viewer.layers:
        layer.name = f"renamed {layer.name}"
    hands.click(FIRST)
    hands.settle()
    assert hands.preview[FIRST]
    assert hands.widget.image.currentText() == "renamed cells"


def test_keys_belong_to_the_prompt_layers_only(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.viewer.layers.selection.active = hands.image
    assert not hands.widget.positive.isChecked()
    hands.key(Qt.Key.Key_C)
    hands.key(Qt.Key.Key_T)
    hands.settle()
    assert hands.objects is None
    assert hands.widget.state.settings.sign == PointLabel.FOREGROUND


def test_two_viewers_in_one_process(predictor, open_panel, cells) -> None:
    image, labels = cells
    first, second = open_panel(image), open_panel(np.rot90(image).copy())
    first.click(FIRST)
    second.press("negative")
    first.settle()
    second.settle()
    assert first.widget.positive.isChecked()
    assert not first.widget.negative.isChecked()
    np.testing.assert_array_equal(first.preview, labels == 1)
    assert not second.preview.any()
    second.everything()
    assert first.objects is None
    np.testing.assert_array_equal(second.objects.data > 0, np.rot90(labels) > 0)


def test_closing_the_window_during_work(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    predictor.gate.clear()
    hands.press("everything")
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    controller = hands.widget.controller
    hands.viewer.close()
    assert controller._closed
    predictor.gate.set()
    hands.qtbot.wait(200)
    assert predictor.decoded == []


def test_closing_the_panel_tidies_up(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.press("commit")
    hands.click(SECOND)
    hands.settle()
    objects = hands.objects
    hands.viewer.window.remove_dock_widget(hands.widget)
    assert [layer.name for layer in hands.viewer.layers] == ["cells", objects.name]
    _, again = hands.viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    hands.widget = again
    hands.qtbot.wait(50)
    hands.pick("target", objects.name)
    hands.click(SECOND)
    hands.settle()
    hands.press("commit")
    assert hands.objects is objects
    assert objects.data.max() == 2


def test_missing_weights_are_told(open_panel, cells, tmp_path, qtbot) -> None:
    """The real engine: a file that is not there is a sentence in the panel and a notification."""
    from napari.utils.notifications import notification_manager

    hands = open_panel(cells[0])
    hands.widget.state.update(weights=str(tmp_path / "nowhere.safetensors"))
    before = len(notification_manager.records)
    hands.click(FIRST)
    hands.settle()
    assert "nowhere.safetensors" in hands.status
    assert not hands.widget.commit.isEnabled()
    told = [record.message for record in notification_manager.records[before:]]
    assert any("nowhere.safetensors" in message for message in told)


def test_a_bug_surfaces_and_the_panel_stays_usable(
    predictor, open_panel, cells, monkeypatch, qtbot
) -> None:
    hands = open_panel(cells[0])

    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(predictor, "decode", broken)
        with qtbot.captureExceptions() as raised:
            hands.click(FIRST)
            hands.settle()
    assert [kind for kind, *_ in raised] == [ZeroDivisionError]
    assert "ZeroDivisionError" in hands.status
    assert not hands.widget.progress.isVisible()
    hands.click((32, 32))
    hands.settle()
    assert hands.preview[FIRST]


def test_nan_image_is_an_error_in_words(open_panel, predictor) -> None:
    hands = open_panel(np.full((64, 64), np.nan, np.float32), contrast_limits=(0, 1))
    hands.click((30, 30))
    hands.settle()
    assert hands.widget.state.status.level.value in ("error", "warning")
    assert hands.status


def test_point_outside_the_image_is_explained(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click((-3, 30))
    hands.settle()
    assert "outside the image" in hands.status


def test_three_dimensional_view_is_explained(predictor, open_panel, cells) -> None:
    hands = open_panel(np.stack([cells[0]] * 5))
    hands.viewer.dims.ndisplay = 3
    hands.settle()
    assert "2-D" in hands.status
    assert not hands.widget.everything.isEnabled()
    hands.viewer.dims.ndisplay = 2
    hands.settle()
    assert hands.widget.everything.isEnabled()


def test_panel_fits_300_pixels(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.image.name = "a very long name of an image layer, as file names of microscopes are"
    assert hands.widget.minimumSizeHint().width() <= 300


def test_points_keep_their_size_on_the_screen(open_panel, predictor, cells) -> None:
    """Seen from afar, and no lid on the object from near."""
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    points = hands.points
    points.selected_data = set()  # its outline is blue
    colour = points.face_color[0][:3] * 255
    for zoom in (0.5, 3, 40):
        hands.viewer.scene.camera.center = (0, *FIRST)
        hands.viewer.scene.camera.zoom = zoom
        hands.qtbot.wait(100)
        picture = hands.viewer.screenshot(canvas_only=True, flash=False)[..., :3]
        rows, columns = np.nonzero((np.abs(picture - colour) < 60).all(axis=-1))
        assert 2 <= np.ptp(rows) < 30, zoom
        assert 2 <= np.ptp(columns) < 30, zoom
