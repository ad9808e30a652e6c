"""Labels as OME-Zarr 0.4 and 0.5: key by key what the standard wants, and read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Label, Multiscales, Reader

import litesam
from engine.threshold_predictor import same_objects
from engine.volume_scenes import OPTIONS, balls, predictor, read_labels, small_volume
from litesam.cli import build_parser, main
from litesam.errors import Cancelled, JobError, WriteError
from litesam.io import OME_VERSIONS, read_image, write_labels
from litesam.io import read_labels as read_label_image

if TYPE_CHECKING:
    from pathlib import Path

ZARR_FILES = {
    "0.4": {".zgroup", ".zattrs", ".zarray"},
    "0.5": {"zarr.json"},
}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def label(source: Any, target: Path, **options: Any) -> Any:
    return litesam.label_volume(source, target, predictor(), **{**OPTIONS, **options})


def attributes(path: Path, version: str) -> dict[str, Any]:
    """Metadata of a group as they lie in its file."""
    if version == "0.4":
        assert json.loads((path / ".zgroup").read_text()) == {"zarr_format": 2}
        found: dict[str, Any] = json.loads((path / ".zattrs").read_text())
        return found
    content = json.loads((path / "zarr.json").read_text())
    assert (content["zarr_format"], content["node_type"]) == (3, "group")
    found = content["attributes"]
    assert set(found) == {"ome"}
    return dict(found["ome"])


def metadata_names(path: Path) -> set[str]:
    """Names of all files of metadata in a folder."""
    return {file.name for file in path.rglob("*") if file.name in {".zarray", *_NAMES}}


_NAMES = ZARR_FILES["0.4"] | ZARR_FILES["0.5"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Two slices of 1100 × 1040 px with scale and unit: two levels, four blocks."""
    pixels, _ = balls((2, 1100, 1040), [(0, 50, 60), (1, 1000, 900)], radius=9)
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, imagej=True, resolution=(2, 2), metadata=metadata)
    return path


@pytest.mark.parametrize("version", OME_VERSIONS)
@pytest.mark.parametrize("block_px", [4096, 640])
def test_labels_of_a_volume_say_what_the_standard_wants(
    tmp_path: Path, image: Path, version: str, block_px: int
) -> None:
    path = tmp_path / "labels.ome.zarr"
    label(image, path, ranges={"Z": (1, 2)}, ome_zarr=version, block_px=block_px)
    said = attributes(path, version)
    (multiscale,) = said["multiscales"]
    if version == "0.4":
        assert set(said) == {"multiscales", "image-label"}
        assert multiscale.pop("version") == "0.4"
        assert said["image-label"] == {"version": "0.4"}
    else:
        assert set(said) == {"multiscales", "image-label", "version"}
        assert said["version"] == "0.5"
        assert said["image-label"] == {}
    assert set(multiscale) == {"name", "axes", "datasets"}
    assert multiscale["name"] == "labels"
    assert multiscale["axes"] == [
        {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
    ]
    for number, (dataset, factor) in enumerate(zip(multiscale["datasets"], (1, 2), strict=True)):
        assert set(dataset) == {"path", "coordinateTransformations"}
        assert dataset["path"] == str(number)
        scale, translation = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [2.0, 0.5 * factor, 0.5 * factor]}
        assert translation == {"type": "translation", "translation": [2.0, 0.0, 0.0]}
    assert metadata_names(path) == ZARR_FILES[version]
    group = zarr.open_group(path, mode="r")
    first, second = (np.asarray(group[name]) for name in "01")
    assert (first.shape, second.shape) == ((1, 1100, 1040), (1, 550, 520))
    assert first.any()
    np.testing.assert_array_equal(second[0], first[0][::2, ::2])


@pytest.mark.parametrize("version", OME_VERSIONS)
def test_the_same_labels_in_both_versions_and_by_other_readers(
    tmp_path: Path, image: Path, version: str
) -> None:
    label(image, tmp_path / "usual.zarr")
    path = tmp_path / "labels.zarr"
    label(image, path, ome_zarr=version)
    back = read_image(path)
    assert (back.axes, back.scale, back.unit) == ("ZYX", (2.0, 0.5, 0.5), "micrometer")
    np.testing.assert_array_equal(np.asarray(back.array), read_labels(tmp_path / "usual.zarr"))
    (node,) = list(Reader(parse_url(path))())
    assert {type(spec) for spec in node.specs} == {Label, Multiscales}
    assert [level.shape for level in node.data] == [(2, 1100, 1040), (2, 550, 520)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), read_labels(tmp_path / "usual.zarr"))


