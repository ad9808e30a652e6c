"""Blocks of a large plane: what crosses their borders comes out once and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from scipy import ndimage

import litesam
from engine.threshold_predictor import same_objects
from engine.volume_scenes import OPTIONS, ExactPredictor, predictor, read_labels
from litesam.errors import ConfigError
from litesam.evaluation.metrics import count_matches, iou_matrix
from litesam.io import read_image
from litesam.samples import sample_path
from litesam.types import TilingConfig
from litesam.volume.blocks import make_blocks, neighbours, overlap
from litesam.volume.seams import block_table, compose, find_seams

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from litesam.types import Box, Embedding, LabelArray, Tile

    Mask = npt.NDArray[np.bool_]

HALO = 16


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    block=st.sampled_from([32, 64, 128]),
    halo=st.integers(0, 16),
)
def test_cores_partition_the_plane_and_lie_on_the_grid(
    height: int, width: int, block: int, halo: int
) -> None:
    tiles = make_blocks((height, width), block, halo)
    seen = np.zeros((height, width), dtype=int)
    for number, tile in enumerate(tiles):
        core, padded = tile.core, tile.padded
        assert tile.index == number
        assert core.y0 % block == core.x0 % block == 0
        seen[core.slices] += 1
        assert padded.y0 <= max(core.y0 - halo, 0)
        assert padded.y1 == min(core.y1 + halo, height)
        assert padded.x0 >= 0
        assert padded.x1 <= width
    assert (seen == 1).all()
    pairs = set(neighbours(tiles))
    for i, first in enumerate(tiles):
        for j in range(i + 1, len(tiles)):
            common = overlap(first.padded, tiles[j].padded)
            if common is not None and halo:
                assert (i, j) in pairs


def test_blocks_that_cannot_be_are_refused() -> None:
    for block, halo in [(0, 0), (50, 4), (64, 40), (64, -1)]:
        with pytest.raises(ConfigError, match="multiple of 32"):
            make_blocks((100, 100), block, halo)


# ------------------------------------------------------------------------------- blocks = in memory


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def in_blocks(mask: Mask, block: int = 64) -> LabelArray:
    """Connected parts found block by block and put together."""
    tiles = make_blocks(mask.shape, block, HALO)  # type: ignore[arg-type]
    return joined(mask, tiles, [ndimage.label(mask[tile.padded.slices])[0] for tile in tiles])


def joined(mask: Mask, tiles: tuple[Tile, ...], found: list[LabelArray]) -> LabelArray:
    """Put labels of blocks together."""
    shape = (mask.shape[0], mask.shape[1])
    tables = [block_table(part, tile, shape) for part, tile in zip(found, tiles, strict=True)]

    def read(number: int, box: Box) -> LabelArray:
        padded = tiles[number].padded
        return found[number][
            box.y0 - padded.y0 : box.y1 - padded.y0, box.x0 - padded.x0 : box.x1 - padded.x0
        ]

    seams = find_seams(tiles, tables, read)
    result = np.zeros(shape, dtype=np.int32)
    for tile in tiles:
        result[tile.core.slices] = compose(tile.index, tiles, seams, read)
    return result


rectangles = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 90), st.integers(1, 90)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(rectangles=rectangles, block=st.sampled_from([64, 96]))
def test_connected_parts_in_blocks_are_those_of_the_plane(
    rectangles: list[tuple[int, int, int, int]], block: int
) -> None:
    """Rectangles and all shapes that they make together, also larger than a block and its halo."""
    mask = np.zeros((203, 211), dtype=np.bool_)
    for number, (y, x, h, w) in enumerate(rectangles):
        mask[y : y + h, x : x + w] = number % 3 > 0  # some of them are holes
    truth, _ = ndimage.label(mask)
    assert same_objects(in_blocks(mask, block), truth.astype(np.int32))


def test_shapes_that_cross_borders_are_one_object() -> None:
    """A ring over a corner of four blocks, a U whose arms are apart in one block, a long bar."""
    mask = np.zeros((200, 200), dtype=np.bool_)
    yy, xx = np.ogrid[:200, :200]
    radius = np.hypot(yy - 64, xx - 64)
    mask |= (radius < 40) & (radius > 34)
    mask[70:150, 110:114] = mask[70:150, 140:144] = mask[146:150, 110:144] = True
    mask[170:174, :] = True
    truth, count = ndimage.label(mask)
    assert count == 3
    got = in_blocks(mask)
    assert same_objects(got, truth.astype(np.int32))
    assert set(np.unique(got)) == {0, 1, 2, 3}


# --------------------------------------------------------------------- blocks that do not agree


TILES = make_blocks((64, 128), 64, HALO)


def found_by(*boxes: tuple[int, int, int, int, int]) -> list[LabelArray]:
    """Labels of the two blocks: (block, y0, x0, y1, x1) in the plane, numbered by block."""
    result = [np.zeros(tile.padded.size_yx, dtype=np.int32) for tile in TILES]
    for block, y0, x0, y1, x1 in boxes:
        left = TILES[block].padded.x0
        result[block][y0:y1, max(x0 - left, 0) : x1 - left] = result[block].max() + 1
    return result


def put_together(*boxes: tuple[int, int, int, int, int]) -> LabelArray:
    return joined(np.zeros((64, 128), dtype=np.bool_), TILES, found_by(*boxes))


def test_an_object_that_one_block_missed_is_whole_all_the_same() -> None:
    got = put_together((0, 20, 54, 30, 70))
    np.testing.assert_array_equal(np.argwhere(got).min(axis=0), (20, 54))
    np.testing.assert_array_equal(np.argwhere(got).max(axis=0), (29, 69))


def test_a_cut_piece_that_its_owner_does_not_know_is_dropped() -> None:
    assert not put_together((1, 20, 46, 30, 55)).any()


def test_a_cut_object_that_its_owner_sees_alone_stays() -> None:
    got = put_together((0, 20, 40, 30, 80))  # reaches the border of its block; centre in its core
    assert set(np.unique(got)) == {0, 1}


def test_whole_objects_are_not_swallowed_by_a_cut_one() -> None:
    """Two cells that one block sees apart, and the other as one that goes on over its border."""
    got = put_together((0, 20, 50, 30, 58), (0, 20, 62, 30, 70), (1, 20, 46, 30, 72))
    assert got[25, 54] != got[25, 62]


def test_objects_that_agree_have_the_same_number_on_both_sides() -> None:
    got = put_together((0, 20, 56, 30, 72), (1, 21, 57, 30, 73))
    assert got[25, 60] == got[25, 70] == 1


# ---------------------------------------------------------------------------- the whole machinery


def scene() -> npt.NDArray[np.uint8]:
    """A plane of 230 × 250 px with discs everywhere and a bar through all of it."""
    rng = np.random.default_rng(4)
    image = np.full((230, 250), 20, dtype=np.uint8)
    yy, xx = np.ogrid[:230, :250]
    for y in range(14, 230, 26):
        for x in range(14, 250, 26):
            dy, dx, radius = rng.integers(-3, 4), rng.integers(-3, 4), rng.integers(4, 9)
            image[(yy - y - dy) ** 2 + (xx - x - dx) ** 2 <= radius**2] = 200
    image[100:103, 5:245] = 200
    return image


def test_a_plane_in_blocks_is_the_plane_in_memory(tmp_path: Path) -> None:
    image = scene()
    litesam.label_volume(
        image, tmp_path / "blocks.zarr", predictor(), block_px=64, halo_px=24, **OPTIONS
    )
    options = {name: value for name, value in OPTIONS.items() if name != "canvas_px"}
    labels, _ = litesam.segment_everything(image, predictor(), **options)
    got = read_labels(tmp_path / "blocks.zarr")
    assert same_objects(got.astype(np.int32), labels)
    assert same_objects(got.astype(np.int32), ndimage.label(image > 127)[0].astype(np.int32))


class _Sizes(ExactPredictor):
    """Remembers how large the regions are that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: set[int] = set()

    def encode(self, rgb: npt.NDArray[np.uint8], origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        self.sides.add(max(rgb.shape[:2]))
        return super().encode(rgb, origin_yx)


def test_small_blocks_are_seen_at_the_scale_of_large_ones(tmp_path: Path) -> None:
    """A block is no plane of its own that one larger tile would do for."""
    image = np.full((310, 310), 20, dtype=np.uint8)
    image[280:290, 280:290] = 200
    options = {**OPTIONS, "tiling": TilingConfig(96, 16, single_up_to_px=160)}
    sizes = _Sizes()
    litesam.label_volume(image, tmp_path / "out.zarr", sizes, block_px=160, halo_px=0, **options)
    assert sizes.sides == {96}
    np.testing.assert_array_equal(read_labels(tmp_path / "out.zarr") == 1, image > 127)


def test_the_bundled_model_finds_in_blocks_what_it_finds_in_a_plane(tmp_path: Path) -> None:
    nuclei = np.asarray(read_image(sample_path("nuclei")).array)[:384]
    plane = np.concatenate([nuclei, nuclei[:, ::-1]], axis=1)
    for name, block in (("blocks.zarr", 640), ("whole.zarr", 4096)):
        litesam.label_volume(plane, tmp_path / name, axes="YX", device="cpu", block_px=block)
    blocks, whole = read_labels(tmp_path / "blocks.zarr"), read_labels(tmp_path / "whole.zarr")
    both = count_matches(iou_matrix(whole.astype(np.int32), blocks.astype(np.int32)), 0.75)
    assert whole.max() > 50
    assert both > 0.95 * max(whole.max(), blocks.max())


def test_a_stack_in_blocks_is_linked_like_one_in_memory(tmp_path: Path) -> None:
    plane = scene()[:130, :100]
    stack = np.stack([plane, np.roll(plane, 2, axis=0), np.full_like(plane, 20), plane])
    for name, block in (("blocks.zarr", 64), ("whole.zarr", 4096)):
        litesam.label_volume(
            stack, tmp_path / name, predictor(), axes="ZYX", block_px=block, halo_px=24, **OPTIONS
        )
    got, whole = read_labels(tmp_path / "blocks.zarr"), read_labels(tmp_path / "whole.zarr")
    assert got[2].any()  # the empty slice is bridged, over the borders of blocks, too
    assert same_objects(got.astype(np.int32), whole.astype(np.int32))


def test_levels_of_a_pyramid_fit_over_the_borders_of_blocks(tmp_path: Path) -> None:
    image = np.full((1300, 1200), 20, dtype=np.uint8)
    image[601:701, 501:701] = 200
    litesam.label_volume(
        image, tmp_path / "out.zarr", predictor(), block_px=256, halo_px=16, **OPTIONS
    )
    fine, coarse = (zarr.open_array(tmp_path / "out.zarr" / k, mode="r") for k in "01")
    assert fine.chunks == (256, 256)
    assert coarse.chunks == (128, 128)
    np.testing.assert_array_equal(coarse[...], fine[...][::2, ::2])
    np.testing.assert_array_equal(fine[...] == 1, image > 127)
