"""Writing labels: formats, metadata, atomic replacement, refusals."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Label, Multiscales, Reader
from PIL import Image

from litesam.errors import WriteError
from litesam.io import atomic_path, read_image, read_labels, write_labels

if TYPE_CHECKING:
    from pathlib import Path

LABELS = (np.arange(60 * 70, dtype=np.int32) % 90).reshape(60, 70)
STACK = np.stack([LABELS, LABELS + 300, LABELS * 0])
SUFFIXES = (".tif", ".ome.tif", ".png", ".zarr", ".ome.zarr")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_reads_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    assert write_labels(path, LABELS) == path
    image = read_labels(path)
    np.testing.assert_array_equal(np.asarray(image.array), LABELS)
    assert image.axes == "YX"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("top", [200, 60_000, 70_000])
def test_stack_keeps_axes_scale_and_smallest_type(tmp_path: Path, suffix: str, top: int) -> None:
    stack = STACK % 200
    stack[1, 2, 3] = top
    path = tmp_path / f"labels{suffix}"
    write_labels(path, stack, "ZYX", (2.0, 0.5, 0.25), unit="micrometer")
    image = read_labels(path)
    np.testing.assert_array_equal(np.asarray(image.array), stack)
    assert image.array.dtype == {200: np.uint8, 60_000: np.uint16, 70_000: np.uint32}[top]
    assert image.axes == "ZYX"
    assert image.scale == pytest.approx((2.0, 0.5, 0.25))
    assert image.unit == "micrometer"


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
def test_axes_are_put_into_the_usual_order(tmp_path: Path, suffix: str) -> None:
    labels = np.stack([STACK, STACK % 7], axis=1)  # Z, T, Y, X
    path = tmp_path / f"labels{suffix}"
    write_labels(path, labels, "ZTYX", (2.0, 1.0, 0.5, 0.5), unit="micrometer")
    image = read_labels(path)
    assert image.axes == "TZYX"
    assert image.scale is not None
    assert image.scale[1:] == pytest.approx((2.0, 0.5, 0.5))
    np.testing.assert_array_equal(np.asarray(image.array), labels.transpose(1, 0, 2, 3))


def test_tiff_is_compressed_and_readable_by_imagej(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", np.zeros((512, 512), dtype=np.int32))
    assert (tmp_path / "a.tif").stat().st_size < 512 * 512 / 10
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej


def test_png_is_16_bit(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.png", LABELS)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "I;16"


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("a.png", LABELS + 65_500, "up to 65535"),
        ("a.png", STACK, "one plane"),
        ("a.jpg", LABELS, "unknown ending"),
        ("a.tif", LABELS.astype(np.float32), "whole numbers"),
        ("a.tif", LABELS - 1, "smallest is -1"),
        ("a.ome.zarr", LABELS - 1, "smallest is -1"),
        ("a.tif", np.zeros((0, 5), dtype=np.int32), "empty"),
        ("a.tif", np.full((4, 4), 2**40), "4294967295"),
        ("none/a.tif", LABELS, "does not exist"),
        ("a.tif", np.zeros(5, dtype=np.int32), "1 axes"),
    ],
)
def test_refused(tmp_path: Path, name: str, labels: np.ndarray, message: str) -> None:
    with pytest.raises(WriteError, match=message):
        write_labels(tmp_path / name, labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("axes", "scale"), [("ZYX", None), ("YXC", None), ("XY", None), ("YX", (1.0, 1.0, 1.0))]
)
def test_wrong_axes_or_scale(tmp_path: Path, axes: str, scale: tuple[float, ...] | None) -> None:
    with pytest.raises(WriteError):
        write_labels(tmp_path / "a.tif", LABELS, axes, scale)


# ------------------------------------------------------------------------------------------ atomic


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_existing_output_stays_unless_overwritten(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    write_labels(path, LABELS)
    with pytest.raises(WriteError, match="exists already"):
        write_labels(path, LABELS[:30])
    assert read_labels(path).array.shape == LABELS.shape
    write_labels(path, LABELS[:30], overwrite=True)
    assert read_labels(path).array.shape == (30, 70)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left")])
@pytest.mark.parametrize("is_folder", [False, True])
def test_interruption_leaves_the_old_output(
    tmp_path: Path, error: BaseException, is_folder: bool
) -> None:
    target = tmp_path / "out"
    target.mkdir() if is_folder else target.touch()
    (target / "zarr.json" if is_folder else target).write_text("old")

    def write_half() -> None:
        with atomic_path(target, overwrite=True) as part:
            if is_folder:
                part.mkdir()
            (part / "zarr.json" if is_folder else part).write_text("half")
            raise error

    expected = WriteError if isinstance(error, OSError) else error
    with pytest.raises(expected if isinstance(expected, type) else type(expected)):
        write_half()
    assert (target / "zarr.json" if is_folder else target).read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_file_may_replace_a_folder_and_back(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for _ in range(2):
        with atomic_path(target, overwrite=True) as part:
            part.mkdir()
        assert target.is_dir()
        with atomic_path(target, overwrite=True) as part:
            part.write_text("file")
        assert target.is_file()
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk(tmp_path: Path, suffix: str) -> None:
    """A real refusal by the system: no file of the process may grow above 4 kB."""
    pytest.importorskip("resource", reason="limits of a process need POSIX")
    path = tmp_path / f"labels{suffix}"
    script = f"""
        import numpy as np, resource, signal
        from litesam.errors import WriteError
        from litesam.io import write_labels
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        labels = np.random.default_rng(0).integers(0, 60000, (300, 300))
        import ome_zarr, tifffile, PIL.Image, zarr
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_labels({str(path)!r}, labels)
        except WriteError as error:
            print("refused:", error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "refused:" in result.stdout, result.stderr
    assert "cannot be written" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        write_labels(tmp_path / "file" / "a.tif", LABELS)
    with pytest.raises(WriteError, match="cannot be written"):
        write_labels(tmp_path / ("long" * 100 + ".tif"), LABELS)


# ---------------------------------------------------------------------------------------- OME-Zarr


def test_ome_zarr_py_reads_image_and_labels(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)
    path = tmp_path / "cells.ome.zarr"
    write_labels(path, LABELS, "YX", (0.5, 0.5), image=rgb, image_axes="YXC", unit="micrometer")
    nodes = list(Reader(parse_url(path))())
    image = next(node for node in nodes if node.zarr.basename() == "cells.ome.zarr")
    label = next(node for node in nodes if any(isinstance(spec, Label) for spec in node.specs))
    np.testing.assert_array_equal(np.asarray(image.data[0]), rgb.transpose(2, 0, 1))
    np.testing.assert_array_equal(np.asarray(label.data[0]), LABELS)
    assert label.metadata["name"] == "cells"
    assert [axis["name"] for axis in label.metadata["axes"]] == ["y", "x"]
    attributes = zarr.open_group(path / "labels", mode="r").attrs["ome"]
    assert attributes == {"version": "0.5", "labels": ["cells"]}
    back = read_image(path)
    assert (back.axes, back.scale) == ("CYX", (1.0, 0.5, 0.5))


def test_labels_without_an_image_are_a_label_image(tmp_path: Path) -> None:
    write_labels(tmp_path / "cells.ome.zarr", STACK, "ZYX")
    (node,) = list(Reader(parse_url(tmp_path / "cells.ome.zarr"))())
    assert {type(spec) for spec in node.specs} == {Label, Multiscales}
    np.testing.assert_array_equal(np.asarray(node.data[0]), STACK)


def test_lazy_image_and_labels(tmp_path: Path) -> None:
    image = da.from_array(np.arange(2 * 3 * 60 * 70).reshape(2, 3, 60, 70), chunks=(1, 1, 30, 30))
    labels = da.from_array(STACK, chunks=(1, 60, 70))
    write_labels(tmp_path / "a.zarr", labels, "ZYX", image=image, image_axes="CZYX")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.zarr").array), image)
    np.testing.assert_array_equal(np.asarray(read_labels(tmp_path / "a.zarr").array), STACK)


def test_image_of_other_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="do not belong"):
        write_labels(tmp_path / "a.zarr", LABELS, "YX", image=STACK, image_axes="ZYX")
    assert list(tmp_path.iterdir()) == []


