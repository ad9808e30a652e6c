"""From settings and layers to requests; no window, no model."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from litesam.types import BoxPrompt
from napari_litesam.image_axes import channel_choices
from napari_litesam.prompt_layers import PromptLayers
from napari_litesam.requests import (
    NotReady,
    PlaneRequest,
    Scene,
    SegmentRequest,
    resolve,
    resolve_everything,
    resolve_plane,
    visible_field,
)
from napari_litesam.state import Settings


def plane(settings: Settings, viewer: ViewerModel) -> PlaneRequest:
    request = resolve_plane(settings, Scene(viewer.dims))
    assert isinstance(request, PlaneRequest), request
    return request


@pytest.mark.parametrize(
    ("shape", "rgb", "channel", "axes", "planes"),
    [
        ((20, 30), False, None, "YX", ()),
        ((20, 30, 3), True, None, "YXC", ()),
        ((20, 30, 4), True, 1, "YXC", ()),
        ((5, 20, 30), False, None, "ZYX", (5,)),
        ((3, 20, 30), False, 2, "CYX", ()),
        ((3, 5, 20, 30), False, 1, "CZYX", (5,)),
        ((6, 5, 20, 30), False, None, "TZYX", (6, 5)),
        ((2, 5, 20, 30), False, None, "CZYX", (5,)),
        ((5, 20, 30, 3), True, None, "ZYXC", (5,)),
    ],
)
def test_axes_as_the_engine_names_them(shape, rgb, channel, axes, planes) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), rgb=rgb)
    request = plane(Settings(image=image, channel=channel), viewer)
    assert request.source.axes == axes
    assert request.source.planes == planes
    assert request.source.shape_yx == (20, 30)
    assert len(request.index or ()) == len(planes)


def test_sliders_choose_the_plane_whatever_the_scale() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((5, 6, 20, 30)), scale=(1, 2.5, 1, 1), translate=(0, 10, 0, 0)
    )
    viewer.dims.set_current_step((0, 1), (3, 4))
    assert plane(Settings(image=image), viewer).index == (3, 4)


def test_slider_of_another_layer_beyond_the_image() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 20, 30)))
    viewer.add_image(np.zeros((9, 20, 30)))
    viewer.dims.set_current_step(0, 7)
    request = resolve_plane(Settings(image=image), Scene(viewer.dims))
    assert isinstance(request, NotReady)
    assert "planes 0 to 4" in request.reason


def test_image_with_fewer_axes_than_the_viewer() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((20, 30)))
    viewer.add_image(np.zeros((9, 20, 30)))
    viewer.dims.set_current_step(0, 7)
    assert plane(Settings(image=image), viewer).index is None


def test_resolving_reads_no_pixels_and_multiscale_uses_level_zero() -> None:
    read: list[int] = []

    def tell(block):
        read.append(1)
        return block

    large = da.zeros((6, 64, 64), chunks=(1, 64, 64)).map_blocks(tell, meta=np.zeros((0, 0, 0)))
    viewer = ViewerModel()
    image = viewer.add_image(
        [large, da.zeros((6, 32, 32))], multiscale=True, contrast_limits=(0, 1)
    )
    read.clear()
    request = plane(Settings(image=image), viewer)
    assert request.source.shape_yx == (64, 64)
    assert request.source.data.shape == (6, 64, 64)
    assert not read


@pytest.mark.parametrize("change", [{"ndisplay": 3}, {"order": (1, 0, 2)}])
def test_views_without_a_plane_of_the_last_axes(change) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 20, 30)))
    for name, value in change.items():
        setattr(viewer.dims, name, value)
    assert isinstance(resolve_plane(Settings(image=image), Scene(viewer.dims)), NotReady)


def test_transposed_view_is_the_same_plane() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 20, 30)))
    viewer.dims.order = (0, 2, 1)
    viewer.dims.set_current_step(0, 3)
    assert plane(Settings(image=image), viewer).index == (3,)


def test_no_image_says_how_to_get_one() -> None:
    for ask in (resolve, resolve_plane, resolve_everything):
        answer = ask(Settings(), Scene(ViewerModel().dims))
        assert isinstance(answer, NotReady)
        assert "Open Sample" in answer.reason


def test_box_is_cut_to_the_image_and_points_outside_are_refused() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((20, 30)))
    prompts = PromptLayers(image)
    scene = Scene(viewer.dims, prompts)
    corners = np.array([(-5, -5), (-5, 9.5), (7.5, 9.5), (7.5, -5)])
    prompts.boxes.add_rectangles(corners)
    request = resolve(Settings(image=image), scene)
    assert isinstance(request, SegmentRequest)
    assert request.prompts.box == BoxPrompt(0, 0, 8, 10)
    prompts.points.add([25, 3])
    refused = resolve(Settings(image=image), scene)
    assert isinstance(refused, NotReady)
    assert "outside" in refused.reason


def test_equal_questions_have_equal_keys() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 20, 30)))
    prompts = PromptLayers(image)
    scene = Scene(viewer.dims, prompts)
    viewer.dims.set_current_step(0, 2)
    prompts.points.add([2, 3, 3])
    first, again = resolve(Settings(image=image), scene), resolve(Settings(image=image), scene)
    other = resolve(Settings(image=image, model="mobile_sam"), scene)
    assert isinstance(first, SegmentRequest)
    assert isinstance(again, SegmentRequest)
    assert isinstance(other, SegmentRequest)
    assert first.key == again.key != other.key


def test_channel_choices() -> None:
    viewer = ViewerModel()
    assert len(channel_choices(None)) == 1
    assert len(channel_choices(viewer.add_image(np.zeros((20, 30))))) == 1
    assert len(channel_choices(viewer.add_image(np.zeros((9, 20, 30))))) == 1
    colour = viewer.add_image(np.zeros((20, 30, 3), np.uint8), rgb=True)
    assert [channel for _, channel in channel_choices(colour)] == [None, 0, 1, 2]
    few = viewer.add_image(np.zeros((2, 20, 30)))
    assert [channel for _, channel in channel_choices(few)] == [None, 0, 1]


def test_visible_field_of_a_pyramid_is_in_pixels_of_level_0() -> None:
    image = Image([np.zeros((64, 96)), np.zeros((16, 24))], multiscale=True)
    image.data_level = 1
    image.corner_pixels = np.array([[2, 3], [5, 9]])
    assert visible_field(image) == BoxPrompt(8.0, 12.0, 24.0, 40.0)
