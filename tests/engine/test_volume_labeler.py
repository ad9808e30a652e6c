"""Volumes on disk: the result, what is said, and what is refused before the work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

import litesam
from engine.threshold_predictor import same_objects
from engine.volume_scenes import (
    OPTIONS,
    ExactPredictor,
    balls,
    files_of,
    predictor,
    read_labels,
    small_volume,
)
from litesam.errors import (
    Cancelled,
    ConfigError,
    ImageError,
    JobError,
    ReadError,
    UnknownModelError,
    WriteError,
)
from litesam.io import read_image
from litesam.preprocess import to_rgb
from litesam.samples import sample_path
from litesam.types import LinkConfig, Progress
from litesam.volume import InlineExecutor, ThreadExecutor, VolumeResult
from litesam.volume.canvas import off_canvas, on_canvas

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def label(source: Any, target: Path, **options: Any) -> VolumeResult:
    return litesam.label_volume(source, target, predictor(), **{**OPTIONS, **options})


def test_balls_of_a_volume_are_one_object_each(tmp_path: Path) -> None:
    image, truth = small_volume()
    result = label(image, tmp_path / "labels.ome.zarr", axes="ZYX")
    got = read_labels(result.path)
    assert result.objects == 5
    assert got.dtype == np.uint32
    assert same_objects(got.astype(np.int32), truth)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.ome.zarr"]


def test_without_links_no_number_is_used_twice(tmp_path: Path) -> None:
    image, truth = small_volume()
    label(image, tmp_path / "labels.zarr", axes="ZYX", link=None)
    got = read_labels(tmp_path / "labels.zarr")
    seen: set[int] = set()
    for plane, true in zip(got, truth, strict=True):
        here = set(np.unique(plane)) - {0}
        assert not here & seen
        assert same_objects(plane.astype(np.int32), true)
        seen |= here
    assert seen == set(range(1, len(seen) + 1))


def test_missing_slices_are_bridged(tmp_path: Path) -> None:
    image, truth = balls((9, 48, 48), [(4, 24, 24)], radius=4)
    image[4] = 20
    label(image, tmp_path / "labels.zarr", axes="ZYX", link=LinkConfig(max_gap=1))
    got = read_labels(tmp_path / "labels.zarr")
    assert set(np.unique(got)) == {0, 1}
    np.testing.assert_array_equal(got[4] > 0, truth[3] > 0)  # both neighbours are equal


def test_metadata_of_an_ome_zarr_are_kept_and_the_pyramid_is_there(tmp_path: Path) -> None:
    image, _ = balls((2, 1100, 1040), [(0, 50, 60), (1, 1000, 900)], radius=9)
    _write_ome_zarr(tmp_path / "image.zarr", image, "zyx", (2.0, 0.5, 0.5), 3)
    label(tmp_path / "image.zarr", tmp_path / "labels.ome.zarr", ranges={"Z": (1, 2)})
    group = zarr.open_group(tmp_path / "labels.ome.zarr", mode="r")
    ome: Any = dict(group.attrs)["ome"]
    assert [entry["path"] for entry in ome["multiscales"][0]["datasets"]] == ["0", "1"]
    assert group["1"].shape == (1, 550, 520)
    np.testing.assert_array_equal(group["1"][0], group["0"][0][::2, ::2])
    first, second = (
        entry["coordinateTransformations"] for entry in ome["multiscales"][0]["datasets"]
    )
    assert first[0]["scale"] == [2.0, 0.5, 0.5]
    assert first[1]["translation"] == [2.0, 0.0, 0.0]
    assert second[0]["scale"] == [2.0, 1.0, 1.0]
    back = read_image(tmp_path / "labels.ome.zarr")
    assert (back.axes, back.scale, back.unit) == ("ZYX", (2.0, 0.5, 0.5), "micrometer")


def test_labels_can_be_tiff(tmp_path: Path) -> None:
    image, truth = small_volume()
    metadata = {"axes": "ZYX", "spacing": 3.0, "unit": "um"}
    tifffile.imwrite(
        tmp_path / "image.tif", image, imagej=True, resolution=(2, 2), metadata=metadata
    )
    label(tmp_path / "image.tif", tmp_path / "labels.tif")
    back = read_image(tmp_path / "labels.tif")
    assert same_objects(back.array.astype(np.int32), truth)
    assert (back.axes, back.scale, back.unit) == ("ZYX", (3.0, 0.5, 0.5), "micrometer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif"]


def test_sources_on_disk_give_the_same_labels(tmp_path: Path) -> None:
    image, truth = small_volume()
    folder = tmp_path / "slices"
    folder.mkdir()
    for number, plane in enumerate(image):
        tifffile.imwrite(folder / f"slice{number}.tif", plane)  # 10 comes after 9
    np.save(tmp_path / "image.npy", image)
    tifffile.imwrite(tmp_path / "image.ome.tif", image, metadata={"axes": "ZYX"})
    tifffile.imwrite(
        tmp_path / "big.tif", image, bigtiff=True, compression="zlib", metadata={"axes": "ZYX"}
    )
    _write_ome_zarr(tmp_path / "old.ome.zarr", image, "zyx", (1, 1, 1), 2)
    _write_ome_zarr(tmp_path / "new.ome.zarr", image, "zyx", (1, 1, 1), 3)
    zarr.create_array(tmp_path / "plain.zarr", data=image)
    names = ["slices", "image.npy", "image.ome.tif", "big.tif"]
    for name in [*names, "old.ome.zarr", "new.ome.zarr", "plain.zarr"]:
        label(tmp_path / name, tmp_path / "out.zarr", axes="ZYX", link=None, overwrite=True)
        got = read_labels(tmp_path / "out.zarr")
        np.testing.assert_array_equal(got > 0, truth > 0, err_msg=name)


def test_channel_and_part_of_an_image(tmp_path: Path) -> None:
    image, truth = small_volume()
    both = np.stack([image.max() - image, image], axis=1)  # ZCYX
    ranges = {"Z": (2, 7), "Y": (None, 64), "x": (8, None)}
    label(both, tmp_path / "out.zarr", axes="ZCYX", channel=1, ranges=ranges)
    got = read_labels(tmp_path / "out.zarr")
    assert same_objects(got.astype(np.int32), truth[2:7, :64, 8:])


def test_time_is_independent_volumes_or_tracks(tmp_path: Path) -> None:
    image, _ = small_volume()
    label(np.stack([image, image]), tmp_path / "tzyx.zarr", axes="TZYX")
    first, second = read_labels(tmp_path / "tzyx.zarr")
    np.testing.assert_array_equal(first > 0, second > 0)
    assert set(np.unique(first)) == set(range(6))
    assert set(np.unique(second)) == {0, *range(6, 11)}
    label(image, tmp_path / "tracks.zarr", axes="TYX", time_axis="tracks")
    np.testing.assert_array_equal(read_labels(tmp_path / "tracks.zarr"), first)
    unlinked = label(image, tmp_path / "tyx.zarr", axes="TYX")
    assert unlinked.objects > 5
    # time comes first in the labels, wherever it stands in the image
    swapped = np.stack([image, image], axis=1)
    label(swapped, tmp_path / "ztyx.zarr", axes="ZTYX")
    np.testing.assert_array_equal(read_labels(tmp_path / "ztyx.zarr")[0], first)


def test_one_contrast_for_all_planes(tmp_path: Path) -> None:
    image, truth = small_volume()
    dim = (image.astype(np.uint16) * 10) + 500
    dim[6:] = 700  # nothing but noise-free ground: must stay dark, not be stretched
    options = {**OPTIONS, "normalize": None}
    litesam.label_volume(dim, tmp_path / "out.zarr", predictor(), axes="ZYX", **options)
    got = read_labels(tmp_path / "out.zarr")
    assert same_objects(got[:6].astype(np.int32), truth[:6])
    assert not got[6:].any()


def test_an_image_without_contrast_has_no_objects(tmp_path: Path) -> None:
    image = np.full((3, 40, 40), 7, dtype=np.uint16)
    options = {**OPTIONS, "normalize": None}
    result = litesam.label_volume(image, tmp_path / "out.zarr", predictor(), axes="ZYX", **options)
    assert result.objects == 0
    assert not read_labels(tmp_path / "out.zarr").any()


def test_bundled_model_in_colour(tmp_path: Path) -> None:
    colour = read_image(sample_path("tissue")).array[:256, :256]
    result = litesam.label_volume(colour, tmp_path / "out.zarr", axes="YXC")
    labels, records = litesam.segment_everything(colour, axes="YXC")
    assert (result.axes, result.objects) == ("YX", len(records))
    np.testing.assert_array_equal(read_labels(tmp_path / "out.zarr"), labels)


def test_progress_says_what_is_done_and_goes_to_the_end(tmp_path: Path) -> None:
    image, _ = small_volume()
    seen: list[Progress] = []
    label(image, tmp_path / "out.zarr", axes="ZYX", on_progress=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total
    for what in ("labelled", "planes compared", "planes linked", "written", "planes measured"):
        stage = [p.message for p in seen if what in p.message]
        assert any(f"3 of 12 {what}" in text and "left" in text for text in stage)
        assert stage[-1] == f"12 of 12 {what}"


@pytest.mark.parametrize(
    "executor", [InlineExecutor(), ThreadExecutor(2)], ids=["inline", "threads"]
)
def test_cancelled_work_goes_on(tmp_path: Path, executor: Any) -> None:
    image, _ = small_volume()
    done: list[Progress] = []
    target = tmp_path / "out.zarr"
    with pytest.raises(Cancelled, match=r"of 12 blocks; what is finished is kept"):
        label(
            image,
            target,
            axes="ZYX",
            executor=executor,
            on_progress=done.append,
            cancelled=lambda: len(done) > 4,
        )
    assert not target.exists()
    result = label(image, target, axes="ZYX")
    assert result.blocks_before >= 4
    label(image, tmp_path / "other.zarr", axes="ZYX")
    mine, other = files_of(target), files_of(tmp_path / "other.zarr")
    assert mine.pop("zarr.json") != other.pop("zarr.json")  # the name
    assert mine == other


class SlowPredictor(ExactPredictor):
    """Takes its time, so that something can happen meanwhile."""

    def encode(self, rgb: Any, origin_yx: tuple[int, int] = (0, 0)) -> Any:
        time.sleep(0.05)
        return super().encode(rgb, origin_yx)


@pytest.mark.parametrize(
    "executor", [InlineExecutor(), ThreadExecutor(1)], ids=["inline", "threads"]
)
def test_a_large_block_is_cancelled_in_its_middle(tmp_path: Path, executor: Any) -> None:
    """One block of more than thirty tiles; nobody waits for the rest of them."""
    model = SlowPredictor()
    image = np.tile(small_volume()[0][5], (7, 8))
    with pytest.raises(Cancelled, match="0 of 1 blocks"):
        litesam.label_volume(
            image,
            tmp_path / "out.zarr",
            model,
            executor,
            axes="YX",
            cancelled=lambda: model.encoded >= 3,
            **OPTIONS,
        )
    assert model.encoded < 12


@pytest.mark.parametrize(
    "executor", [InlineExecutor(), ThreadExecutor(1)], ids=["inline", "threads"]
)
def test_ctrl_c_does_not_wait_for_the_end_of_a_large_block(tmp_path: Path, executor: Any) -> None:
    model = SlowPredictor()
    image = np.tile(small_volume()[0][5], (7, 8))

    def interrupted() -> bool:
        if model.encoded >= 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        litesam.label_volume(
            image,
            tmp_path / "out.zarr",
            model,
            executor,
            axes="YX",
            cancelled=interrupted,
            **OPTIONS,
        )
    assert model.encoded < 12


def test_a_job_is_only_continued_with_what_it_was_begun_with(tmp_path: Path) -> None:
    image, _ = small_volume()
    target = tmp_path / "out.zarr"
    with pytest.raises(Cancelled):
        label(image, target, axes="ZYX", cancelled=lambda: True)
    with pytest.raises(JobError, match=r"link.max_gap: 1, now 3.*restart"):
        label(image, target, axes="ZYX", link=LinkConfig(max_gap=3))
    other = image.copy()
    other[3] = 90
    with pytest.raises(JobError, match="fingerprint"):
        label(other, target, axes="ZYX")
    result = label(other, target, axes="ZYX", restart=True)
    assert result.blocks_before == 0


def test_what_does_not_fit_is_refused_before_the_work(tmp_path: Path) -> None:
    image, _ = small_volume()
    target = tmp_path / "out.zarr"
    with pytest.raises(ConfigError, match="TYX"):
        label(image, target, axes="ZYX", time_axis="tracks")
    with pytest.raises(ConfigError, match=r"range 5:5 of axis Z is empty"):
        label(image, target, axes="ZYX", ranges={"z": (5, 5)})
    with pytest.raises(ConfigError, match="no axis T"):
        label(image, target, axes="ZYX", ranges={"T": (0, 1)})
    with pytest.raises(ImageError, match="channels is needed"):
        label(np.stack([image, image]), target, axes="CZYX")
    with pytest.raises(ImageError, match="axes"):
        label(image, target, axes="QYX")
    with pytest.raises(ConfigError, match="multiple of 32"):
        label(image, target, axes="ZYX", block_px=50)
    with pytest.raises(UnknownModelError):
        litesam.label_volume(image, target, "no_such_model", axes="ZYX")
    with pytest.raises(ReadError, match="does not exist"):
        label(tmp_path / "missing.tif", target)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="holds no images"):
        label(tmp_path / "empty", target)
    with pytest.raises(WriteError, match="ending"):
        label(image, tmp_path / "out.png", axes="ZYX")
    assert not target.exists()
    assert not (tmp_path / "out.zarr.job").exists()


def test_an_output_is_replaced_only_when_asked(tmp_path: Path) -> None:
    image, _ = small_volume()
    target = tmp_path / "out.zarr"
    label(image, target, axes="ZYX")
    before = files_of(target)
    with pytest.raises(WriteError, match="exists already"):
        label(image, target, axes="ZYX")
    label(image, target, axes="ZYX", overwrite=True, link=None)
    assert files_of(target) != before
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


def _write_ome_zarr(
    path: Path, image: Any, axes: str, scale: tuple[float, ...], version: int
) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=version)  # type: ignore[arg-type]
    chunks = (1,) * (image.ndim - 2) + tuple(min(64, n) for n in image.shape[-2:])
    array = group.create_array("0", shape=image.shape, chunks=chunks, dtype=image.dtype)
    array[...] = image
    entries = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in axes]
    datasets = [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}
    ]
    multiscales = [{"version": "0.4", "axes": entries, "datasets": datasets}]
    if version == 2:
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}


def test_a_canvas_is_as_large_as_asked_and_cut_off_again(tmp_path: Path) -> None:
    """Only what lies in the plane is kept."""
    volume = read_image(sample_path("embryo")).array[20:21]
    done = litesam.label_volume(volume, tmp_path / "l.zarr", axes="ZYX", canvas_px=320)
    assert done.shape == (1, 120, 122)
    assert set(np.unique(read_labels(done.path))) == set(range(done.objects + 1))
    plane = to_rgb(volume[0])
    larger = on_canvas(plane, 192)
    assert larger.shape_yx == (192, 192)
    np.testing.assert_array_equal(larger.rgb[:120, :122], plane.rgb)
    assert (larger.rgb[150, 150] == np.median(plane.rgb)).all()
    assert on_canvas(plane, 122) is plane
    labels = np.array([[0, 3, 3], [5, 5, 1], [1, 1, 1]], dtype=np.int32)
    np.testing.assert_array_equal(off_canvas(labels, (2, 2))[0], [[0, 1], [2, 2]])
    np.testing.assert_array_equal(off_canvas(labels + 1, (1, 2))[0], [[1, 2]])
    assert off_canvas(labels, (3, 3))[0] is labels


def test_objects_that_move_are_linked_by_their_pixels(tmp_path: Path) -> None:
    """Tracks of a disc that jumps further than its own width."""
    image = np.full((5, 60, 90), 20, dtype=np.uint8)
    for t in range(5):
        image[t, 20:28, 5 + 16 * t : 13 + 16 * t] = 200
    options = {"axes": "TYX", "time_axis": "tracks"}
    still = label(image, tmp_path / "still.zarr", **options)
    moving = label(image, tmp_path / "moving.zarr", link=LinkConfig(max_shift_px=20), **options)
    assert (still.objects, moving.objects) == (5, 1)


def test_others_read_what_is_written(tmp_path: Path) -> None:
    """The reader of ome-zarr finds levels, scale and translation."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    image, _ = balls((2, 1100, 1040), [(0, 50, 60), (1, 1000, 900)], radius=9)
    _write_ome_zarr(tmp_path / "image.zarr", image, "zyx", (2.0, 0.5, 0.5), 3)
    label(tmp_path / "image.zarr", tmp_path / "labels.ome.zarr", ranges={"Z": (1, 2)})
    (node, *_) = list(Reader(parse_url(tmp_path / "labels.ome.zarr"))())
    assert [level.shape for level in node.data] == [(1, 1100, 1040), (1, 550, 520)]
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 3
    scale, translation = node.metadata["coordinateTransformations"][1]
    assert scale["scale"] == [2.0, 1.0, 1.0]
    assert translation["translation"] == [2.0, 0.0, 0.0]
