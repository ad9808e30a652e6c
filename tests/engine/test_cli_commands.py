"""The command line as a whole: the shell's view, models, demo, options, with real networks."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import litesam.predictors
from engine.threshold_predictor import ThresholdPredictor
from litesam.cli import main
from litesam.cli.options import add_config_options, config_from, parse_size
from litesam.cli.terminal import size_text
from litesam.errors import ConfigError
from litesam.io import read_image, read_labels
from litesam.models.registry import list_models
from litesam.samples import SAMPLES, sample_path
from litesam.types import EverythingConfig
from weights import filled_weights

if TYPE_CHECKING:
    from pathlib import Path

#: Few prompts and no filters, so that weights of chance give objects quickly.
FEW = ["--top-n", "4", "--confidence-threshold", "0", "--predicted-iou-threshold", "0"]
FEW += ["--stability-threshold", "0"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of deterministic weights for lite_sam."""
    return str(filled_weights("lite_sam", tmp_path_factory.mktemp("weights")))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    yy, xx = np.mgrid[:90, :110]
    plane = np.exp(-(((yy - 40) ** 2 + (xx - 50) ** 2) / 200.0)) * 200 + 20
    Image.fromarray(plane.astype(np.uint8)).save(tmp_path / "cell.png")
    return tmp_path / "cell.png"


def _shell(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "litesam.cli", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        check=False,
    )


# ---------------------------------------------------------------------------------- from the shell


