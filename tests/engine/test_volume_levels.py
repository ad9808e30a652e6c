"""Pyramids on disk: which level is labelled, and that its labels lie where the image does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from scipy import ndimage

import litesam
from engine.threshold_predictor import same_objects
from engine.volume_scenes import OPTIONS, balls, predictor, read_labels
from litesam.cli import main
from litesam.io import open_levels, read_image
from litesam.samples import sample_path
from litesam.volume import choose_level, tiling_for

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def write_pyramid(
    path: Path,
    image: npt.NDArray[Any],
    levels: int,
    scale: tuple[float, ...] | None = None,
    *,
    version: str = "0.5",
    axes: str = "zyx",
    halved: str = "yx",
) -> None:
    """An OME-Zarr whose levels are means of 2 (× 2 × 2) pixels, with the shift that means have."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets: list[dict[str, Any]] = []
    for level in range(levels):
        group.create_array(str(level), data=image)
        factor = [2**level if axis in halved else 1 for axis in axes]
        dataset: dict[str, Any] = {"path": str(level)}
        if scale is not None:
            steps = [s * f for s, f in zip(scale, factor, strict=True)]
            shift = [s * (f - 1) / 2 for s, f in zip(scale, factor, strict=True)]
            dataset["coordinateTransformations"] = [
                {"type": "scale", "scale": steps},
                {"type": "translation", "translation": shift},
            ]
        datasets.append(dataset)
        for place in (place for place, axis in enumerate(axes) if axis in halved):
            even = image.take(range(image.shape[place] // 2 * 2), axis=place)
            split = (*even.shape[:place], even.shape[place] // 2, 2, *even.shape[place + 1 :])
            image = even.reshape(split).mean(axis=place + 1).astype(image.dtype)
    entries: list[dict[str, str]] = [
        {"name": axis, "type": {"t": "time", "c": "channel"}.get(axis, "space")} for axis in axes
    ]
    for entry in entries:
        if scale is not None and entry["type"] == "space":
            entry["unit"] = "micrometer"
    multiscales = [{"version": version, "axes": entries, "datasets": datasets}]
    said = {"multiscales": multiscales}
    group.attrs.update(said if version == "0.4" else {"ome": {"version": "0.5", **said}})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("scale", [None, (1.0, 0.1, 0.1)])
def test_the_coarsest_level_of_full_resolution_is_chosen(
    tmp_path: Path, version: str, scale: tuple[float, ...] | None
) -> None:
    path = tmp_path / "a.zarr"
    write_pyramid(path, np.zeros((2, 320, 250), dtype=np.uint8), 4, scale, version=version)
    assert len(open_levels(path)) == 4
    for diameter, level in ((13, 0), (32, 0), (63, 0), (64, 1), (127, 1), (200, 2), (300, 3)):
        choice = choose_level(path, diameter)
        assert (choice.level, choice.levels) == (level, 4), diameter
        assert choice.diameter_px == pytest.approx(diameter / 2**level)
        assert diameter < 64 or tiling_for(choice.diameter_px).tile_px >= 512
    # networks with an input of 1024 px see twice as much
    assert [choose_level(path, d, "mobile_sam").level for d in (64, 127, 128, 256)] == [0, 0, 1, 2]
    choice = choose_level(path, 200)
    parts = choice.ranges([("Y", 10, 101), ("Z", 1, 2)])
    assert parts == {"Y": (2, 26), "Z": (1, 2)}  # none smaller than it was


def test_levels_with_fewer_slices_are_taken_where_objects_keep_enough(tmp_path: Path) -> None:
    volume = np.zeros((40, 64, 64), dtype=np.uint8)
    write_pyramid(tmp_path / "same.zarr", volume, 3, (0.1, 0.1, 0.1), halved="zyx")
    assert choose_level(tmp_path / "same.zarr", 128).level == 2  # 32 slices each
    write_pyramid(tmp_path / "thick.zarr", volume, 3, (0.5, 0.1, 0.1), halved="zyx")
    assert choose_level(tmp_path / "thick.zarr", 128).level == 1  # 13 slices each, then 6
    write_pyramid(tmp_path / "silent.zarr", volume, 3, halved="zyx")
    assert choose_level(tmp_path / "silent.zarr", 128).level == 0  # nobody knows how thick
    movie = np.zeros((4, 64, 64), dtype=np.uint8)
    write_pyramid(tmp_path / "t.zarr", movie, 3, (1, 0.1, 0.1), axes="tyx", halved="tyx")
    assert choose_level(tmp_path / "t.zarr", 128).level == 0  # time is never thinned out


def test_an_image_without_levels_is_level_0(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 40, 40), dtype=np.uint8))
    choice = choose_level(tmp_path / "a.npy", 200, axes="ZYX")
    assert (choice.level, choice.levels, choice.diameter_px) == (0, 1, 200)


def test_labels_lie_where_the_level_lies(tmp_path: Path) -> None:
    """Scale and translation are those of the level, also of a part, and true to the micrometre."""
    image, truth = balls((3, 320, 320), [(1, 100, 80), (1, 240, 260)], radius=40)
    write_pyramid(tmp_path / "image.zarr", image, 3, (2.0, 0.25, 0.25))
    out = tmp_path / "labels.zarr"
    ranges = {"Y": (12, 80), "Z": (1, 2)}
    options = {**OPTIONS, "level": 2, "ranges": ranges, "overwrite": True}
    litesam.label_volume(tmp_path / "image.zarr", out, predictor(), **options)
    back = read_image(out)
    assert back.scale == (2.0, 1.0, 1.0)
    assert back.translation == pytest.approx((2.0, 0.375 + 12.0, 0.375))
    got = read_labels(out)
    assert back.translation is not None
    for label in (1, 2):
        centre = np.argwhere(got[0] == label).mean(axis=0) + back.translation[1:]
        true = [np.argwhere(truth[1] == n).mean(axis=0) * 0.25 for n in (1, 2)]
        assert min(np.hypot(*(centre - one)) for one in true) < 0.15


# --------------------------------------------------------------------------------- with the network


@pytest.fixture(scope="module")
def embryo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nuclei of 13.6 px, magnified so that level 0 shows them with 218 px."""
    volume = np.asarray(read_image(sample_path("embryo")).array)[24:27]
    large = [ndimage.zoom(plane.astype(np.float32), 16, order=1) for plane in volume]
    path = tmp_path_factory.mktemp("pyramid") / "embryo.zarr"
    write_pyramid(path, np.stack(large).clip(0).astype(volume.dtype), 5, (1.0, 0.02, 0.02))
    return path


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[dict[str, Any], str]:
    assert main(["label", *argv, "--link", "--json", "-q"]) == 0
    said = capsys.readouterr()
    (result,) = json.loads(said.out)
    return result, said.err


def test_the_command_labels_the_level_for_a_diameter(
    embryo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "labels.zarr")
    result, words = run_json(capsys, str(embryo), "-o", out, "--object-diameter", "218")
    assert (result["level"], result["shape"]) == (2, [3, 480, 488])
    assert "Level 2 of 0–4 is labelled: objects of 218 px have 54.5 px there" in words
    image = read_image(out)
    assert image.scale == pytest.approx((1.0, 0.08, 0.08))
    assert image.translation == pytest.approx((0.0, 0.03, 0.03))
    # what is found in the volume as it was before it was magnified, is found here
    volume = np.asarray(read_image(sample_path("embryo")).array)[24:27]
    tiling = tiling_for(13.625)
    small = tmp_path / "small.zarr"
    options: dict[str, Any] = {"axes": "ZYX", "tiling": tiling, "canvas_px": tiling.tile_px}
    litesam.label_volume(volume, small, **options)
    before = np.kron(read_labels(small), np.ones((1, 4, 4), dtype=np.uint32))
    here = np.asarray(image.array)
    both, either = (before > 0) & (here > 0), (before > 0) | (here > 0)
    assert both.sum() / either.sum() > 0.6
    assert result["objects"] >= 4


def test_auto_finds_the_scale_of_the_objects_in_a_pyramid(
    embryo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In level 0 the network would see structure of its own size, 30 px, everywhere."""
    out = str(tmp_path / "labels.zarr")
    argv = [str(embryo), "-o", out, "--object-diameter", "auto", "--range", "z=0:2"]
    result, words = run_json(capsys, *argv, "--range", "y=100:1500")
    estimate = float(words.split("are about ")[1].split(" px")[0])
    assert 150 < estimate < 300
    assert (result["level"], result["shape"]) == (2, [2, 350, 488])
    assert read_image(out).translation == pytest.approx((0.0, 0.03 + 25 * 0.08, 0.03))


def test_a_level_that_is_named_is_labelled(
    embryo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pixels are those of diameter and ranges."""
    argv = ["-o", str(tmp_path / "l.zarr"), "--object-diameter", "13.6", "--level", "4"]
    result, words = run_json(capsys, str(embryo), *argv, "--range", "y=0:60")
    assert (result["level"], result["shape"]) == (4, [3, 60, 122])
    assert not words
    assert main(["label", str(embryo), *argv[:2], "--level", "auto"]) == 2
    assert "--level auto goes with --object-diameter" in capsys.readouterr().err
    assert main(["label", str(embryo), *argv[:2], "--level", "fine"]) == 2
    assert "write 0, 1 … or auto" in capsys.readouterr().err
    assert main(["label", str(embryo), "-o", str(tmp_path / "m.zarr"), "--level", "7"]) == 1
    assert "there is no level 7" in capsys.readouterr().err


def test_a_dry_run_is_of_the_level(embryo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["label", str(embryo), "-o", "l.zarr", "--object-diameter", "218", "--dry-run"]
    assert main([*argv, "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["level"], cost["shape"]) == (2, [3, 480, 488])


def test_both_versions_say_where_their_levels_lie(tmp_path: Path) -> None:
    image = np.zeros((1, 64, 64), dtype=np.uint8)
    for version in ("0.4", "0.5"):
        write_pyramid(tmp_path / "a.zarr", image, 3, (1.0, 0.5, 0.5), version=version)
        levels = open_levels(tmp_path / "a.zarr")
        assert [level.scale for level in levels] == [(1, f / 2, f / 2) for f in (1, 2, 4)]
        assert [level.translation for level in levels] == [
            (0, 0, 0),
            (0, 0.25, 0.25),
            (0, 0.75, 0.75),
        ]
    # a transformation of the whole image comes after that of a level
    attributes = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    said = attributes["attributes"]["ome"]["multiscales"][0]
    said["coordinateTransformations"] = [
        {"type": "scale", "scale": [1.0, 2.0, 2.0]},
        {"type": "translation", "translation": [5.0, 0.0, 1.0]},
    ]
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(attributes))
    level = open_levels(tmp_path / "a.zarr")[1]
    assert level.scale == (1.0, 2.0, 2.0)
    assert level.translation == (5.0, 0.5, 1.5)


def test_labels_of_balls_are_the_same_at_their_own_level(tmp_path: Path) -> None:
    image, truth = balls((3, 96, 80), [(1, 30, 30), (1, 70, 60)], radius=8)
    large = np.kron(image, np.ones((1, 2, 2), dtype=np.uint8))
    write_pyramid(tmp_path / "image.zarr", large, 2)
    litesam.label_volume(
        tmp_path / "image.zarr", tmp_path / "l.zarr", predictor(), **OPTIONS, level=1
    )
    assert same_objects(read_labels(tmp_path / "l.zarr").astype(np.int32), truth)