def test_large_plane_has_a_pyramid_of_whole_labels(tmp_path: Path) -> None:
    labels = np.zeros((1100, 2100), dtype=np.int32)
    labels[100:900, 300:1700] = 70_001
    write_labels(tmp_path / "a.zarr", labels)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    shapes = [group[dataset["path"]].shape for dataset in datasets]
    assert shapes == [(1100, 2100), (550, 1050), (275, 525)]
    for dataset in datasets:
        assert set(np.unique(group[dataset["path"]])) == {0, 70_001}
    assert datasets[2]["coordinateTransformations"][0]["scale"] == [4.0, 4.0]


def test_killed_writer_leaves_no_output(tmp_path: Path) -> None:
    """Even SIGKILL, after which nothing can be cleaned up, leaves no file under the final name."""
    path = tmp_path / "a.ome.zarr"
    script = f"""
        import os, signal
        import numpy as np
        from litesam.io import writers
        original = writers._write_levels
        def stop_after(*args):
            original(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        writers._write_levels = stop_after
        writers.write_labels({str(path)!r}, np.ones((20, 20), dtype=np.int32))
    """
    if not hasattr(__import__("signal"), "SIGKILL"):
        pytest.skip("SIGKILL needs POSIX")
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False)
    assert not path.exists()
    assert all(entry.name.startswith(".") for entry in tmp_path.iterdir())
    write_labels(path, LABELS)
    assert read_labels(path).array.shape == LABELS.shape
