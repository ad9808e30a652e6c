"""Images as they come: axes, types, transforms, pyramids and lazy arrays, in a real window."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtGui import QOpenGLContext

from engine.threshold_predictor import CENTRES, discs
from napari_litesam.image_axes import axes_letters
from napari_litesam.label_axes import array_of

FIRST, SECOND, THIRD = CENTRES


def choose(hands: Any, name: str, data: Any) -> None:
    """Choose an entry of a chooser with the mouse."""
    hands.pick(name, data)
    hands.settle()


def name_axis(hands: Any, axis: int, letter: str) -> None:
    """Call an axis by a letter, in the panel."""
    hands.pick(hands.widget.axes.choosers[axis], letter)
    hands.settle()


def letters(hands: Any) -> str:
    """What the line of axes says in front of the plane."""
    return "".join(chooser.currentData() for chooser in hands.widget.axes.choosers)


def test_pixel_types_and_colours(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(None)
    images = {
        str(np.dtype(dtype)): image.astype(dtype)
        for dtype in (np.uint8, np.uint16, np.int16, np.float32, np.float64)
    }
    images["float32"][0, 0] = np.nan
    images["bool"] = labels > 0
    for channels in (3, 4):
        colour = np.repeat(image[..., None], channels, axis=2)
        colour[..., 3:] = 255
        images[f"{channels} colours"] = colour
        images[f"{channels} colours, float"] = colour.astype(np.float32) / 255
    for name, data in images.items():
        hands.viewer.add_image(data, name=name, rgb=data.ndim == 3)
        choose(hands, "image", hands.viewer.layers[name])
        assert letters(hands) == ""
        hands.press("positive")
        hands.click(FIRST)
        hands.settle()
        np.testing.assert_array_equal(hands.preview, labels == 1, err_msg=name)
        hands.key(Qt.Key.Key_C)
        hands.settle()
        assert hands.objects.data.shape == image.shape, name


AXES = [
    ((6,), {}, "Z"),
    ((6,), {"axis_labels": ("t", "y", "x")}, "T"),
    ((6,), {"units": ("s", "um", "um")}, "T"),
    ((1,), {}, "Z"),
    ((3,), {}, "C"),
    ((3,), {"scale": (2.0, 1.0, 1.0)}, "Z"),
    ((3,), {"axis_labels": ("time", "y", "x")}, "T"),
    ((5, 6), {}, "TZ"),
    ((6, 2), {}, "ZC"),
    ((2, 6), {}, "CZ"),
    ((6, 2), {"axis_labels": ("scene", "c", "y", "x")}, "PC"),
    ((5, 6, 2), {}, "TZC"),
    ((5, 2, 6), {"axis_labels": ("t", "channel", "z", "y", "x")}, "TCZ"),
    ((7, 5, 2, 6), {}, "PTCZ"),
]


@pytest.mark.parametrize(("shape", "options", "axes"), AXES)
def test_axes_are_guessed(shape, options, axes) -> None:
    layer = Image(np.zeros((*shape, 8, 8), np.uint8), **options)
    assert axes_letters(layer) == axes + "YX"


@pytest.mark.parametrize(
    ("shape", "options", "axes", "objects"),
    [
        ((6,), {"axis_labels": ("t", "y", "x")}, "T", (6,)),
        ((3,), {}, "C", ()),
        ((5, 6), {}, "TZ", (5, 6)),
        ((5, 6, 2), {}, "TZC", (5, 6)),
    ],
)
def test_objects_have_the_axes_of_the_image_without_channels(
    predictor, open_panel, cells, shape, options, axes, objects
) -> None:
    image, labels = cells
    hands = open_panel(np.broadcast_to(image, (*shape, *image.shape)).copy(), **options)
    assert letters(hands) == axes
    assert hands.widget.channel.isEnabled() == ("C" in axes)
    at = tuple(n - 1 for n in shape)
    hands.viewer.dims.set_current_step(tuple(range(len(shape))), at)
    hands.settle()
    hands.click(THIRD)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 3)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    data = np.asarray(array_of(hands.objects))
    assert data.shape == (*objects, *image.shape)
    np.testing.assert_array_equal(hands.objects._slice.image.raw > 0, labels == 3)
    plane = data[tuple(n - 1 for n in objects)]
    np.testing.assert_array_equal(plane > 0, labels == 3)
    assert np.count_nonzero(data) == np.count_nonzero(plane)


def test_a_wrong_guess_is_mended_in_the_panel(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(np.stack([np.roll(image, 9 * z, axis=1) for z in range(3)]))
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    assert letters(hands) == "C"
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    first = hands.objects
    assert first.data.ndim == 2
    name_axis(hands, 0, "Z")
    assert hands.image.axis_labels == ("z", "y", "x"), "napari shows it beside its slider"
    assert letters(hands) == "Z"
    assert not hands.widget.channel.isEnabled()
    assert hands.objects is None, "a layer without slices cannot take objects of slices"
    hands.viewer.dims.set_current_step(0, 2)
    hands.settle()
    hands.click((FIRST[0], FIRST[1] + 18))
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.shape == (3, *image.shape)
    np.testing.assert_array_equal(hands.objects.data[2], np.roll(labels, 18, axis=1) == 1)
    # Two axes change places.
    name_axis(hands, 0, "C")
    assert letters(hands) == "C"


def test_the_channel_shown_and_one_that_stays(predictor, open_panel, cells) -> None:
    image, labels = cells
    one, other = image.copy(), image.copy()
    one[labels == 2], other[labels == 1] = 20, 20
    hands = open_panel(np.stack([one, other]))
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    # The other channel shows nothing there; the prompt stays in sight.
    hands.viewer.dims.set_current_step(0, 1)
    hands.settle()
    assert not hands.preview.any()
    assert hands.points.data[0, 0] == 1
    choose(hands, "channel", 0)
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.press("undo")
    hands.settle()
    choose(hands, "channel", None)
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)


TRANSFORMS = [
    {"scale": (0.25, 3.0)},
    {"translate": (500.0, -20.5)},
    {"rotate": 75.0, "scale": (2.0, 1.0), "translate": (7.0, 7.0)},
    {"affine": np.array([[0.9, 0.3, 5.0], [-0.2, 1.1, 8.0], [0, 0, 1]])},
]


def test_scaled_shifted_and_rotated_layers(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(None)
    for number, transform in enumerate(TRANSFORMS):
        hands.viewer.add_image(image, name=str(number), **transform)
        added = hands.viewer.layers[str(number)]
        choose(hands, "image", added)
        hands.press("positive")
        if number:
            hands.viewer.layers[str(number - 1)].visible = False
        hands.viewer.reset_view()
        hands.qtbot.wait(100)
        for centre in (FIRST, THIRD):
            hands.click(centre, added)
            hands.settle()
            mask = np.asarray(hands.widget.controller.preview.data) > 0
            np.testing.assert_array_equal(mask, labels == labels[centre], err_msg=str(transform))
            hands.key(Qt.Key.Key_C)
            hands.settle()
        np.testing.assert_array_equal(hands.objects.data > 0, (labels == 1) | (labels == 3))
        np.testing.assert_allclose(
            hands.objects.data_to_world(FIRST), hands.image.data_to_world(FIRST), atol=1e-6
        )


MOVES = [
    {"scale": (2.0, 2.0)},
    {"translate": (40.0, -20.0)},
    {"rotate": np.array([[0.0, -1.0], [1.0, 0.0]])},
    {"affine": np.array([[0.9, 0.3, 5.0], [-0.2, 1.1, 8.0], [0, 0, 1]])},
    {"shear": np.array([0.2])},
    {"units": ("um", "um"), "scale": (0.5, 0.5)},
]


def test_objects_and_prompts_go_with_the_image(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    mine = hands.viewer.add_labels(np.zeros_like(labels), name="mine", translate=(3, 3))
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    hands.click(SECOND)
    hands.settle()
    for move in MOVES:
        for name, value in move.items():
            setattr(hands.image, name, value)
        hands.settle()
        hands.viewer.reset_view()
        for layer in (hands.objects, hands.points, hands.widget.controller.preview):
            for place in (FIRST, SECOND, (0, 0)):
                np.testing.assert_allclose(
                    layer.data_to_world(place),
                    hands.image.data_to_world(place),
                    atol=1e-6,
                    err_msg=f"{layer} {move}",
                )
        assert hands.objects.units == hands.image.units
        np.testing.assert_array_equal(hands.preview, labels == 2, err_msg=str(move))
    np.testing.assert_array_equal(mine.translate, (3, 3))
    # A click lands where the image is, and so does the object.
    hands.key(Qt.Key.Key_C)
    hands.settle()
    hands.qtbot.wait(100)
    hands.click(THIRD)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, labels > 0)
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_E)
    hands.settle()
    assert hands.widget.state.selected == {1}
    (row, *_) = hands.widget.state.objects
    assert row.area == pytest.approx((labels == 1).sum() / 4), "by the new scale"
    # What the user has put elsewhere stays there.
    hands.objects.translate = (500.0, 500.0)
    hands.image.scale = (3.0, 3.0)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.translate, (500.0, 500.0))
    np.testing.assert_array_equal(hands.objects.scale, (0.5, 0.5))


def test_objects_of_an_image_that_is_not_chosen_go_with_it(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    first = hands.image
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    objects = hands.objects
    hands.click(SECOND)
    hands.settle()
    hands.viewer.add_image(cells[0], name="other")
    choose(hands, "image", hands.viewer.layers["other"])
    first.scale = (2.0, 2.0)
    hands.settle()
    np.testing.assert_array_equal(objects.scale, (2.0, 2.0))
    np.testing.assert_array_equal(hands.points.scale, (1.0, 1.0))
    choose(hands, "image", first)
    np.testing.assert_array_equal(hands.points.scale, (2.0, 2.0))
    np.testing.assert_array_equal(hands.preview, cells[1] == 2)


def test_an_anisotropic_stack_that_is_rotated(predictor, open_panel, cells) -> None:
    image, labels = cells
    stack = np.stack([np.roll(image, 3 * z, axis=1) for z in range(6)])
    hands = open_panel(stack, scale=(4.0, 0.5, 0.5), rotate=20.0)
    hands.viewer.dims.set_current_step(0, 2)
    hands.settle()
    hands.click((FIRST[0], FIRST[1] + 6))
    hands.settle()
    np.testing.assert_array_equal(hands.preview, np.roll(labels, 6, axis=1) == 1)


def test_several_objects_in_tiles_of_their_own(predictor, open_panel) -> None:
    places = [(60, 60), (60, 1400)]
    image, labels = discs((128, 1500), places, radius=30)
    hands = open_panel(image)
    hands.tick("each")
    for place in places:
        hands.click(place)
        hands.settle()
    found = [hands.preview[labels == number].mean() for number in (1, 2)]
    assert min(found) > 0.8, hands.status
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert {int(hands.objects.data[place]) for place in places} == {1, 2}


# ------------------------------------------------------------------------- pyramids and lazy arrays


def pyramid(image: np.ndarray) -> list[np.ndarray]:
    return [image, image[::2, ::2], image[::4, ::4]]


def test_a_pyramid_is_encoded_at_level_0_however_it_is_shown(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(pyramid(image), multiscale=True)
    hands.viewer.scene.camera.zoom = 0.3
    hands.qtbot.wait(100)
    factor = hands.image.downsample_factors[hands.image.data_level][0]
    assert factor > 1, "napari shows a coarse level"
    hands.click(tuple((at + 0.5) / factor - 0.5 for at in FIRST))
    hands.settle()
    preview = hands.widget.controller.preview
    np.testing.assert_array_equal(np.asarray(preview.data) > 0, labels == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, labels == 1)


def test_a_coarser_level_by_choice(predictor, open_panel) -> None:
    # 250 × 250 px: level 0 would be resampled by the model, level 1 nearly so, level 2 is not.
    image, labels = discs((250, 250), [(60, 60), (180, 190)], radius=30)
    hands = open_panel(pyramid(image), multiscale=True)
    assert hands.widget.level.isVisible()
    choose(hands, "level", 2)
    hands.click((60, 60))
    hands.settle()
    preview = np.asarray(hands.widget.controller.preview.data) > 0
    assert preview.shape == (250, 250), "objects are in pixels of level 0"
    wanted = labels == 1
    assert (preview & wanted).sum() / (preview | wanted).sum() > 0.9
    hands.everything()
    assert hands.objects.data.shape == (250, 250)
    assert sorted(np.unique(hands.objects.data)) == [0, 1, 2]
    hit = (hands.objects.data > 0) & (labels > 0)
    assert hit.sum() / (labels > 0).sum() > 0.9


def test_no_level_to_choose_for_other_images(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    assert not hands.widget.level.isVisible()


@pytest.mark.parametrize("kind", ["dask", "zarr"])
def test_lazy_stacks_read_the_plane_shown_only(
    predictor, open_panel, cells, tmp_path, kind
) -> None:
    image, labels = cells
    stack = np.broadcast_to(image, (40, *image.shape))
    read: list[int] = []
    if kind == "dask":

        def tell(block: Any, block_info: Any = None) -> Any:
            if block_info:
                read.append(block_info[0]["chunk-location"][0])
            return block

        lazy = da.from_array(stack, chunks=(1, 128, 128)).map_blocks(tell, dtype=stack.dtype)
    else:
        lazy = zarr.open_array(
            tmp_path / "stack.zarr", mode="w", shape=stack.shape, chunks=(1, 128, 128), dtype="u1"
        )
        lazy[:] = stack
    hands = open_panel(lazy, contrast_limits=(0, 255))
    hands.viewer.dims.set_current_step(0, 7)
    hands.settle()
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.shape == stack.shape
    if kind == "dask":
        # napari shows the middle of the stack at first, and its thumbnail.
        assert set(read) <= {0, 7, 19, 20}, sorted(set(read))


SIDE = 20_000


def slide(step: int, read: list[int]) -> da.Array:
    """A level of a slide with a disc of radius 40 in the middle of each 200 px; notes its reads."""

    def make(block_info: Any = None) -> np.ndarray:
        read.append(step)
        places = block_info[None]["array-location"]
        y, x = ((np.arange(*place) * step % 200 - 100).astype(np.int32) for place in places)
        inside = y[:, None] ** 2 + x[None] ** 2 <= 40**2
        return np.where(inside, np.uint8(200), np.uint8(20))

    size = SIDE // step
    chunks = (*[512] * (size // 512), size % 512)
    meta = np.zeros((0, 0), np.uint8)
    return da.map_blocks(make, chunks=(chunks, chunks), dtype=np.uint8, meta=meta)


def test_a_slide_of_20000_pixels(predictor, open_panel) -> None:
    read: list[int] = []
    hands = open_panel(
        [slide(step, read) for step in (1, 4, 16)], multiscale=True, contrast_limits=(0, 255)
    )
    hands.viewer.scene.camera.center = (10_100, 10_100)
    hands.viewer.scene.camera.zoom = 1.0
    hands.qtbot.wait(300)
    read.clear()
    # The points' visual has no offset of half a pixel, other than those of images.
    hands.click((10_099.5, 10_099.5), hands.points)
    hands.settle()
    preview = hands.widget.controller.preview
    assert preview.multiscale, "napari draws what is in sight of it only"
    yy, xx = np.mgrid[10_000:10_200, 10_000:10_200]
    disc = (yy - 10_100) ** 2 + (xx - 10_100) ** 2 <= 40**2
    seen = np.asarray(preview.data[0][10_000:10_200, 10_000:10_200]) > 0
    assert (seen & disc).sum() / (seen | disc).sum() > 0.85, "as well as 128 px can show it"
    # One tile is up to four chunks on a side of 512, percentiles are 25 windows: of 1,600 chunks.
    assert read.count(1) < 100
    assert predictor.encoded == 1
    before = read.count(1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    layer = hands.objects
    assert layer.multiscale
    np.testing.assert_array_equal(layer.data[0][10_000:10_200, 10_000:10_200] == 1, seen)
    np.testing.assert_array_equal(layer.data[1], layer.data[0][::4, ::4])
    assert not np.asarray(preview.data[0][10_000:10_200, 10_000:10_200]).any()
    # The next object in the same tile reads nothing more, and does not touch the first.
    hands.click((10_099.5, 10_299.5), hands.points)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert read.count(1) <= before + 8
    assert layer.data[0][10_100, 10_300] == 2
    hands.press("undo")
    hands.settle()
    assert layer.data[0][10_100, 10_300] == 0
    assert layer.data[0][10_100, 10_100] == 1


# ------------------------------------------------------------------- several images and viewers


def test_two_viewers_and_three_images(predictor, open_panel, cells, home) -> None:
    image, labels = cells
    one = open_panel(image)
    two = open_panel(image.T.copy())
    one.viewer.add_image(np.broadcast_to(image[::-1], (6, *image.shape)).copy(), name="stack")
    one.settle()
    one.press("positive")
    one.click(FIRST)
    two.click(FIRST[::-1])
    one.settle()
    two.settle()
    np.testing.assert_array_equal(one.preview, labels == 1)
    np.testing.assert_array_equal(two.preview, labels.T == 1)
    choose(one, "image", one.viewer.layers["stack"])
    assert letters(one) == "Z"
    assert letters(two) == ""
    flipped = (127 - SECOND[0], SECOND[1])
    one.click(flipped)
    one.settle()
    np.testing.assert_array_equal(one.preview, labels[::-1] == 2)
    np.testing.assert_array_equal(two.preview, labels.T == 1)
    one.key(Qt.Key.Key_C)
    one.settle()
    assert one.objects.data.shape == (6, 128, 128)
    assert two.objects is None
    two.key(Qt.Key.Key_C)
    two.settle()
    assert two.objects.data.shape == (128, 128)

    # Each window keeps its work in a file of its own, also if both begin in the same second.
    def journals() -> list[str]:
        return [path.stem.rpartition("-")[2] for path in (home / "sessions").glob("*-journal")]

    two.until(lambda: len(journals()) == 3)  # two images in one window, one in the other
    assert len(set(journals())) == 3


def test_a_removed_layer_is_freed_in_the_context_of_its_window(
    predictor, open_panel, cells, qtbot
) -> None:
    one = open_panel(cells[0])
    two = open_panel(cells[0])
    both = [panel.canvas.native.context() for panel in (one, two)]
    assert both[0] is not both[1]
    for panel, other in ((one, two), (two, one)):
        other.canvas.native.makeCurrent()
        seen = []
        panel.viewer.layers.events.removed.connect(
            lambda _event, seen=seen: seen.append(QOpenGLContext.currentContext())
        )
        panel.viewer.layers.remove("cells")
        assert seen == [panel.canvas.native.context()]
        qtbot.wait(50)  # painted without what is gone