def test_arrays_of_0_4_are_of_zarr_2(tmp_path: Path, image: Path) -> None:
    """Chunks in folders, a codec that all readers know, and no file of two blocks."""
    path = tmp_path / "labels.zarr"
    label(image, path, ome_zarr="0.4", block_px=640)
    about = json.loads((path / "0" / ".zarray").read_text())
    assert about["zarr_format"] == 2
    assert (about["dtype"], about["fill_value"], about["order"]) == ("<u4", 0, "C")
    assert (about["dimension_separator"], about["filters"]) == ("/", None)
    assert about["compressor"]["id"] == "blosc"
    assert about["chunks"] == [1, 640, 640]
    assert (path / "0" / "0" / "0" / "0").is_file()
    lazy = da.from_zarr(str(path / "0"))
    np.testing.assert_array_equal(lazy.compute(), read_labels(path))
    large = np.full((1, 2100, 2000), 20, dtype=np.uint8)
    large[0, 2050:2060, 1990:] = 200
    label(large, tmp_path / "large.zarr", axes="ZYX", ome_zarr="0.4")
    about = json.loads((tmp_path / "large.zarr" / "0" / ".zarray").read_text())
    assert about["chunks"] == [1, 1024, 1024]
    np.testing.assert_array_equal(read_labels(tmp_path / "large.zarr") > 0, large > 20)


def test_a_job_is_continued_in_the_version_that_it_was_begun_with(tmp_path: Path) -> None:
    pixels, truth = small_volume()
    path = tmp_path / "labels.zarr"
    seen: list[Any] = []
    options = {"axes": "ZYX", "on_progress": seen.append}
    with pytest.raises(Cancelled):
        label(pixels, path, ome_zarr="0.4", cancelled=lambda: len(seen) > 4, **options)
    with pytest.raises(JobError, match=r"ome_zarr: 0.4, now 0.5"):
        label(pixels, path, **options)
    result = label(pixels, path, ome_zarr="0.4", **options)
    assert result.blocks_before > 0
    assert same_objects(read_labels(path).astype(np.int32), truth)
    with pytest.raises(WriteError, match=r"OME-Zarr 0.3 cannot be written; choose 0.5 or 0.4"):
        label(pixels, tmp_path / "other.zarr", axes="ZYX", ome_zarr="0.3")


@pytest.mark.parametrize("version", OME_VERSIONS)
def test_an_image_with_its_labels(tmp_path: Path, version: str) -> None:
    """What is labelled without a job: image, labels, list of labels and link to the image."""
    rgb = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)
    labels = np.arange(60 * 70).reshape(60, 70) % 90
    path = tmp_path / "cells.ome.zarr"
    write_labels(
        path, labels, "YX", (0.5, 0.5), image=rgb, image_axes="YXC", unit="um", ome_zarr=version
    )
    said = attributes(path, version)
    old = {"version": "0.4"} if version == "0.4" else {}
    assert set(said["omero"]) == {"channels", *old}
    assert [axis["name"] for axis in said["multiscales"][0]["axes"]] == ["c", "y", "x"]
    new = {} if old else {"version": "0.5"}
    assert attributes(path / "labels", version) == {"labels": ["cells"], **new}
    said = attributes(path / "labels" / "cells", version)
    assert said["image-label"] == {"source": {"image": "../../"}, **old}
    assert metadata_names(path) == ZARR_FILES[version]
    back = read_label_image(path)
    assert (back.axes, back.scale, back.unit) == ("YX", (0.5, 0.5), "um")
    np.testing.assert_array_equal(np.asarray(back.array), labels)
    np.testing.assert_array_equal(np.asarray(read_image(path).array), rgb.transpose(2, 0, 1))
    nodes = list(Reader(parse_url(path))())
    found = next(node for node in nodes if any(isinstance(spec, Label) for spec in node.specs))
    np.testing.assert_array_equal(np.asarray(found.data[0]), labels)
    with pytest.raises(WriteError, match=r"choose 0.5 or 0.4"):
        write_labels(tmp_path / "a.zarr", labels, ome_zarr="0.6")


def test_the_command_writes_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels, truth = small_volume()
    tifffile.imwrite("volume.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    for room in ("litesam.predictors", "litesam.predictors.base"):
        monkeypatch.setattr(f"{room}.load_predictor", lambda *args, **options: predictor())
    common = ["label", "volume.tif", "-o", "l.zarr", "--limits", "0", "255", "-q", "--overwrite"]
    for version, job in (("0.4", ["--link"]), ("0.4", []), ("0.5", ["--link"]), ("0.5", [])):
        assert main([*common, "--ome-zarr", version, *job]) == 0
        assert metadata_names(tmp_path / "l.zarr") == ZARR_FILES[version]
        got = np.asarray(read_label_image("l.zarr").array)
        np.testing.assert_array_equal(got > 0, truth > 0)
    assert main(["label", "volume.tif", "-o", "l.tif", "--ome-zarr", "0.4"]) == 2
    assert "goes with an output that ends with .ome.zarr" in capsys.readouterr().err
    for version in OME_VERSIONS:
        args = build_parser().parse_args([*common, "--ome-zarr", version])
        assert args.ome_zarr == version
