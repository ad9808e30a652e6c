"""``litesam label``: from files to files, with a predictor whose results are known in advance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import litesam.predictors
from engine.threshold_predictor import ThresholdPredictor
from litesam.cli import main
from litesam.io import read_image, read_labels

#: Squares on a dark ground, (y, x) of their centres.
CENTRES = ((20, 20), (20, 60), (60, 40))


def _plane(centres: tuple[tuple[int, int], ...] = CENTRES) -> np.ndarray:
    plane = np.full((90, 100), 10, dtype=np.uint8)
    for y, x in centres:
        plane[y - 8 : y + 8, x - 8 : x + 8] = 230
    return plane


def _stack() -> np.ndarray:
    return np.stack([_plane(CENTRES[:count]) for count in (1, 3, 0, 0, 2)])


@pytest.fixture(autouse=True)
def predictor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ThresholdPredictor:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: predictor)
    monkeypatch.chdir(tmp_path)
    return predictor


def _run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main([*argv, "--json"]) == 0
    results: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return results


def test_one_image_with_overlay(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    assert main(["label", "cells.tif", "-o", "labels.tif", "--overlay"]) == 0
    out = capsys.readouterr().out
    assert "labels.tif: 3 objects" in out
    labels = np.asarray(read_labels("labels.tif").array)
    assert (labels > 0).sum() == (_plane() > 127).sum()
    assert len({labels[centre] for centre in CENTRES} - {0}) == 3
    with Image.open("labels_overlay.png") as picture:
        assert picture.width >= 100
    assert sorted(path.name for path in Path().iterdir()) == [
        "cells.tif",
        "labels.tif",
        "labels_overlay.png",
    ]


def test_stack_numbers_are_not_used_twice(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("stack.tif", _stack(), metadata={"axes": "ZYX"})
    (result,) = _run_json(capsys, "label", "stack.tif", "-o", "labels.tif")
    assert result["objects"] == 6
    assert (result["planes"], result["axes"], result["shape"]) == (5, "ZYX", [5, 90, 100])
    image = read_labels("labels.tif")
    assert image.axes == "ZYX"
    per_plane = [set(np.unique(plane)) - {0} for plane in image.array]
    assert [len(labels) for labels in per_plane] == [1, 3, 0, 0, 2]
    assert set.union(*per_plane) == set(range(1, 7))


def test_empty_slice_of_a_stack_is_not_stretched_to_noise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stack = _stack()
    stack[2, ::7, ::7] = 14  # faint; stretched by itself it would be bright
    tifffile.imwrite("stack.tif", stack, metadata={"axes": "ZYX"})
    (result,) = _run_json(capsys, "label", "stack.tif", "-o", "a.tif")
    assert result["objects"] == 6
    (result,) = _run_json(capsys, "label", "stack.tif", "-o", "b.tif", "--per-plane")
    assert result["objects"] > 100
    (result,) = _run_json(capsys, "label", "stack.tif", "-o", "c.tif", "--limits", "0", "255")
    assert result["objects"] == 6


def test_time_series_of_channels_keeps_axes_and_scale(capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((2, 5, 2, 90, 100), dtype=np.uint8)
    image[:, :, 1] = _stack()
    metadata = {"axes": "TZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite("movie.ome.tif", image, metadata=metadata)
    (result,) = _run_json(capsys, "label", "movie.ome.tif", "-o", "m.ome.zarr", "--channel", "1")
    assert (result["axes"], result["objects"], result["planes"]) == ("TZYX", 12, 10)
    labels = read_labels("m.ome.zarr")
    assert (labels.axes, labels.scale) == ("TZYX", (1.0, 2.0, 0.5, 0.5))
    back = read_image("m.ome.zarr")
    assert back.axes == "TCZYX"
    np.testing.assert_array_equal(np.asarray(back.array), image.transpose(0, 2, 1, 3, 4))


def test_one_plane_of_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("stack.npy", _stack())
    (result,) = _run_json(capsys, "label", "stack.npy", "-o", "z.png", "--index", "-1")
    assert (result["axes"], result["objects"]) == ("YX", 2)
    (result,) = _run_json(capsys, "label", "stack.npy", "-o", "z.ome.zarr", "--index", "1")
    assert result["objects"] == 3
    np.testing.assert_array_equal(np.asarray(read_image("z.ome.zarr").array), _stack()[1])


def test_stack_of_one_plane_counts_as_a_plane(capsys: pytest.CaptureFixture[str]) -> None:
    group = zarr.open_group("one.ome.zarr", mode="w")
    array = group.create_array("0", shape=(1, 1, 1, 90, 100), dtype="uint8")
    array[0, 0, 0] = _plane()
    axes = [{"name": name} for name in "tczyx"]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}],
    }
    (result,) = _run_json(capsys, "label", "one.ome.zarr", "-o", "labels.png")
    assert (result["axes"], result["objects"]) == ("YX", 3)


def test_colour_image_to_ome_zarr(capsys: pytest.CaptureFixture[str]) -> None:
    rgb = np.repeat(_plane()[..., None], 3, axis=2)
    Image.fromarray(rgb).save("tissue.png")
    (result,) = _run_json(capsys, "label", "tissue.png", "-o", "tissue.ome.zarr")
    assert result["objects"] == 3
    assert read_labels("tissue.ome.zarr").axes == "YX"
    assert read_image("tissue.ome.zarr").axes == "CYX"


def test_several_images_into_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(name, _plane())
    argv = ["label", "a.tif", "b.tif", "-o", "results", "--format", "ome.zarr", "--overlay"]
    assert [result["objects"] for result in _run_json(capsys, *argv)] == [3, 3]
    assert sorted(path.name for path in Path("results").iterdir()) == [
        "a_labels.ome.zarr",
        "a_overlay.png",
        "b_labels.ome.zarr",
        "b_overlay.png",
    ]


def test_a_damaged_image_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("b.tif", _plane())
    Path("a.tif").touch()
    assert main(["label", "a.tif", "b.tif", "-o", "results", "--json"]) == 1
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert "is empty" in first["error"]
    assert second["objects"] == 3
    assert "a.tif is empty" in captured.err
    assert [path.name for path in Path("results").iterdir()] == ["b_labels.tif"]


# --------------------------------------------------------------------------------------- prompts


def test_prompts_make_objects_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    Path("p.csv").write_text("kind,y,x,y0,x0,y1,x1\npoint,60,40\nbox,,,10,10,30,30\n")
    (result,) = _run_json(capsys, "label", "cells.tif", "-o", "l.tif", "--prompts", "p.csv")
    assert result["objects"] == 2
    labels = np.asarray(read_labels("l.tif").array)
    assert [labels[centre] for centre in CENTRES] == [2, 0, 1]


def test_prompts_on_planes_of_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("stack.tif", _stack(), metadata={"axes": "ZYX"})
    Path("p.csv").write_text("z,y,x\n4,20,20\n1,60,40\n1,20,60\n")
    (result,) = _run_json(capsys, "label", "stack.tif", "-o", "l.tif", "--prompts", "p.csv")
    assert result["objects"] == 3
    labels = np.asarray(read_labels("l.tif").array)
    assert (labels[1, 60, 40], labels[1, 20, 60], labels[4, 20, 20]) == (1, 2, 3)
    assert not labels[0].any()
    argv = ("label", "stack.tif", "-o", "one.tif", "--prompts", "p.csv", "--index", "4")
    (result,) = _run_json(capsys, *argv)
    assert result["objects"] == 1


@pytest.mark.parametrize(
    ("csv", "options", "message"),
    [
        ("y,x\n1,1\n", [], "needs the column z"),
        ("z,y,x\n9,1,1\n", [], "no plane 9; the stack has 5 planes"),
        ("z,y,x\n1,20,20\n", ["--index", "2"], "no prompts for the plane"),
        ("z,y,x\n1,20,20\n1,200,20\n", [], "object number 2 of plane 1: Point .*outside"),
        ("z,y,x\n1,20\n", [], "line 2: x is ''"),
    ],
)
def test_wrong_prompts(
    capsys: pytest.CaptureFixture[str], csv: str, options: list[str], message: str
) -> None:
    tifffile.imwrite("stack.tif", _stack(), metadata={"axes": "ZYX"})
    Path("p.csv").write_text(csv)
    assert main(["label", "stack.tif", "-o", "l.tif", "--prompts", "p.csv", *options]) == 1
    import re

    assert re.search(message, capsys.readouterr().err)
    assert not Path("l.tif").exists()


# ----------------------------------------------------------------------- refusals and interruption


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["none.tif", "-o", "l.tif"], 1, "does not exist"),
        (["cells.tif", "-o", "none/l.tif"], 1, "create it first"),
        (["cells.tif", "-o", "cells.tif"], 1, "exists already"),
        (["stack.tif", "-o", "l.png"], 1, "PNG holds one plane"),
        (["stack.tif", "-o", "l.tif", "--index", "7"], 1, "outside 0 … 4"),
        (["stack.tif", "-o", "l.tif", "--index", "1,1"], 1, "needs 1 numbers"),
        (["cells.tif", "-o", "l.tif", "--index", "1"], 1, "needs no --index"),
        (["stack.tif", "-o", "l.tif", "--axes", "YX"], 1, "axes"),
        (["stack.tif", "-o", "l.tif", "--axes", "QYX"], 1, "T or Z"),
        (["stack.tif", "-o", "l.tif", "--axes", "CYX"], 1, "channel"),
        (["cells.tif", "-o", "l.tif", "--nms-iou", "7"], 1, "nms_iou is 7"),
        (["cells.tif", "-o", "l.tif", "--limits", "5", "1"], 1, "low must be below high"),
        (["cells.tif", "-o", "l.tif", "--overlay", "cells.tif"], 2, "PNG picture"),
        (["cells.tif", "stack.tif", "-o", "l.tif"], 2, "give a folder"),
        (["cells.tif", "sub/cells.tif", "-o", "out"], 2, "same output"),
        (["cells.tif", "-o", "l.jpg"], 2, "ending"),
        (["cells.tif"], 2, "required"),
        (["cells.tif", "-o", "l.tif", "--top-n", "many"], 2, "invalid int"),
        (["cells.tif", "-o", "l.tif", "--index", "a"], 2, "no index"),
        (["cells.tif", "-o", "l.tif", "--limits", "1", "2", "--per-plane"], 2, "not allowed"),
        (["cells.tif", "-o", "l.tif", "--prompts", "p", "--proposals", "grid"], 2, "--prompts"),
    ],
)
def test_refused(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    tifffile.imwrite("cells.tif", _plane())
    tifffile.imwrite("stack.tif", _stack(), metadata={"axes": "ZYX"})
    before = Path("cells.tif").read_bytes()
    assert main(["label", *argv]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert Path("cells.tif").read_bytes() == before
    assert not Path("l.tif").exists()


def test_overwrite_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    Path("l.tif").write_text("old")
    assert main(["label", "cells.tif", "-o", "l.tif", "--overwrite"]) == 0
    assert read_labels("l.tif").array.max() == 3


@pytest.mark.parametrize("where", ["encode", "decode_windows"])
def test_interrupt_leaves_nothing_half_written(
    predictor: ThresholdPredictor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, where, interrupt)
    tifffile.imwrite("cells.tif", _plane())
    Path("l.ome.zarr").mkdir()
    assert main(["label", "cells.tif", "-o", "l.ome.zarr", "--overwrite", "--overlay"]) == 130
    assert "Interrupted" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["cells.tif", "l.ome.zarr"]


def test_options_reach_the_generator(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    (result,) = _run_json(capsys, "label", "cells.tif", "-o", "a.tif", "--min-area-px", "1000")
    assert result["objects"] == 0
    (result,) = _run_json(capsys, "label", "cells.tif", "-o", "b.tif", "--top-n", "2")
    assert result["objects"] == 2
    argv = ("label", "cells.tif", "-o", "c.tif", "--proposals", "grid", "--points-per-side", "12")
    (result,) = _run_json(capsys, *argv)
    assert result["objects"] == 3


# --------------------------------------------------------------------------------- embed and cache


def test_embed_then_label_does_not_encode_again(
    predictor: ThresholdPredictor, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite("stack.tif", _stack(), metadata={"axes": "ZYX"})
    assert main(["embed", "stack.tif", "--store", "s"]) == 2
    assert "--all-planes" in capsys.readouterr().err
    assert main(["embed", "stack.tif", "--store", "s", "--index", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["planes"], result["planes_encoded"]) == (1, 1)
    assert main(["embed", "stack.tif", "--store", "s", "--all-planes", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["planes"], result["planes_encoded"]) == (5, 3)
    assert predictor.encoded == 4  # two slices are alike
    assert main(["label", "stack.tif", "--store", "s", "-o", "l.tif"]) == 0
    assert predictor.encoded == 4  # two slices are alike

    capsys.readouterr()
    assert main(["cache", "info", "--store", "s", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["entries"] == 4
    assert info["size_bytes"] > 0
    limit = str(info["size_bytes"] // 2)
    assert main(["cache", "prune", "--store", "s", "--max-size", limit, "--json"]) == 0
    pruned = json.loads(capsys.readouterr().out)
    assert pruned["removed"] + pruned["entries"] == 4
    assert pruned["size_bytes"] <= info["size_bytes"] // 2


def test_clear_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    tifffile.imwrite("cells.tif", _plane())
    assert main(["embed", "cells.tif", "--store", "s"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["cache", "clear", "--store", "s"]) == 2
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["cache", "clear", "--store", "s"]) == 1
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert main(["cache", "clear", "--store", "s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 1
    assert main(["cache", "clear", "--store", "s", "--yes"]) == 0


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["info", "--max-size", "1GB"], 2, "prune"),
        (["prune"], 2, "--max-size"),
        (["prune", "--max-size", "much"], 2, "is no size"),
        (["info", "--store", "file"], 1, "file"),
        (["info", "--store", "full"], 1, "full"),
    ],
)
def test_cache_refusals(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    Path("file").touch()
    Path("full").mkdir()
    Path("full/precious.txt").touch()
    assert main(["cache", *argv]) == code
    assert message in capsys.readouterr().err
    assert Path("full/precious.txt").exists()


def test_cache_that_is_not_there_is_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "info", "--store", "none"]) == 0
    assert "not there yet" in capsys.readouterr().out
    assert not Path("none").exists()
