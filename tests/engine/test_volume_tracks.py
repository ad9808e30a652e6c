"""Time: objects of planes and of volumes as tracks, with known truth; the table of tracks."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

import litesam
from engine.threshold_predictor import same_objects
from engine.volume_scenes import OPTIONS, balls, files_of, predictor, read_labels
from litesam.cli import main
from litesam.errors import Cancelled, ConfigError, ReadError, WriteError
from litesam.io import read_image
from litesam.merge import Objects, Overlaps, link_in_time
from litesam.types import LinkConfig
from litesam.volume import ThreadExecutor, measure_tracks, read_tracks

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def label(source: Any, target: Path, **options: Any) -> Any:
    return litesam.label_volume(
        source, target, predictor(), **{**OPTIONS, "time_axis": "tracks", **options}
    )


def rows_of(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


#: Centre at t = 0 and step of each ball: slow ones that overlap with themselves, and one that comes
#: to where another was.
STARTS = np.array([(4, 15, 15), (8, 50, 20), (5, 20, 70), (8, 75, 88)])
SLOW = np.array([(0, 2, 1), (0, -1, 2), (0, 1, -1), (-1, -1, -1)])
FAST = np.array([(0, 0, 11), (0, 0, 11), (0, 11, 0), (0, -11, 0)])


def movie(
    steps: npt.NDArray[Any], times: int = 4, missing: tuple[tuple[int, int], ...] = ()
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """TZYX image and labels of moving balls, without those of (time, ball) that are missing."""
    images, truths = [], []
    for time in range(times):
        centres = [tuple(int(n) for n in centre) for centre in STARTS + time * steps]
        image, truth = balls((13, 96, 96), centres, radius=4)  # type: ignore[arg-type]
        for when, ball in missing:
            if when == time:
                image[truth == ball], truth[truth == ball] = 20, 0
        images.append(image)
        truths.append(truth)
    return np.stack(images), np.stack(truths)


def check_rows(rows: list[dict[str, float]], labels: npt.NDArray[Any]) -> None:
    """Every row is the centroid and size of what has its number, and no row is missing."""
    axes = "tzyx"[-labels.ndim :] if labels.ndim == 4 else "tyx"
    seen = set()
    for row in rows:
        time, track = int(row["t"]), int(row["track_id"])
        places = np.argwhere(labels[time] == track)
        assert len(places) == row["area"]
        centre = [row[axis] for axis in axes[1:]]
        np.testing.assert_allclose(centre, places.mean(axis=0), atol=6e-4)
        seen.add((track, time))
    truth = {(int(n), t) for t, part in enumerate(labels) for n in np.unique(part) if n}
    assert seen == truth
    assert [(r["track_id"], r["t"]) for r in rows] == sorted((r["track_id"], r["t"]) for r in rows)


@pytest.mark.parametrize(("block_px", "times"), [(4096, 4), (64, 2)])
def test_volumes_are_linked_through_time(tmp_path: Path, block_px: int, times: int) -> None:
    image, truth = movie(SLOW, times)
    out, table = tmp_path / "labels.zarr", tmp_path / "tracks.csv"
    result = label(image, out, axes="TZYX", tracks=table, block_px=block_px)
    got = read_labels(out)
    assert (result.objects, result.tracks) == (4, table)
    assert same_objects(got.astype(np.int32), truth)
    rows = rows_of(table)
    assert table.read_text().splitlines()[0] == "track_id,t,z,y,x,area"
    assert len(rows) == 4 * times
    check_rows(rows, got)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.zarr", "tracks.csv"]


def test_volumes_that_jump_are_linked_by_their_centres(tmp_path: Path) -> None:
    """Steps of 11 px, diameters of 9: nothing overlaps with itself."""
    image, truth = movie(FAST)
    still = label(image, tmp_path / "still.zarr", axes="TZYX")
    assert still.objects == 16
    link = LinkConfig(max_shift_px=14)
    moving = label(image, tmp_path / "l.zarr", axes="TZYX", link=link)
    assert moving.objects == 4
    assert same_objects(read_labels(tmp_path / "l.zarr").astype(np.int32), truth)


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_who_is_missing_for_a_while_goes_on(tmp_path: Path, shift: float) -> None:
    image, truth = movie(np.zeros((4, 3), dtype=int), 5, ((1, 2), (3, 4), (4, 4)))
    table = tmp_path / "tracks.csv"
    link = LinkConfig(max_gap=1, max_shift_px=shift)
    label(image, tmp_path / "l.zarr", axes="TZYX", link=link, tracks=table)
    got = read_labels(tmp_path / "l.zarr")
    assert same_objects(got.astype(np.int32), truth)  # volumes in between are not made up
    check_rows(rows_of(table), got)
    ends = label(
        image, tmp_path / "no.zarr", axes="TZYX", link=LinkConfig(max_gap=0, max_shift_px=shift)
    )
    assert ends.objects == 5  # the second ball ends, and another begins


def test_slices_do_not_shift_where_volumes_do(tmp_path: Path) -> None:
    """Two objects in neighbouring slices, near but not above each other, stay two."""
    image = np.full((2, 4, 60, 60), 20, dtype=np.uint8)
    for time in range(2):
        image[time, :2, 10:18, 10 + 9 * time : 18 + 9 * time] = 200
        image[time, 2:, 24:32, 10 + 9 * time : 18 + 9 * time] = 200
    result = label(image, tmp_path / "l.zarr", axes="TZYX", link=LinkConfig(max_shift_px=18))
    assert result.objects == 2


def test_planes_in_time_have_a_table_of_the_image(tmp_path: Path) -> None:
    """Of a part of a movie: positions are those of the image."""
    image, truth = movie(SLOW)
    flat, flat_truth = image.max(axis=1), truth.max(axis=1)
    table = tmp_path / "t.csv"
    ranges = {"T": (1, 4), "Y": (4, None)}
    label(flat, tmp_path / "l.tif", axes="TYX", ranges=ranges, tracks=table)
    got = np.zeros_like(flat_truth)
    got[1:, 4:] = np.asarray(read_image(tmp_path / "l.tif").array)
    assert same_objects(got[1:, 4:], flat_truth[1:, 4:])
    rows = rows_of(table)
    assert set(rows[0]) == {"track_id", "t", "y", "x", "area"}
    assert {row["t"] for row in rows} == {1, 2, 3}
    check_rows(rows, got)


def test_an_interrupted_job_has_the_same_tracks(tmp_path: Path) -> None:
    image, _ = movie(FAST, 3)
    zarr.create_array(tmp_path / "image.zarr", data=image)
    source = tmp_path / "image.zarr"
    options: dict[str, Any] = {"axes": "TZYX", "link": LinkConfig(max_shift_px=14)}
    label(source, tmp_path / "labels.zarr", tracks=tmp_path / "whole.csv", **options)
    (tmp_path / "killed").mkdir()
    target, table = tmp_path / "killed" / "labels.zarr", tmp_path / "tracks.csv"
    for when in ("7 of 39 labelled", "1 of 3 points in time", "20 of 39 written"):
        seen: list[str] = []
        with pytest.raises(Cancelled):
            label(
                source,
                target,
                tracks=table,
                on_progress=lambda p, seen=seen: seen.append(p.message),
                cancelled=lambda seen=seen, when=when: any(when in text for text in seen),
                **options,
            )
        assert not table.exists()
    result = label(source, target, tracks=table, executor=ThreadExecutor(2), **options)
    assert result.blocks_before == 39
    assert files_of(target) == files_of(tmp_path / "labels.zarr")
    assert table.read_text() == (tmp_path / "whole.csv").read_text()


def test_a_run_that_could_not_put_its_labels_in_place_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is there already, and no reason to refuse."""
    from pathlib import Path as AnyPath

    image, _ = movie(SLOW, 2)
    table, target = tmp_path / "tracks.csv", tmp_path / "l.zarr"
    rename = AnyPath.rename

    def refuse(path: Path, to: Path) -> Path:
        if to == target:
            raise OSError(28, "No space left on device")
        return rename(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(AnyPath, "rename", refuse)
        with pytest.raises(WriteError, match="safe in"):
            label(image, target, axes="TZYX", tracks=table)
    assert table.exists()
    assert not target.exists()
    assert label(image, target, axes="TZYX", tracks=table).objects == 4
    with pytest.raises(WriteError, match="exists already"):
        label(image, tmp_path / "other.zarr", axes="TZYX", tracks=table)


def test_napari_takes_the_table(tmp_path: Path) -> None:
    from napari.layers import Tracks as TracksLayer

    _, truth = movie(SLOW)
    tracks = measure_tracks(truth, "TZYX")
    layer = TracksLayer(tracks.data, features={"area": tracks.areas})
    assert layer.data.shape == (16, 5)
    np.testing.assert_array_equal(layer.data, tracks.data)
    (tmp_path / "t.csv").write_text(tracks.to_csv())
    table = np.genfromtxt(tmp_path / "t.csv", delimiter=",", names=True)
    assert table.dtype.names == ("track_id", "t", "z", "y", "x", "area")
    np.testing.assert_allclose(table["x"], tracks.data[:, 4], atol=6e-4)
    empty = measure_tracks(truth * 0, "TZYX")
    assert (empty.data.shape, empty.areas.shape) == ((0, 5), (0,))
    with pytest.raises(ConfigError, match="TYX or TZYX, not ZYX"):
        measure_tracks(truth[0], "ZYX")


class Watched:
    """Labels that know how much of them was read at once."""

    def __init__(self, labels: npt.NDArray[Any]) -> None:
        self.labels, self.shape, self.largest = labels, labels.shape, 0

    def __getitem__(self, where: Any) -> npt.NDArray[Any]:
        part: npt.NDArray[Any] = self.labels[where]
        self.largest = max(self.largest, part.size)
        return part


def test_tracks_are_measured_by_parts_with_progress_and_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, truth = movie(SLOW)
    whole = measure_tracks(truth, "TZYX")
    monkeypatch.setattr("litesam.volume.tracks._ROWS", 40)
    watched, seen = Watched(truth), []
    parts = measure_tracks(watched, "TZYX", on_progress=seen.append)
    assert watched.largest == 40 * 96
    np.testing.assert_array_equal(parts.data, whole.data)
    np.testing.assert_array_equal(parts.areas, whole.areas)
    assert [(one.done, one.total) for one in seen] == [(n, 4) for n in range(1, 5)]
    seen.clear()
    with pytest.raises(Cancelled, match="up to t = 2 of 4"):
        measure_tracks(truth, "TZYX", on_progress=seen.append, cancelled=lambda: len(seen) == 2)


def test_labels_without_tracks_have_no_table_of_them(tmp_path: Path) -> None:
    image, _ = movie(SLOW, 2)
    label(image, tmp_path / "l.zarr", axes="TZYX", time_axis="volumes")
    with pytest.raises(ReadError, match="holds no table of tracks"):
        read_tracks(tmp_path / "l.zarr")


def test_crowded_objects_are_linked_by_the_largest_sum() -> None:
    """Each stands where its neighbour was; all move by the same step. Another size is another."""
    none = Overlaps(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    x = np.array([np.nan, 0.0, 10.0, 20.0, 30.0])
    centres = np.stack([x * 0, x * 0, x], axis=1)
    areas = np.array([0, 100, 100, 100, 100])
    first = Objects(areas, centres, [])
    second = Objects(areas, centres + np.array([0, 0, 6]), [none])
    link = LinkConfig(max_shift_px=9)
    tracks, count = link_in_time([first, second], link)
    assert [list(part) for part in tracks] == [[0, 1, 2, 3, 4]] * 2
    assert count == 4
    grown = Objects(np.array([0, 100, 100, 100, 30]), centres, [none])
    tracks, count = link_in_time([first, grown], link)
    assert list(tracks[1]) == [0, 1, 2, 3, 5]
    assert count == 5


def test_the_command_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image, truth = movie(SLOW)
    tifffile.imwrite("movie.ome.tif", image, metadata={"axes": "TZYX"})
    for room in ("litesam.predictors", "litesam.predictors.base"):
        monkeypatch.setattr(f"{room}.load_predictor", lambda *args, **options: predictor())
    argv = ["label", "movie.ome.tif", "-o", "l.zarr", "--limits", "0", "255", "-q"]
    assert main([*argv, "--link", "--tracks", "t.csv", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["objects"], result["tracks"]) == (4, "t.csv")
    assert same_objects(read_labels(tmp_path / "l.zarr").astype(np.int32), truth)
    check_rows(rows_of(tmp_path / "t.csv"), read_labels(tmp_path / "l.zarr"))
    assert main([*argv, "--link", "--tracks", "t.csv", "--overwrite"]) == 0
    assert capsys.readouterr().out.endswith("t.csv\n")
    for more, message in (
        (["--tracks", "t.csv"], "--tracks goes with --link"),
        (["--link", "--time", "volumes", "--tracks", "t.csv"], "goes with --time tracks"),
    ):
        assert main([*argv, *more, "--overwrite"]) == 2
        assert message in capsys.readouterr().err
    for more, message in (
        (["--link", "--tracks", "t.txt"], "a CSV file"),
        (["--link", "--tracks", "u.csv", "--axes", "CZYX", "--channel", "0"], "TYX or TZYX"),
    ):
        assert main([*argv, *more, "--overwrite"]) == 1
        assert message in capsys.readouterr().err


def test_a_table_without_tracks_is_refused(tmp_path: Path) -> None:
    image, _ = movie(SLOW, 2)
    for options in ({"time_axis": "volumes"}, {"link": None}):
        with pytest.raises(ConfigError, match="goes with links and"):
            label(image, tmp_path / "l.zarr", axes="TZYX", tracks=tmp_path / "t.csv", **options)
    assert list(tmp_path.iterdir()) == []
