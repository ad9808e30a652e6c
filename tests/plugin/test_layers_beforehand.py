"""The layers of the panel are there before they are needed, and go over to other images."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES, discs
from litesam.types import PointLabel
from napari_litesam import label_layer
from napari_litesam.label_axes import array_of
from napari_litesam.viewer_layers import ViewerLayers

if TYPE_CHECKING:
    import pytest

FIRST, SECOND, THIRD = CENTRES


def alike(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two masks agree but for the rounding of the model's low resolution."""
    return bool((found & wanted).sum() > 0.9 * (found | wanted).sum())


def watch(hands) -> list[str]:
    """Names of layers that are added from now on."""
    added: list[str] = []
    hands.viewer.layers.events.inserted.connect(lambda event: added.append(event.value.name))
    return added


def test_neither_a_click_nor_everything_adds_a_layer(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    layers = hands.widget.controller._layers
    assert not layers.candidates.visible
    assert not np.asarray(layers.candidates.data).any()
    assert not hands.preview.any()
    assert list(hands.viewer.layers)[1:] == [
        layers.candidates,
        layers.preview,
        layers.prompts.boxes,
        layers.prompts.points,
    ]
    added = watch(hands)
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, cells[1] == cells[1][FIRST])
    hands.press("everything")
    hands.settle()
    assert layers.candidates.visible
    assert np.asarray(layers.candidates.data).any()
    assert added == []


def test_layers_go_over_to_an_image_of_another_size_and_place(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.press("everything")
    hands.settle()
    layers = hands.widget.controller._layers
    mine = [layers.preview, layers.candidates]
    larger, truth = discs((160, 200), [(100, 150), (40, 60)])
    other = hands.viewer.add_image(larger, name="other", scale=(0.5, 0.5), translate=(3, 7))
    added = watch(hands)
    hands.pick("image", other)
    hands.settle()
    hands.viewer.reset_view()
    hands.qtbot.wait(50)
    assert [layers.preview, layers.candidates] == mine
    assert not layers.candidates.visible
    assert not hands.preview.any()
    hands.click((100, 150))
    hands.settle()
    assert alike(hands.preview, truth == truth[100, 150])
    assert np.asarray(layers.preview.data).shape == (160, 200)
    for layer in mine:
        np.testing.assert_allclose(layer.scale, (0.5, 0.5))
        np.testing.assert_allclose(layer.translate, (3, 7))
        assert hands.viewer.layers.index(layer) > hands.viewer.layers.index(other)
    hands.press("everything")
    hands.settle()
    assert layers.candidates.visible
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.max() == 2
    assert added == [hands.objects.name]


def test_everything_after_the_image_got_another_array(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("everything")
    hands.settle()
    larger, truth = discs((160, 200), [(100, 150), (40, 60)])
    hands.image.data = larger
    hands.settle()
    hands.press("everything")
    hands.settle()
    shown = np.asarray(hands.widget.controller._layers.candidates.data)
    assert alike(shown > 0, truth > 0)


def test_pyramids_need_layers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_layer, "LARGE_FROM_PX", 1000)
    monkeypatch.setattr(label_layer, "_COARSEST_PX", 30)
    viewer = ViewerModel()
    images = [
        Image(np.zeros(shape)) for shape in ((20, 30), (60, 80), (60, 80), (80, 90), (30, 20))
    ]
    viewer.layers.extend(images)
    layers, seen = ViewerLayers(viewer), []
    for image in images:
        assert layers.tend(image, PointLabel.FOREGROUND) == "new"
        assert layers.preview is not None
        assert layers.candidates is not None
        large = image.data.size > 1000
        for layer in (layers.preview, layers.candidates):
            assert array_of(layer).shape == image.data.shape
            assert layer.multiscale == large
        mask = np.zeros(image.data.shape, bool)
        mask[2:5, 3:9] = True
        layers.show_preview(image, mask)
        layers.show_candidates(image, mask.astype(np.uint8))
        np.testing.assert_array_equal(array_of(layers.preview) > 0, mask)
        np.testing.assert_array_equal(array_of(layers.candidates) > 0, mask)
        seen.append(layers.candidates)
    same = [a is b for a, b in pairwise(seen)]
    assert same == [False, True, False, False]
    assert len(viewer.layers) == len(images) + 4
    layers.close(tidy=True)
    assert list(viewer.layers) == images
