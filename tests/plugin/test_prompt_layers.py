"""Prompt layers without a window: positions, signs, planes and snapshots."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from litesam.types import BoxPrompt, PointLabel, PointPrompt
from napari_litesam.prompt_layers import PromptLayers, PromptSnapshot, placement

POSITIVE, NEGATIVE = PointLabel.FOREGROUND, PointLabel.BACKGROUND


def rectangle(y0: float, x0: float, y1: float, x1: float, *lead: float) -> np.ndarray:
    return np.array([(*lead, y, x) for y, x in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))])


def test_points_and_signs_become_prompts() -> None:
    image = Image(np.zeros((20, 30)))
    layers = PromptLayers(image)
    layers.points.add([3, 4])
    layers.set_sign(NEGATIVE)
    layers.points.add([5, 6])
    prompts = layers.on_plane(image, {})
    assert prompts is not None
    assert prompts.points == (PointPrompt(3, 4, POSITIVE), PointPrompt(5, 6, NEGATIVE))
    assert prompts.box is None


def test_no_prompts() -> None:
    image = Image(np.zeros((20, 30)))
    assert PromptLayers(image).on_plane(image, {}) is None


def test_rectangle_over_whole_pixels_becomes_their_half_open_box() -> None:
    image = Image(np.zeros((20, 30)))
    layers = PromptLayers(image)
    layers.boxes.add_rectangles(rectangle(1.5, 2.5, 5.5, 9.5))  # edges of pixels 2…5 and 3…9
    prompts = layers.on_plane(image, {})
    assert prompts is not None
    assert prompts.box == BoxPrompt(2, 3, 6, 10)


def test_newest_box_counts_and_a_slip_of_the_mouse_does_not() -> None:
    image = Image(np.zeros((20, 30)))
    layers = PromptLayers(image)
    layers.boxes.add_rectangles(rectangle(0, 0, 5, 5))
    layers.boxes.add_rectangles(rectangle(4, 4, 10, 12))
    layers.boxes.add_rectangles(rectangle(7, 7, 7.3, 7.2))
    prompts = layers.on_plane(image, {})
    assert prompts is not None
    assert prompts.box == BoxPrompt(4.5, 4.5, 10.5, 12.5)


@pytest.mark.parametrize(
    "transform",
    [
        {"scale": (0.5, 2.0), "translate": (100, -40)},
        {"rotate": 30, "scale": (3, 3)},
        {"affine": [[1, 0.2, 5], [0, 2, -3], [0, 0, 1]]},
        {"shear": [0.3]},
    ],
)
def test_layers_lie_on_the_image(transform: dict) -> None:
    image = Image(np.zeros((20, 30)), **transform)
    layers = PromptLayers(image)
    world = image.data_to_world((7, 11))
    layers.points.add(layers.points.world_to_data(world))
    np.testing.assert_allclose(layers.points.data[0], (7, 11), atol=1e-9)
    prompts = layers.on_plane(image, {})
    assert prompts is not None
    assert (prompts.points[0].y, prompts.points[0].x) == pytest.approx((7, 11))


def test_prompts_stay_in_the_world_when_the_image_moves() -> None:
    image = Image(np.zeros((20, 30)))
    layers = PromptLayers(image)
    layers.points.add([8, 10])
    image.translate = (2, 4)
    image.scale = (2, 2)
    prompts = layers.on_plane(image, {})
    assert prompts is not None
    assert (prompts.points[0].y, prompts.points[0].x) == pytest.approx((3, 3))


def test_only_prompts_of_the_plane_count() -> None:
    image = Image(np.zeros((5, 20, 30)), scale=(2, 1, 1))
    layers = PromptLayers(image)
    layers.points.add([1, 3, 3])
    layers.points.add([3, 4, 4])
    layers.boxes.add_rectangles(rectangle(2, 2, 9, 9, 3))
    first, third = layers.on_plane(image, {0: 1}), layers.on_plane(image, {0: 3})
    assert first is not None
    assert third is not None
    assert first.box is None
    assert first.points == (PointPrompt(3, 3),)
    assert third.box == BoxPrompt(2.5, 2.5, 9.5, 9.5)
    assert layers.on_plane(image, {0: 2}) is None
    assert layers.without_plane(image, {0: 3}).points == ((1, 3, 3),)


def test_placement_of_a_plane_takes_the_last_two_axes() -> None:
    image = Image(np.zeros((5, 20, 30)), scale=(3, 0.5, 2), translate=(7, 8, 9))
    place = placement(image, 2)
    np.testing.assert_allclose(place["scale"], (0.5, 2))
    np.testing.assert_allclose(place["translate"], (8, 9))
    assert place["affine"].shape == (3, 3)


def test_changes_are_told_once_they_are_finished() -> None:
    layers = PromptLayers(Image(np.zeros((20, 30))))
    told: list[int] = []
    layers.changed.connect(lambda: told.append(1))
    layers.points.add([1, 2])
    assert len(told) == 1
    layers.points.selected_data = {0}
    layers.points.remove_selected()
    assert len(told) == 2
    layers.boxes.add_rectangles(rectangle(0, 0, 5, 5))
    assert len(told) == 3


def test_toggle_only_what_is_selected_in_select_mode() -> None:
    layers = PromptLayers(Image(np.zeros((20, 30))))
    layers.points.add([[1, 2], [3, 4]])
    layers.points.mode = "add"
    layers.points.selected_data = {1}
    assert not layers.toggle_selected()
    layers.points.mode = "select"
    layers.points.selected_data = {1}
    assert layers.toggle_selected()
    assert layers.signs() == (POSITIVE, NEGATIVE)
    assert not np.allclose(layers.points.face_color[0], layers.points.face_color[1])


def test_next_sign_leaves_selected_points_alone() -> None:
    layers = PromptLayers(Image(np.zeros((20, 30))))
    layers.points.add([1, 2])
    layers.points.selected_data = {0}
    layers.set_sign(NEGATIVE)
    assert layers.signs() == (POSITIVE,)
    layers.points.add([3, 4])
    assert layers.signs() == (POSITIVE, NEGATIVE)


def test_sign_edited_in_the_features_table_counts() -> None:
    layers = PromptLayers(Image(np.zeros((20, 30))))
    layers.points.add([[1, 2], [3, 4]])
    told: list[int] = []
    layers.changed.connect(lambda: told.append(1))
    layers.points.features = {"label": ["positive", "negative"]}
    assert layers.signs() == (POSITIVE, NEGATIVE)
    assert told


def test_snapshot_and_restore() -> None:
    layers = PromptLayers(Image(np.zeros((20, 30))))
    layers.points.add([1, 2])
    layers.set_sign(NEGATIVE)
    layers.points.add([3, 4])
    layers.boxes.add_rectangles(rectangle(0, 0, 5, 5))
    taken = layers.snapshot()
    layers.clear()
    assert layers.snapshot() == PromptSnapshot()
    layers.restore(taken)
    assert layers.snapshot() == taken
    assert layers.signs() == (POSITIVE, NEGATIVE)


def test_moving_to_another_image_of_other_placement() -> None:
    first = Image(np.zeros((20, 30)), scale=(2, 2))
    second = Image(np.zeros((200, 300)), translate=(5, 5))
    layers = PromptLayers(first)
    layers.points.add([1, 2])
    layers.move_to(second)
    assert layers.snapshot().empty
    layers.points.add(layers.points.world_to_data((15, 25)))
    prompts = layers.on_plane(second, {})
    assert prompts is not None
    assert (prompts.points[0].y, prompts.points[0].x) == pytest.approx((10, 20))


def test_layers_work_in_a_viewer_model() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((4, 20, 30)))
    layers = PromptLayers(image)
    viewer.layers.append(layers.boxes)
    viewer.layers.append(layers.points)
    viewer.dims.set_current_step(0, 2)
    layers.points.add([2, 5, 5])
    assert layers.on_plane(image, {0: 2}) is not None
