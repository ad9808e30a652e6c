"""``litesam label --propagate``: objects of a prompts file are carried through a stack."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from engine.volume_scenes import ExactPredictor, balls
from litesam.cli import main
from litesam.io import read_image

#: Two balls of 12 slices of 96 × 80 px: z = 1 … 9 and 3 … 11.
CENTRES = [(5, 28, 24), (7, 66, 52)]
#: The predictor of the tests is exact without a rim.
EXACT = ("--object-share", "0", "--limits", "0", "255")
#: Ends of balls are small: no stop but where there is nothing.
TO_THE_END = (*EXACT, "--max-area-change", "100", "--min-overlap", "0.02", "--stop-quality", "0.1")
CLICKS = "object,z,y,x,label\nlower,4,28,24,1\nupper,8,66,52,1\n"


def scene() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    return balls((12, 96, 80), CENTRES, radius=4)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack and its clicks in an empty folder, and the test predictor in place of the model."""
    monkeypatch.chdir(tmp_path)
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite("stack.tif", scene()[0], imagej=True, resolution=(4, 4), metadata=metadata)
    Path("clicks.csv").write_text(CLICKS)
    for room in ("litesam.predictors", "litesam.predictors.base"):
        monkeypatch.setattr(f"{room}.load_predictor", lambda *args, **options: ExactPredictor())
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(["label", *argv, "--propagate", "--json", "-q"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    return result


def scores(found: npt.NDArray[Any], truth: npt.NDArray[np.int32]) -> list[float]:
    pairs = ((found == name, truth == name) for name in (1, 2))
    return [float(np.sum(a & b) / np.sum(a | b)) for a, b in pairs]


@pytest.mark.parametrize("output", ["labels.ome.zarr", "labels.tif", "labels.ome.tif"])
def test_clicked_objects_are_carried_to_their_ends(
    capsys: pytest.CaptureFixture[str], output: str
) -> None:
    argv = ("stack.tif", "-o", output, "--prompts", "clicks.csv", "--confidence", "sure.csv")
    result = run_json(capsys, *argv, *TO_THE_END)
    assert (result["objects"], result["axes"], result["shape"]) == (2, "ZYX", [12, 96, 80])
    image = read_image(output)
    assert image.scale == pytest.approx((2.0, 0.25, 0.25))
    assert image.unit == "micrometer"
    assert min(scores(np.asarray(image.array), scene()[1])) > 0.9
    rows = list(csv.DictReader(Path("sure.csv").read_text().splitlines()))
    assert {row["object"]: row["label"] for row in rows} == {"lower": "1", "upper": "2"}
    prompted = [(row["object"], row["z"]) for row in rows if row["prompted"] == "1"]
    assert prompted == [("lower", "4"), ("upper", "8")]
    least = [float(row["confidence"]) for row in rows if row["prompted"] == "0"]
    assert least == sorted(least)
    assert result["worst"]["object"] == rows[0]["object"]
    assert result["worst"]["place"] == [int(rows[0]["z"])]


def test_objects_keep_numbers_that_are_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    Path("clicks.csv").write_text(CLICKS.replace("lower", "7").replace("upper", "3"))
    argv = ("stack.tif", "-o", "l.tif", "--prompts", "clicks.csv", "--max-slices", "1")
    run_json(capsys, *argv, *TO_THE_END)
    labels = read_image("l.tif").array
    assert [np.unique(plane).tolist() for plane in labels[3:6]] == [[0, 7]] * 3
    assert [np.unique(plane).tolist() for plane in labels[7:10]] == [[0, 3]] * 3
    assert not labels[:3].any()
    assert not labels[10:].any()


def test_objects_that_are_painted_on_a_slice_are_carried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, truth = scene()
    painted = np.zeros_like(truth, dtype=np.uint16)
    painted[5], painted[8] = truth[5] == 1, 2 * (truth[8] == 2)
    tifffile.imwrite("painted.tif", painted)
    argv = ("stack.tif", "-o", "l.tif", "--prompts", "painted.tif")
    result = run_json(capsys, *argv, *TO_THE_END)
    assert result["objects"] == 2
    labels = read_image("l.tif").array
    assert min(scores(labels, truth)) > 0.9
    np.testing.assert_array_equal(labels[5] == 1, painted[5] == 1)


def test_each_time_of_a_series_is_gone_through_by_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, truth = scene()
    series = np.stack([image, np.zeros_like(image), image])
    tifffile.imwrite("series.tif", series, imagej=True, metadata={"axes": "TZYX"})
    Path("clicks.csv").write_text("object,t,z,y,x,label\na,0,4,28,24,1\na,2,5,28,24,1\n")
    argv = ("series.tif", "-o", "l.tif", "--prompts", "clicks.csv", "--confidence", "s.csv")
    result = run_json(capsys, *argv, *TO_THE_END)
    assert (result["axes"], result["objects"]) == ("TZYX", 1)
    labels = read_image("l.tif").array
    assert not labels[1].any()
    for t in (0, 2):
        assert scores(labels[t], truth)[0] > 0.9
    assert Path("s.csv").read_text().startswith("object,label,t,z,prompted,confidence\n")


@pytest.mark.parametrize("kind", ["box", "point", "both", "mask", "all"])
def test_what_the_next_slice_is_told_can_be_chosen(
    capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    argv = ("stack.tif", "-o", "l.tif", "--prompts", "clicks.csv", "--carry-by", kind)
    assert run_json(capsys, *argv, *TO_THE_END)["objects"] == 2
    assert min(scores(read_image("l.tif").array, scene()[1])) > 0.9


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--propagate",), "--propagate goes with --prompts"),
        (("--prompts", "clicks.csv", "--max-slices", "3"), "--max-slices goes with --propagate"),
        (("--prompts", "clicks.csv", "--confidence", "a.csv"), "--confidence goes with"),
        (("--propagate", "--prompts", "clicks.csv", "--link"), "--link goes without"),
        (("--propagate", "--prompts", "clicks.csv", "--nms-iou", "0.5"), "--nms-iou goes without"),
        (("--propagate", "--prompts", "clicks.csv", "-o", "l.png"), r"ends with \.ome\.zarr"),
        (("--propagate", "--prompts", "clicks.csv", "--confidence", "a.txt"), r"end with \.csv"),
    ],
)
def test_options_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    import re

    assert main(["label", "stack.tif", "-o", "l.tif", *argv]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not Path("l.tif").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("object,y,x,label\na,28,24,1\n", "needs the column z"),
        ("object,z,y,x,label\na,12,28,24,1\n", "object a is prompted at z = 12; the stack has 0"),
        ("object,z,y,x,label\na,0,2,2,1\n", "makes no mask"),
        ("index,axis-0,axis-1,axis-2\n0,1,2,3\n", "a layer that napari saved"),
    ],
)
def test_prompts_that_do_not_fit_the_stack(
    capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    Path("clicks.csv").write_text(text)
    argv = ["label", "stack.tif", "-o", "l.tif", "--propagate", "--prompts", "clicks.csv", *EXACT]
    assert main([*argv, "-q"]) == 1
    assert words in capsys.readouterr().err
    assert not Path("l.tif").exists()


def test_planes_and_labels_of_another_size_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tifffile.imwrite("plane.tif", scene()[0][5])
    argv = ["--propagate", "--prompts", "clicks.csv", "-o", "l.tif", "-q"]
    assert main(["label", "stack.tif", "plane.tif", *argv]) == 2
    assert "one image, here are 2" in capsys.readouterr().err
    assert main(["label", "plane.tif", *argv]) == 2
    assert "is one plane" in capsys.readouterr().err
    tifffile.imwrite("painted.tif", np.ones((5, 96, 80), np.uint8))
    argv[2] = "painted.tif"
    assert main(["label", "stack.tif", *argv]) == 1
    assert "labels of 5 × 96 × 80 pixels, the image has 12 × 96 × 80" in capsys.readouterr().err
