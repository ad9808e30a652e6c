"""Inputs of ``litesam label`` stay as they are, whatever the outputs are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import litesam.predictors
from engine.threshold_predictor import ThresholdPredictor
from litesam import PointPrompt, Prompts
from litesam.cli import main
from litesam.errors import WriteError
from litesam.io import atomic_path, read_image, write_labels
from litesam.session import ImageReference, ModelReference, ObjectCommit, Session, write_session


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: predictor)
    monkeypatch.chdir(tmp_path)


def _plane() -> np.ndarray:
    plane = np.full((90, 100), 10, dtype=np.uint8)
    plane[12:28, 12:28] = plane[52:68, 32:48] = 230
    return plane


@pytest.mark.parametrize("job", [[], ["--link"]])
def test_the_image_is_not_replaced(capsys: pytest.CaptureFixture[str], job: list[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    before = Path("cells.tif").read_bytes()
    output = Path("cells.tif").resolve()
    assert main(["label", "cells.tif", "-o", str(output), "--overwrite", *job]) == 1
    assert "would replace cells.tif, which is read" in capsys.readouterr().err
    assert Path("cells.tif").read_bytes() == before


def test_the_zarr_image_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.ones((90, 100), np.uint8)
    write_labels("cells.ome.zarr", labels, image=_plane())
    assert main(["label", "cells.ome.zarr", "-o", "cells.ome.zarr", "--overwrite"]) == 1
    assert (
        main(["label", "cells.ome.zarr/labels/cells", "-o", "cells.ome.zarr", "--overwrite"]) == 1
    )
    assert capsys.readouterr().err.count("would replace") == 2
    np.testing.assert_array_equal(np.asarray(read_image("cells.ome.zarr").array), _plane())


def test_pictures_and_prompts_are_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    Path("clicks.csv").write_text("y,x\n20,20\n")
    command = ["label", "cells.tif", "-o", "labels.tif", "--prompts", "clicks.csv", "--overwrite"]
    assert main([*command, "--table", "clicks.csv"]) == 1
    assert "would replace clicks.csv" in capsys.readouterr().err
    assert Path("clicks.csv").read_text() == "y,x\n20,20\n"


def test_the_image_of_a_session_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    image = ImageReference("cells.tif", axes="YX", shape=(90, 100), dtype="uint8")
    session = Session(image, ModelReference("lite_sam"))
    click = Prompts((PointPrompt(20, 20),))
    write_session("s.json", session.with_action(ObjectCommit(1, (), click)))
    before = Path("cells.tif").read_bytes()
    assert main(["label", "--session", "s.json", "-o", "cells.tif", "--overwrite"]) == 1
    assert "would replace cells.tif" in capsys.readouterr().err
    assert Path("cells.tif").read_bytes() == before


def test_folder_of_planes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("slices").mkdir()
    for number in range(3):
        tifffile.imwrite(f"slices/z{number}.tif", _plane())
    assert main(["label", "slices", "-o", "results/", "--overlay", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["axes"], result["planes"], result["objects"]) == ("ZYX", 3, 6)
    assert result["output"].endswith("slices_labels.tif")
    Path("clicks.csv").write_text("z,y,x\n1,20,20\n")
    assert main(["label", "slices", "-o", "one.tif", "--prompts", "clicks.csv"]) == 0
    assert main(["label", "slices", "-o", "copy.ome.zarr", "--index", "1"]) == 0
    capsys.readouterr()
    assert main(["label", "slices", "-o", "slices/labels.tif"]) == 1
    assert "one more image of the stack slices" in capsys.readouterr().err


def test_a_folder_of_other_files_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("cells.tif", _plane())
    Path("labels.zarr").mkdir()
    Path("labels.zarr/notes.txt").write_text("mine")
    assert main(["label", "cells.tif", "-o", "labels.zarr", "--overwrite"]) == 1
    assert "a folder of other files" in capsys.readouterr().err
    assert Path("labels.zarr/notes.txt").read_text() == "mine"
    with (
        pytest.raises(WriteError, match="folder of other files"),
        atomic_path("labels.zarr", overwrite=True),
    ):
        pass
