"""Reading images: formats, axes, scale, laziness, and what damaged files do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from litesam.errors import LiteSamError, ReadError
from litesam.io import read_image, read_labels, readers, stem, write_labels

if TYPE_CHECKING:
    from pathlib import Path

STACK = np.random.default_rng(0).integers(0, 4000, (6, 40, 50)).astype(np.uint16)
RGB = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def _same(array: Any, expected: np.ndarray) -> None:
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(array), expected)


# ------------------------------------------------------------------------------------------- TIFF


@pytest.mark.parametrize(
    ("name", "array", "options", "axes"),
    [
        ("plain.tif", STACK[0], {}, "YX"),
        ("pages.tif", STACK, {"photometric": "minisblack"}, None),
        ("named.tif", STACK, {"metadata": {"axes": "TYX"}, "compression": "zlib"}, "TYX"),
        ("rgb.tif", RGB, {"photometric": "rgb"}, "YXC"),
        ("imagej.tif", STACK, {"imagej": True, "metadata": {"axes": "ZYX"}}, "ZYX"),
        (
            "hyper.tif",
            STACK.reshape(3, 2, 40, 50),
            {"imagej": True, "metadata": {"axes": "ZCYX"}},
            "ZCYX",
        ),
        ("image.ome.tif", STACK, {"metadata": {"axes": "CYX"}}, "CYX"),
        ("float.tif", STACK[0].astype(np.float32), {}, "YX"),
        ("big.tif", STACK, {"bigtiff": True, "metadata": {"axes": "ZYX"}}, "ZYX"),
    ],
)
def test_tiff_pixels_and_axes(
    tmp_path: Path, name: str, array: np.ndarray, options: dict[str, Any], axes: str | None
) -> None:
    tifffile.imwrite(tmp_path / name, array, **options)
    image = read_image(tmp_path / name)
    _same(image.array, array)
    assert image.axes == axes
    assert image.name == name.split(".")[0]


def test_planar_colour_tiff_gets_its_colours_last(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "planar.tif", RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    image = read_image(tmp_path / "planar.tif")
    _same(image.array, RGB)
    assert image.axes == "YXC"


def test_scale_of_imagej_and_ome_files(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "ij.tif",
        STACK,
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 1.5, "unit": "um"},
    )
    image = read_image(tmp_path / "ij.tif")
    assert image.scale == pytest.approx((1.5, 0.5, 0.25))
    assert image.unit == "micrometer"

    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    image = read_image(tmp_path / "a.ome.tif")
    assert image.scale == pytest.approx((2.0, 0.3, 0.2))
    assert image.unit == "micrometer"


def test_axes_in_other_units_are_converted(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 200, "PhysicalSizeZ": 1500}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "nm", "PhysicalSizeZUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "ZYX", **sizes, **units})
    image = read_image(tmp_path / "a.ome.tif")
    assert image.scale == pytest.approx((1.5, 0.2, 0.2))
    assert image.unit == "micrometer"

    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w")
    group.create_array("0", shape=STACK.shape, dtype=STACK.dtype)[:] = STACK
    scale = {"type": "scale", "scale": [2000.0, 0.2, 0.2]}
    place = {"type": "translation", "translation": [500.0, 3.0, 4.0]}
    axes = zip("zyx", ("nanometer", "micrometer", "micrometer"), strict=True)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": n, "type": "space", "unit": unit} for n, unit in axes],
                "datasets": [{"path": "0", "coordinateTransformations": [scale, place]}],
            }
        ],
    }
    image = read_image(tmp_path / "a.ome.zarr")
    assert image.scale == pytest.approx((2.0, 0.2, 0.2))
    assert image.translation == pytest.approx((0.5, 3.0, 4.0))
    assert image.unit == "micrometer"


def test_dots_per_inch_are_no_scale(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "dpi.tif", STACK[0], resolution=(300, 300))
    assert read_image(tmp_path / "dpi.tif").scale is None


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_large_tiff_is_opened_lazily(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    monkeypatch.setattr(readers, "LAZY_BYTES", 1000)
    array = STACK.reshape(3, 2, 40, 50)
    tifffile.imwrite(
        tmp_path / "large.tif", array, compression=compression, metadata={"axes": "TZYX"}
    )
    image = read_image(tmp_path / "large.tif")
    assert isinstance(image.array, np.memmap if compression is None else da.Array)
    _same(image.array[2, 1], array[2, 1])
    _same(image.array, array)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.6, 0.7, 0.9, 0.98])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": None, "compression": "zlib"},
        {"imagej": True},
        {"metadata": {"axes": "ZYX"}, "compression": "zlib"},
    ],
    ids=["contiguous", "pages", "imagej", "named"],
)
def test_truncated_tiff_is_an_error_and_never_a_shorter_stack(
    tmp_path: Path, share: float, options: dict[str, Any]
) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * share))])
    # ImageJ files repeat what is known at their end: without it, all pixels are still there.
    with contextlib.suppress(ReadError):
        _same(read_image(path).array, STACK)


# ------------------------------------------------------------------------- PNG, JPEG, npy, others


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("L", (40, 50), np.uint8),
        ("1", (40, 50), np.bool_),
        ("RGB", (40, 50, 3), np.uint8),
        ("RGBA", (40, 50, 4), np.uint8),
        ("P", (40, 50, 3), np.uint8),
        ("LA", (40, 50), np.uint8),
    ],
)
def test_png_modes(tmp_path: Path, mode: str, shape: tuple[int, ...], dtype: type) -> None:
    Image.fromarray(RGB).convert(mode).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    assert image.array.shape == shape
    assert image.array.dtype == dtype
    assert image.axes == ("YX" if len(shape) == 2 else "YXC")


def test_png_of_16_bit_keeps_its_values(tmp_path: Path) -> None:
    Image.fromarray(STACK[0]).save(tmp_path / "deep.png")
    _same(read_image(tmp_path / "deep.png").array, STACK[0])


def test_jpeg(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "photo.JPG", quality=95)
    image = read_image(tmp_path / "photo.JPG")
    assert (image.array.shape, image.axes, image.name) == ((40, 50, 3), "YXC", "photo")


def test_npy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", STACK)
    _same(read_image(tmp_path / "a.npy").array, STACK)
    monkeypatch.setattr(readers, "LAZY_BYTES", 10)
    assert isinstance(read_image(tmp_path / "a.npy").array, np.memmap)


def test_npy_with_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match="holds Python objects"):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.jpg"])
def test_truncated_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, STACK)
    else:
        Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ReadError, match="truncated or damaged"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy", "a.xyz"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ReadError, match="is empty"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.tif", "not a TIF file"), ("a.PNG", "not a PNG file"), ("a.czi", "not supported")],
)
def test_other_content(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_text("These are words and no picture.")
    with pytest.raises(ReadError, match=message):
        read_image(tmp_path / name)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="does not exist") as caught:
        read_image(tmp_path / "nothing.tif")
    assert isinstance(caught.value, LiteSamError)
    assert isinstance(caught.value, OSError)


def test_content_decides_over_a_wrong_ending(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "image.tif", format="PNG")
    _same(read_image(tmp_path / "image.tif").array, RGB)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cells.ome.tif", "cells"),
        ("cells.ome.zarr", "cells"),
        ("cells.v2.tif", "cells.v2"),
        ("cells.OME.TIFF", "cells"),
        ("cells.png", "cells"),
        ("folder/cells", "cells"),
    ],
)
def test_stem(name: str, expected: str) -> None:
    assert stem(name) == expected


# --------------------------------------------------------------------------------------- OME-Zarr


def _ome_zarr(path: Path, version: str) -> None:
    """A small CZYX image, written by hand as version 0.4 (zarr v2) or 0.5 (zarr v3)."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    data = STACK.reshape(2, 3, 40, 50)
    extra = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == "0.4" else {}
    for level, step in enumerate((1, 2)):
        pixels = data[..., ::step, ::step]
        array = group.create_array(
            str(level), shape=pixels.shape, dtype=pixels.dtype, chunks=(1, 1, 20, 20), **extra
        )
        array[:] = pixels
    multiscale = {
        "version": version,
        "axes": [
            {"name": "c", "type": "channel"},
            *({"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"),
        ],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 2.0, 0.5 * step, 0.5 * step]}
                ],
            }
            for level, step in enumerate((1, 2))
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2.0, 2.0]}],
    }
    if version == "0.4":
        group.attrs["multiscales"] = [multiscale]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [multiscale]}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_reads_level_0_lazily(tmp_path: Path, version: str) -> None:
    _ome_zarr(tmp_path / "image.ome.zarr", version)
    image = read_image(tmp_path / "image.ome.zarr")
    assert isinstance(image.array, da.Array)
    _same(image.array, STACK.reshape(2, 3, 40, 50))
    assert (image.axes, image.scale, image.name) == ("CZYX", (1.0, 2.0, 1.0, 1.0), "image")
    assert image.unit == "micrometer"


