"""The table of a volume's objects: where each is, how large, how sure the model is of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

import litesam
from engine.volume_scenes import (
    OPTIONS,
    ExactPredictor,
    files_of,
    predictor,
    read_labels,
    small_volume,
)
from litesam.cli import main
from litesam.errors import JobError, ReadError, WriteError
from litesam.types import LinkConfig
from litesam.volume import ThreadExecutor, VolumeObjects, read_objects

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from litesam.types import Embedding, Masks, PromptBatch


class DoubtfulPredictor(ExactPredictor):
    """Says of a mask what its brightness is: objects of grey 190 have a predicted IoU of 0.95."""

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        masks = super().decode(embedding, prompts, multimask=multimask)
        sure = masks.predicted_iou.copy()
        for place in np.ndindex(sure.shape):
            inside = embedding.features["image"][0][masks.logits[place] > 0]
            sure[place] = np.median(inside) / 200 if inside.size else 0.0
        return replace(masks, predicted_iou=sure)

    decode_windows = decode


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def label(source: Any, target: Path, model: Any = None, **options: Any) -> Any:
    return litesam.label_volume(
        source, target, model or predictor(), **{**OPTIONS, "axes": "ZYX", **options}
    )


def check(table: VolumeObjects, labels: npt.NDArray[Any]) -> None:
    """Every row is what the labels hold."""
    assert table.shape == labels.shape
    assert len(table) == labels.max()
    for number in range(1, len(table) + 1):
        places = np.argwhere(labels == number)
        row = number - 1
        assert table.voxels[row] == len(places)
        np.testing.assert_allclose(table.centroids[row], places.mean(axis=0))
        np.testing.assert_array_equal(table.first[row], places.min(axis=0))
        np.testing.assert_array_equal(table.last[row], places.max(axis=0))
        planes = {tuple(int(n) for n in place[:-2]) for place in places}
        assert table.slices[row] == len(planes)
        sections = table.sections(number)
        assert set(sections) == planes
        assert table.confidence[row] == pytest.approx(np.mean(list(sections.values())), abs=1e-6)
        assert table.lowest[row] == min(sections.values())
        assert sections[tuple(table.lowest_at[row].tolist())] == table.lowest[row]


@pytest.mark.parametrize(("block_px", "version"), [(4096, "0.5"), (64, "0.4")])
def test_the_table_says_what_the_labels_hold(tmp_path: Path, block_px: int, version: str) -> None:
    """Also of objects on seams of blocks, which are measured in parts."""
    out = tmp_path / "labels.zarr"
    result = label(small_volume()[0], out, block_px=block_px, ome_zarr=version)
    assert result.objects == 5
    check(read_objects(out), read_labels(out))
    assert (read_objects(out).confidence > 0).all()


def test_filled_slices_are_not_seen(tmp_path: Path) -> None:
    """They belong to the object, and count as not sure at all."""
    image, truth = small_volume()
    image[5, truth[5] == 2] = 20
    out = tmp_path / "labels.zarr"
    label(image, out, link=LinkConfig(max_gap=1))
    labels, table = read_labels(out), read_objects(out)
    check(table, labels)
    number = int(labels[4][truth[4] == 2].max())
    assert (labels[5] == number).any()
    assert table.sections(number)[5,] == 0
    assert table.worst_first[0] == number
    assert table.lowest_at[number - 1].tolist() == [5]


def test_the_least_sure_comes_first(tmp_path: Path) -> None:
    image, truth = small_volume()
    for number, grey in ((1, 190), (2, 150), (3, 170), (4, 180), (5, 160)):
        image[truth == number] = grey
    image[7, truth[7] == 3] = 150  # one slice of one object
    out = tmp_path / "labels.zarr"
    label(image, out, DoubtfulPredictor(), block_px=64)
    labels, table = read_labels(out), read_objects(out)
    check(table, labels)
    order = [int(truth[labels == number][0]) for number in table.worst_first]
    assert order[0] == 2
    assert order[-1] == 1
    third = int(labels[8][truth[8] == 3][0])
    assert table.lowest_at[third - 1].tolist() == [7]
    assert table.lowest[third - 1] == pytest.approx(0.75)


def test_of_time_series_and_planes(tmp_path: Path) -> None:
    image, _ = small_volume()
    movie = np.stack([image, np.roll(image, 1, axis=2)])
    for time_axis in ("volumes", "tracks"):
        out = tmp_path / f"{time_axis}.zarr"
        label(movie, out, axes="TZYX", time_axis=time_axis)
        check(read_objects(out), read_labels(out))
    assert len(read_objects(tmp_path / "volumes.zarr")) == 10
    assert len(read_objects(tmp_path / "tracks.zarr")) == 5
    out = tmp_path / "plane.zarr"
    label(image[5], out, axes="YX", link=None)
    check(read_objects(out), read_labels(out))
    label(image * 0, tmp_path / "empty.zarr", normalize=None)
    empty = read_objects(tmp_path / "empty.zarr")
    assert (len(empty), len(empty.worst_first)) == (0, 0)


def test_interrupted_damaged_and_by_others_it_is_the_same(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "image.zarr", data=small_volume()[0])
    whole = tmp_path / "whole.zarr"
    label(tmp_path / "image.zarr", whole, block_px=64)
    target = tmp_path / "labels.zarr"
    marks = tmp_path / "labels.zarr.job" / "done"

    def damage(progress: Any) -> None:
        if progress.message.startswith("3 of 12 planes measured"):
            for stage in ("label", "write"):
                (marks / stage / "0000" / "0000023.json").write_text('{"objec')

    with pytest.raises(JobError, match="will be done again"):
        label(tmp_path / "image.zarr", target, block_px=64, on_progress=damage)
    # The next run does that block again, and finds that the other was damaged, too.
    with pytest.raises(JobError, match="will be done again"):
        label(tmp_path / "image.zarr", target, block_px=64)
    result = label(tmp_path / "image.zarr", target, executor=ThreadExecutor(2), block_px=64)
    assert result.blocks_before == 47
    names = files_of(whole / "objects")
    assert names == files_of(target / "objects")
    assert "voxels/zarr.json" in names


def test_the_command_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a part of the image, in its pixels; TIFF labels have no other place for it."""
    monkeypatch.chdir(tmp_path)
    image, _ = small_volume()
    tifffile.imwrite("v.ome.tif", image, metadata={"axes": "ZYX"})
    for room in ("litesam.predictors", "litesam.predictors.base"):
        monkeypatch.setattr(f"{room}.load_predictor", lambda *args, **options: predictor())
    argv = ["label", "v.ome.tif", "-o", "l.tif", "--limits", "0", "255", "-q", "--link"]
    argv += ["--range", "z=1:11", "--range", "y=6:"]
    assert main([*argv, "--objects", "o.csv", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["objects"], result["table"]) == (5, "o.csv")
    labels = np.zeros(image.shape, dtype=np.int64)
    labels[1:11, 6:] = tifffile.imread("l.tif")
    with open("o.csv", newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["id"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        places = np.argwhere(labels == row["id"])
        assert row["voxels"] == len(places)
        assert row["slices"] == len(set(places[:, 0]))
        assert 0 < row["lowest"] <= row["confidence"] <= 1
        assert labels[int(row["lowest_z"])].astype(bool).any()
        for axis, letter in enumerate("zyx"):
            assert row[f"min_{letter}"] == places[:, axis].min()
            assert row[f"max_{letter}"] == places[:, axis].max()
            assert row[f"centroid_{letter}"] == pytest.approx(places[:, axis].mean(), abs=1e-3)
    assert main([*argv, "--objects", "o.csv"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*argv, "--objects", "o.csv", "--overwrite"]) == 0
    assert capsys.readouterr().out.endswith("o.csv\n")
    assert main([*argv, "--objects", "o.txt", "--overwrite"]) == 1
    assert "a CSV file" in capsys.readouterr().err


def test_what_has_no_table_is_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "other.zarr", data=np.zeros((2, 2)))
    for path in (tmp_path / "other.zarr", tmp_path / "nothing.zarr"):
        with pytest.raises(ReadError, match="holds no table of objects"):
            read_objects(path)
    with pytest.raises(WriteError, match="two tables"):
        label(
            small_volume()[0],
            tmp_path / "l.zarr",
            time_axis="tracks",
            tracks=tmp_path / "t.csv",
            objects=tmp_path / "t.csv",
        )
