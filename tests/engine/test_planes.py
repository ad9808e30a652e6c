"""Array-like + axes + index → one raw plane."""

from __future__ import annotations

from dataclasses import dataclass

import dask.array as da
import numpy as np
import pytest
import zarr

from litesam.errors import ImageError, ReadError
from litesam.preprocess import extract_plane, guess_axes


def _numbered(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@dataclass(frozen=True)
class Guess:
    shape: tuple[int, ...]
    axes: str
    dtype: str = "uint8"


@pytest.mark.parametrize(
    "case",
    [
        Guess((20, 30), "YX"),
        Guess((20, 30, 3), "YXC"),
        Guess((20, 30, 4), "YXC"),
        Guess((20, 30, 3), "ZYX", "bool"),
        Guess((2, 20, 30), "CYX"),
        Guess((4, 20, 30), "CYX"),
        Guess((16, 20, 30), "ZYX"),
        Guess((16, 20, 30, 3), "ZYXC"),
        Guess((16, 2, 20, 30), "ZCYX"),
        Guess((2, 16, 20, 30), "CZYX"),
        Guess((5, 16, 20, 30), "TZYX"),
        Guess((5, 16, 2, 20, 30), "TZCYX"),
        Guess((5, 2, 16, 20, 30), "TCZYX"),
        Guess((5, 6, 16, 20, 30), "TCZYX"),
        Guess((5, 16, 20, 30, 3), "TZYXC"),
    ],
    ids=lambda case: f"{case.shape}-{case.dtype}",
)
def test_axes_are_guessed_from_the_shape(case: Guess) -> None:
    assert guess_axes(case.shape, np.dtype(case.dtype)) == case.axes


@pytest.mark.parametrize("shape", [(), (5,), (2,) * 6])
def test_axes_that_cannot_be_guessed_are_asked_for(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="axes=" if len(shape) > 5 else "2 to 5 are needed"):
        guess_axes(shape, np.uint8)


@dataclass(frozen=True)
class Selection:
    axes: str
    index: int | tuple[int, ...] | None
    channel: int | None
    expected: tuple[int | slice, ...]
    order: tuple[int, ...] | None = None


_ALL = slice(None)


@pytest.mark.parametrize(
    ("shape", "case"),
    [
        ((5, 6), Selection("YX", None, None, (_ALL, _ALL))),
        ((5, 6), Selection("xy", None, None, (_ALL, _ALL), (1, 0))),
        ((7, 5, 6), Selection("ZYX", 3, None, (3, _ALL, _ALL))),
        ((7, 5, 6), Selection("ZYX", (-1,), None, (6, _ALL, _ALL))),
        ((7, 5, 6), Selection("YXZ", (2,), None, (_ALL, _ALL, 2))),
        ((2, 7, 5, 6), Selection("TZYX", (1, 4), None, (1, 4, _ALL, _ALL))),
        ((2, 1, 5, 6), Selection("TZYX", (1,), None, (1, 0, _ALL, _ALL))),
        ((1, 1, 5, 6), Selection("TZYX", None, None, (0, 0, _ALL, _ALL))),
        ((2, 5, 6), Selection("CYX", None, 1, (1, _ALL, _ALL))),
        ((2, 5, 6), Selection("CYX", None, -2, (0, _ALL, _ALL))),
        ((1, 5, 6), Selection("CYX", None, None, (0, _ALL, _ALL))),
        ((7, 2, 5, 6), Selection("ZCYX", 4, 1, (4, 1, _ALL, _ALL))),
        ((2, 7, 5, 6), Selection("CZYX", 4, 1, (1, 4, _ALL, _ALL))),
        ((5, 6, 2), Selection("YXC", None, 1, (_ALL, _ALL, 1))),
        ((5, 6, 3), Selection("YXC", None, None, (_ALL, _ALL, _ALL))),
        ((5, 6, 4), Selection("YXC", None, None, (_ALL, _ALL, slice(0, 3)))),
        ((5, 6, 3), Selection("YXC", None, 2, (_ALL, _ALL, 2))),
        ((3, 5, 6), Selection("SYX", None, None, (_ALL, _ALL, _ALL), (1, 2, 0))),
        ((7, 5, 6, 3), Selection("ZYXS", 2, None, (2, _ALL, _ALL, _ALL))),
        ((2, 5, 6, 3), Selection("CYXS", 1, None, (1, _ALL, _ALL, _ALL))),
    ],
    ids=lambda value: value.axes if isinstance(value, Selection) else str(value),
)
@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_plane_is_chosen_by_axes_index_and_channel(
    shape: tuple[int, ...], case: Selection, kind: str
) -> None:
    image = _numbered(*shape)
    expected = image[case.expected]
    if case.order is not None:
        expected = expected.transpose(case.order)
    given = {
        "numpy": lambda: image,
        "dask": lambda: da.from_array(image, chunks=2),
        "zarr": lambda: zarr.array(image, store={}, chunks=tuple(min(n, 2) for n in shape)),
    }[kind]()
    plane = extract_plane(given, case.axes, case.index, case.channel)
    assert isinstance(plane, np.ndarray)
    assert plane.dtype == image.dtype
    np.testing.assert_array_equal(plane, expected)


def test_lazy_array_reads_only_the_chunks_of_the_asked_plane() -> None:
    read: list[tuple[int, ...]] = []

    def block(block_info: dict) -> np.ndarray:
        location = tuple(block_info[None]["chunk-location"])
        read.append(location)
        if location[:2] != (1, 3):
            raise AssertionError(f"chunk {location} was read")
        return np.full((1, 1, 8, 8), 7, dtype=np.uint8)

    image = da.map_blocks(block, chunks=((1,) * 2, (1,) * 5, (8,) * 2, (8,) * 2), dtype=np.uint8)
    plane = extract_plane(image, "TZYX", (1, 3))
    assert plane.shape == (16, 16)
    assert len(read) == 4


def test_h5_like_object_is_indexed_and_not_converted() -> None:
    class Dataset:
        """What h5py promises: shape, dtype and basic indexing; a conversion as a whole fails."""

        shape = (4, 6, 8)
        dtype = np.dtype("float32")

        def __getitem__(self, selection: tuple[int | slice, ...]) -> np.ndarray:
            assert selection == (2, slice(None), slice(None))
            return np.ones((6, 8), np.float32)

        def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
            raise AssertionError("the whole data set was read")

    assert extract_plane(Dataset(), "ZYX", 2).shape == (6, 8)


def test_nested_list_is_an_image() -> None:
    np.testing.assert_array_equal(extract_plane([[1, 2], [3, 4]]), [[1, 2], [3, 4]])


@dataclass(frozen=True)
class Refusal:
    name: str
    image: object
    words: str
    axes: str | None = None
    index: object = None
    channel: object = None


@pytest.mark.parametrize(
    "case",
    [
        Refusal("too few letters", np.zeros((4, 5, 6)), r"\(4, 5, 6\).*2 letters", "YX"),
        Refusal("double letter", np.zeros((4, 5)), "different", "YY"),
        Refusal("no X", np.zeros((4, 5)), "Y and X", "ZY"),
        Refusal("digits", np.zeros((4, 5)), "A–Z", "Y1"),
        Refusal("stack without index", np.zeros((9, 5, 6)), r"index=.*Z \(0–8\)", "ZYX"),
        Refusal("index too short", np.zeros((2, 9, 5, 6)), "index=", "TZYX", (1,)),
        Refusal("index too long", np.zeros((5, 6)), "leave index out", "YX", (0,)),
        Refusal("index outside", np.zeros((9, 5, 6)), r"outside.*0–8", "ZYX", 9),
        Refusal("index of floats", np.zeros((9, 5, 6)), "whole numbers", "ZYX", (1.5,)),
        Refusal("index of words", np.zeros((9, 5, 6)), "whole numbers", "ZYX", "first"),
        Refusal("no channel chosen", np.zeros((2, 5, 6)), "channel=0", "CYX"),
        Refusal("channel outside", np.zeros((2, 5, 6)), "channel=2 is outside", "CYX", None, 2),
        Refusal("channel name", np.zeros((2, 5, 6)), "whole numbers", "CYX", None, "DAPI"),
        Refusal("channel without axis", np.zeros((5, 6)), "no channel axis", None, None, 0),
        Refusal("no rows", np.zeros((0, 6)), r"\(0, 6\) is empty"),
        Refusal("no slices", np.zeros((0, 5, 6)), "is empty", "ZYX", 0),
        Refusal("complex", np.zeros((5, 6), complex), "complex128"),
        Refusal("object", np.full((5, 6), None), "object"),
        Refusal("text", np.full((5, 6), "a"), "<U1"),
        Refusal("one axis", np.zeros(5), "2 to 5"),
        Refusal("scalar", 3, "2 to 5"),
        Refusal("None", None, "object"),
        Refusal("ragged pyramid", [np.zeros((4, 4)), np.zeros((2, 2))], "one level"),
    ],
    ids=lambda case: case.name,
)
def test_what_is_no_plane_is_refused_with_advice(case: Refusal) -> None:
    with pytest.raises(ImageError, match=case.words):
        extract_plane(case.image, case.axes, case.index, case.channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("lazy", [False, True])
def test_damaged_chunk_is_a_read_error_and_other_planes_still_read(tmp_path, lazy):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32), dtype=np.uint8)
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=pixels.shape, chunks=(1, 32, 32), dtype="u1"
    )
    stored[:] = pixels
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    image = da.from_zarr(stored) if lazy else stored
    with pytest.raises(ReadError, match="cannot be read"):
        extract_plane(image, "ZYX", (1,))
    np.testing.assert_array_equal(extract_plane(image, "ZYX", (2,)), pixels[2])