def test_collection_gives_its_first_image(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "many.zarr", mode="w")
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    _ome_zarr(tmp_path / "many.zarr" / "0", "0.5")
    assert read_image(tmp_path / "many.zarr").axes == "CZYX"


def test_plain_zarr_array(tmp_path: Path) -> None:
    zarr.save_array(str(tmp_path / "plain.zarr"), STACK)
    image = read_image(tmp_path / "plain.zarr")
    assert image.axes is None
    _same(image.array, STACK)


def test_folder_that_is_no_zarr(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is no Zarr and holds no images"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(ReadError, match="a device or a pipe"):
        read_image(tmp_path / "pipe.tif")


def test_folder_of_planes_is_a_stack(tmp_path: Path) -> None:
    for number, plane in ((9, STACK[0]), (10, STACK[1])):
        tifffile.imwrite(tmp_path / f"slice{number}.tif", plane)
    image = read_image(tmp_path)
    assert (image.axes, image.array.shape) == ("ZYX", (2, *STACK.shape[1:]))
    _same(image.array, STACK[:2])
    tifffile.imwrite(tmp_path / "slice11.tif", STACK[0][:5])
    with pytest.raises(ReadError, match="slice11"):
        np.asarray(read_image(tmp_path).array)


def test_damaged_ome_zarr(tmp_path: Path) -> None:
    _ome_zarr(tmp_path / "a.ome.zarr", "0.5")
    shutil.rmtree(tmp_path / "a.ome.zarr" / "0")
    with pytest.raises(ReadError, match="level 0 is missing"):
        read_image(tmp_path / "a.ome.zarr")
    (tmp_path / "a.ome.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_')
    with pytest.raises(ReadError, match="not a readable Zarr"):
        read_image(tmp_path / "a.ome.zarr")


def test_damaged_chunk(tmp_path: Path) -> None:
    _ome_zarr(tmp_path / "a.ome.zarr", "0.5")
    for chunk in (tmp_path / "a.ome.zarr" / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:10])
    image = read_image(tmp_path / "a.ome.zarr")
    with pytest.raises(ReadError, match=r"A part of .*a\.ome\.zarr cannot be read"):
        np.asarray(image.array)


def test_group_without_an_image(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(ReadError, match="no complete OME-Zarr image"):
        read_image(tmp_path / "empty.zarr")


def test_plate_asks_for_a_field(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "plate.zarr", mode="w")
    root.attrs["ome"] = {"version": "0.5", "plate": {"wells": []}}
    with pytest.raises(ReadError, match="plate"):
        read_image(tmp_path / "plate.zarr")


def test_axes_that_contradict_the_array(tmp_path: Path) -> None:
    _ome_zarr(tmp_path / "a.zarr", "0.5")
    path = tmp_path / "a.zarr" / "zarr.json"
    document = json.loads(path.read_text())
    multiscale = document["attributes"]["ome"]["multiscales"][0]
    multiscale["axes"] = multiscale["axes"][:-1]
    path.write_text(json.dumps(document))
    with pytest.raises(ReadError, match="has 4 axes"):
        read_image(tmp_path / "a.zarr")


def test_labels_must_be_whole_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", STACK.astype(np.float32))
    with pytest.raises(ReadError, match="integers"):
        read_labels(tmp_path / "a.npy")


def test_labels_by_name(tmp_path: Path) -> None:
    labels = np.arange(2000, dtype=np.int32).reshape(40, 50)
    write_labels(tmp_path / "a.ome.zarr", labels, image=RGB, image_axes="YXC")
    _same(read_labels(tmp_path / "a.ome.zarr").array, labels.astype(np.uint16))
    _same(read_labels(tmp_path / "a.ome.zarr", "a").array, labels.astype(np.uint16))
    with pytest.raises(ReadError, match="no labels 'b'; it has a"):
        read_labels(tmp_path / "a.ome.zarr", "b")
