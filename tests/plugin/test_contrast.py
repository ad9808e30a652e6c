"""What the encoder sees is what the user chose: percentiles, or the layer as it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from engine.threshold_predictor import CENTRES
from litesam.types import NormalizeConfig
from napari_litesam.contrast import STRONG, normalize_for
from napari_litesam.state import Contrast, Look

FIRST, SECOND, _ = CENTRES


def choose_contrast(hands: Any, contrast: Contrast) -> None:
    hands.pick("contrast", contrast)
    hands.settle()


def wait_for_contrast(hands: Any) -> None:
    hands.until(lambda: hands.widget.controller._contrast.idle)
    hands.settle()


@pytest.fixture
def dim_and_bright(cells) -> tuple[np.ndarray, np.ndarray]:
    """One bright disc; the others so dim that percentiles hide them."""
    _, labels = cells
    image = np.full(labels.shape, 100, np.uint16)
    image[labels == 1] = 400
    image[labels == 2] = 4000
    return image, labels


def test_the_encoder_sees_what_the_user_sees(predictor, open_panel, dim_and_bright) -> None:
    image, labels = dim_and_bright
    hands = open_panel(image, contrast_limits=(100, 500))
    hands.click(FIRST)
    hands.settle()
    assert not hands.preview.any(), "too dim between the percentiles"
    choose_contrast(hands, Contrast.LAYER)
    np.testing.assert_array_equal(hands.preview, labels == 1)
    assert predictor.encoded == 2
    # A change in the layer controls counts, once it rests.
    hands.image.contrast_limits = (100, 4000)
    hands.image.contrast_limits = (100, 4500)
    hands.settle()
    assert hands.preview.any(), "not yet"
    wait_for_contrast(hands)
    assert not hands.preview.any()
    assert predictor.encoded == 3, "once for the last of two changes"
    # Gamma makes dim parts brighter.
    hands.image.gamma = 0.2
    wait_for_contrast(hands)
    np.testing.assert_array_equal(hands.preview, labels == 1)
    # What was embedded before is known.
    hands.image.gamma = 1.0
    hands.image.contrast_limits = (100, 500)
    wait_for_contrast(hands)
    np.testing.assert_array_equal(hands.preview, labels == 1)
    assert predictor.encoded == 4


def test_contrast_limits_do_nothing_without_that_choice(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    assert predictor.encoded == 1
    hands.image.contrast_limits = (0, 3)
    hands.image.gamma = 0.3
    hands.qtbot.wait(700)
    hands.settle()
    assert predictor.encoded == 1
    assert len(predictor.decoded) == 1
    assert hands.preview[FIRST]


def test_the_layers_limits_are_those_of_the_image_that_is_chosen(
    predictor, open_panel, cells
) -> None:
    image, labels = cells
    hands = open_panel(image, contrast_limits=(0, 255))
    choose_contrast(hands, Contrast.LAYER)
    assert hands.widget.state.settings.look == Look((0.0, 255.0))
    other = hands.viewer.add_image(image // 8, contrast_limits=(0, 30), name="dim")
    hands.pick("image", "dim")
    hands.settle()
    assert hands.widget.state.settings.look == Look((0.0, 30.0))
    hands.press("positive")
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    assert other.name == "dim"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.zeros((4, 5, 3), np.uint8), NormalizeConfig()),
        (np.zeros((4, 5, 3), np.uint16), NormalizeConfig(limits=(0.0, 65535.0))),
        (np.zeros((4, 5, 3), np.float32), NormalizeConfig(limits=(0.0, 1.0))),
    ],
)
def test_colours_have_no_limits_in_napari(data, expected) -> None:
    assert normalize_for(Image(data, rgb=True), Contrast.LAYER) == expected


def test_choices() -> None:
    image = Image(np.zeros((4, 5), np.uint8), contrast_limits=(3, 90), gamma=0.5)
    assert normalize_for(image, Contrast.AUTO) == NormalizeConfig()
    assert normalize_for(image, Contrast.STRONG) == STRONG
    shown = NormalizeConfig(limits=(3.0, 90.0), gamma=0.5)
    assert normalize_for(image, Contrast.LAYER) == shown
    earlier = NormalizeConfig(limits=(1.0, 2.0))
    assert normalize_for(image, Contrast.LAYER, Look((1.0, 2.0))) == earlier