def test_label_from_the_shell(picture: Path, weights: str, tmp_path: Path) -> None:
    result = _shell(
        "label", "cell.png", "-o", "cell.tif", "--weights", weights, "--json", *FEW, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    (entry,) = json.loads(result.stdout)
    labels = np.asarray(read_labels(tmp_path / "cell.tif").array)
    assert len(np.unique(labels[labels > 0])) == entry["objects"]
    assert entry["seconds"] > 0


def test_errors_from_the_shell_have_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "zero.tif").touch()
    result = _shell("label", "zero.tif", "-o", "l.tif", "--model", "light-sam", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "There is no model 'light-sam'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(
    sys.platform == "win32" or signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="needs Ctrl-C as POSIX sends it",
)
def test_ctrl_c_leaves_no_output(weights: str, tmp_path: Path) -> None:
    stack = str(sample_path("embryo"))
    argv = ["label", stack, "-o", "l.ome.zarr", "--overlay", "-v", "--weights", weights, *FEW]
    with subprocess.Popen(
        [sys.executable, "-m", "litesam.cli", *argv],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stderr is not None
        assert "Loaded lite_sam" in process.stderr.readline()
        time.sleep(1.0)  # somewhere in the 51 planes
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "Traceback" not in message
    assert "Interrupted" in message
    assert list(tmp_path.iterdir()) == []


def test_broken_pipe_is_quiet(tmp_path: Path) -> None:
    code = "import os, sys; os.close(1); r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
    code += "from litesam.cli import main; sys.exit(main(['models', '--json']))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_help_needs_no_heavy_import() -> None:
    code = "import sys; from litesam.cli import main; main(['label', '--help'])\n"
    code += "heavy = {'torch', 'zarr', 'dask', 'skimage', 'tifffile', 'rich'} & set(sys.modules)\n"
    code += "print(sorted(heavy), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr.strip() == "[]"
    assert "examples:" in result.stdout


# -------------------------------------------------------------------------------------- in-process


@pytest.mark.parametrize("command", ["demo", "label", "embed", "models", "cache"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"litesam {command}" in text
    assert "examples:" in text


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["dance"]) == 2
    assert "invalid choice" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("litesam ")


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in entries] == [spec.name for spec in list_models()]
    for spec in list_models():
        assert spec.name in text
        assert main(["models", "show", spec.name]) == 0
        shown = capsys.readouterr().out
        assert spec.weights.licence in shown
        assert spec.paper in shown
    assert "~" in text  # a size that is not known exactly
    assert main(["models", "show"]) == 2
    assert main(["models", "list", "lite_sam"]) == 2
    assert main(["models", "show", "lite_som"]) == 1
    assert "Did you mean 'lite_sam'" in capsys.readouterr().err


def test_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files and figures, with a predictor that takes bright things for objects."""
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_: ThresholdPredictor())
    out = tmp_path / "demo"
    for _ in range(2):  # a second run replaces the first
        assert main(["demo", "-o", str(out), "--json"]) == 0
        summary = json.loads(capsys.readouterr().out)
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary
    assert [one["sample"] for one in summary["samples"]] == list(SAMPLES)
    text = (out / "summary.txt").read_text(encoding="utf-8")
    expected = {"summary.json", "summary.txt", "overview.png"}
    for one in summary["samples"]:
        expected |= set(one["files"])
        tif = read_labels(out / f"{one['sample']}_labels.tif")
        ome = read_labels(out / f"{one['sample']}_labels.ome.zarr")
        np.testing.assert_array_equal(tif.array, np.asarray(ome.array))
        assert len(np.unique(tif.array)) - (0 in tif.array) == one["objects"]
        assert read_image(out / f"{one['sample']}_labels.ome.zarr").array.ndim >= 2
        assert 0.0 <= one["mean_iou"] <= 1.0
        assert one["title"] in text
    assert {path.name for path in out.iterdir()} == expected


def test_demo_with_the_bundled_weights(tmp_path: Path) -> None:
    result = _shell("demo", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    # Far below what the weights reach: this asks whether they are the right ones at all.
    assert summary["samples"][0]["objects"] > 40
    assert summary["samples"][0]["mean_iou"] > 0.5


def test_demo_scores_a_perfect_segmentation_with_one() -> None:
    from litesam.cli.demo import _one_plane, _quality

    truth = np.zeros((2, 20, 20), dtype=np.uint8)
    truth[:, 2:8, 2:8] = 1
    truth[0, 10:15, 10:15] = 2
    labels = truth.astype(np.int32)
    labels[1][labels[1] > 0] += 2
    flat_truth = _one_plane(truth, distinct=True)
    assert len(np.unique(flat_truth)) == 4
    quality = _quality(flat_truth, _one_plane(labels, distinct=False))
    assert quality["mean_iou"] == 1.0
    assert quality["ap50"] == 1.0
    worse = _quality(flat_truth, _one_plane(labels * (labels != 2), distinct=False))
    assert worse["mean_iou"] == pytest.approx(2 / 3, abs=1e-4)  # rounded to four digits


def test_embed_fills_the_users_cache(
    picture: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    assert main(["embed", str(picture), "--weights", weights]) == 0
    assert "1 of 1 planes encoded" in capsys.readouterr().out
    assert main(["embed", str(picture), "--weights", weights]) == 0
    assert "1 were there already" in capsys.readouterr().out
    assert main(["cache", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 1


# ----------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("500m", 5 * 10**8), ("12", 12), ("10kB", 10_000)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1e9"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (999_999, "1.0 MB"), (2 * 10**9, "2.0 GB")],
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text


def test_every_config_field_is_an_option() -> None:
    parser = argparse.ArgumentParser()
    add_config_options(parser, EverythingConfig, "everything")
    text = parser.format_help()
    for spec in fields(EverythingConfig):
        assert f"--{spec.name.replace('_', '-')}" in text
    assert config_from(parser.parse_args([]), EverythingConfig) == EverythingConfig()
    args = parser.parse_args(["--nms-iou", "0.5", "--prompt-kind", "box", "--top-n", "9"])
    assert config_from(args, EverythingConfig) == EverythingConfig(
        nms_iou=0.5, prompt_kind="box", top_n=9
    )
    with pytest.raises(ConfigError):
        config_from(parser.parse_args(["--top-n", "0"]), EverythingConfig)


def test_only_the_usual_cache_is_limited(tmp_path, monkeypatch):
    from litesam.cli.options import open_store
    from litesam.store import DEFAULT_CACHE_BYTES

    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    assert open_store(None).max_bytes == DEFAULT_CACHE_BYTES
    assert open_store(tmp_path / "named").max_bytes is None
