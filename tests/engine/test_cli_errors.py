"""What commands say of wrong input, and that nothing of it is a traceback."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import litesam.predictors
from engine.store_contract import key_of
from engine.threshold_predictor import ThresholdPredictor
from litesam.cli import label, main
from litesam.cli.terminal import Bars
from litesam.errors import ReadError, StoreError
from litesam.io import read_labelled_folder
from litesam.store import ZarrStore

PLANE = np.full((90, 100), 10, dtype=np.uint8)
PLANE[12:28, 12:28] = PLANE[52:68, 32:48] = 230


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: predictor)
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("cells.tif", PLANE)


# ----------------------------------------------------------------------------- of the whole program


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "cells.tif"]) == 2
    assert main(["label", "cells.tif", "-o", "l.tif", "--index", "x"]) == 2
    assert main(["evaluate", "data", "--limit", "-3"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("required: -o/--output. See litesam label --help.")
    assert "'x' is no index" in lines[1]
    assert "litesam evaluate --help" in lines[2]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "The memory is not enough"),
        (OSError(5, "Input/output error", "/disk/x"), "litesam: /disk/x: Input/output error."),
        (ZeroDivisionError("of what"), "did not foresee (ZeroDivisionError: of what)"),
    ],
)
def test_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(label, "load_wanted", fail)
    assert main(["label", "cells.tif", "-o", "l.tif"]) == 1
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_standard_output() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "litesam.cli", "cache", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.startswith("litesam: The result cannot be written to the standard output")
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
def test_an_interrupt_while_the_command_is_loaded() -> None:
    """As with Ctrl-C right after Enter: one line, no traceback."""
    code = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start us without it
sys.meta_path.insert(0, Interrupt())
from litesam.cli import main
sys.exit(main(["models", "--json"]))
"""
    for module in ("argparse", "litesam.cli.train", "litesam.cli.terminal"):
        done = subprocess.run(
            [sys.executable, "-c", code, module], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 130, done.stderr
        assert done.stderr == "litesam: Interrupted.\n"


def test_the_cache_is_only_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that cannot be written, too; leftovers of others stay."""
    store = tmp_path / "store"
    ZarrStore(store)
    leftover = store / f"tmp-elsewhere-1-{'0' * 32}"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with monkeypatch.context() as quiet:
        for name in ("mkdir", "rename", "replace", "rmdir", "unlink", "utime"):
            quiet.setattr(os, name, lambda *_, **__: pytest.fail("it writes"))
        assert main(["cache", "info", "--store", str(store)]) == 0
    assert leftover.exists()
    (tmp_path / "empty").mkdir()
    assert main(["cache", "info", "--store", str(tmp_path / "empty")]) == 0
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(StoreError, match="read only"):
        ZarrStore(store, read_only=True).put(key_of(1), {"a": np.zeros(1)})


def test_names_that_cannot_be_printed() -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "litesam.cli",
            "cache",
            "info",
            "--json",
            "--store",
            b"K\xf6rper \xb5",
        ],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["path"] == "K\udcf6rper \udcb5"


@pytest.mark.skipif(os.name == "nt", reason="streams are closed by a shell of POSIX")
def test_closed_standard_streams_and_ascii() -> None:
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    litesam = f"{sys.executable} -m litesam.cli"
    for command in (f"{litesam} cache info >&- 2>&-", f"{litesam} label --help"):
        result = subprocess.run(
            command, shell=True, capture_output=True, timeout=60, check=False, env=plain
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == b""


# ----------------------------------------------------------------------------------------- commands


def test_embeddings_that_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk is full; free some space.")

    monkeypatch.setattr(ZarrStore, "put", full)
    assert main(["embed", "cells.tif", "--store", "store"]) == 1
    said = capsys.readouterr()
    assert "litesam: The disk is full" in said.err
    assert said.out == ""


def test_two_folders_of_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("a/data", "b/data"):
        _data(place, np.where(PLANE > 99, 1, 0).astype(np.uint8))
    argv = ["evaluate", "a/data", "b/data", "--tasks", "box", "--json"]
    assert main(argv) == 0
    assert set(json.loads(capsys.readouterr().out)["sets"]) == {"a/data", "b/data"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "0"], "--steps is 0"),
        (["--learning-rate", "-1"], "--learning-rate is -1"),
        (["--threads", "-2"], "--threads is -2"),
        (["--device", "abacus"], "Device 'abacus' is not known"),
        (["--run", "cells.tif"], "cells.tif is a file"),
        (["--export", "nowhere/x.safetensors"], "The folder nowhere"),
        (["--leave-out", "yours"], "no data set 'yours' to leave out; it holds mine"),
        (["--leave-out", "mine"], "none is left to learn from"),
        (["--decoder-only"], "give the weights to start from with --from"),
    ],
)
def test_mistakes_before_a_training(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    _data("sets/mine", np.where(PLANE > 99, 1, 0).astype(np.uint8))
    Path("sets/mine/index.csv").write_text("id,split\na,train\n")
    assert main(["train", "sets", "--quiet", "--run", "run", *options]) == 1
    assert said in capsys.readouterr().err
    assert not Path("run").exists()


def test_folder_without_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    _data("sets/mine", np.where(PLANE > 99, 1, 0).astype(np.uint8))
    for folder, said in (
        ("nowhere", "There is no folder nowhere"),
        ("sets/mine", "a data set itself"),
        ("sets", "sets/mine has no index.csv"),
    ):
        assert main(["train", folder, "--quiet", "--run", "run"]) == 1
        assert said in capsys.readouterr().err.replace(os.sep, "/")


# --------------------------------------------------------------------------------- labelled folders


def _data(place: str, labels: np.ndarray, image: np.ndarray = PLANE) -> Path:
    folder = Path(place)
    for kind, pixels in (("images", image), ("labels", labels)):
        (folder / kind).mkdir(parents=True)
        tifffile.imwrite(folder / kind / "a.tif", pixels)
    return folder


LABELS = (PLANE > 99).astype(np.uint16)


@pytest.mark.parametrize(
    ("labels", "image", "said"),
    [
        (LABELS.astype(np.float32), PLANE, "save them as integers, such as uint16"),
        (LABELS.astype(np.int32) - 1, PLANE, "labels from -1 to 0"),
        (LABELS.astype(np.uint32) * 2**31, PLANE, "labels from 0 to 2147483648"),
        (np.stack([LABELS] * 3, -1).astype(np.uint8), PLANE, "a colour picture"),
        (LABELS[:50], PLANE, "they must have one size"),
        (LABELS, np.full(PLANE.shape, np.nan, np.float32), "no finite value"),
    ],
)
def test_labelled_images_that_are_none(labels: np.ndarray, image: np.ndarray, said: str) -> None:
    with pytest.raises(ReadError, match=said):
        list(read_labelled_folder(_data("data", labels, image)))


def test_labelled_folder_with_other_files() -> None:
    folder = _data("data", LABELS)
    for name in ("images/a.txt", "images/Thumbs.db", "labels/readme.md"):
        (folder / name).write_text("notes")
    (item,) = read_labelled_folder(folder)
    assert item.name == "a"
    tifffile.imwrite(folder / "images/a.tiff", PLANE)
    with pytest.raises(ReadError, match="have one name"):
        list(read_labelled_folder(folder))


def test_what_a_labelled_folder_lacks() -> None:
    with pytest.raises(ReadError, match="there is no such folder"):
        list(read_labelled_folder(Path("nowhere")))
    folder = _data("data", LABELS)
    (folder / "labels/a.tif").rename(folder / "labels/b.tif")
    with pytest.raises(ReadError, match=r"here are a\.tif and b\.tif"):
        list(read_labelled_folder(folder))
    (folder / "labels/b.tif").unlink()
    with pytest.raises(ReadError, match="labels/ is missing or holds no image"):
        list(read_labelled_folder(folder))


# ------------------------------------------------------------------------------------------ prompts


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (LABELS[:50], [], "labels of 50 × 100 pixels, the image has 90 × 100"),
        (np.stack([LABELS] * 2), [], "labels of 2 × 90 × 100 pixels, the image has 90 × 100"),
        (LABELS.astype(np.int16) - 1, [], r"p\.tif: Labels are 0"),
        (np.stack([LABELS] * 3, -1).astype(np.uint8), [], "a colour picture"),
        (LABELS * 0, ["--prompts-as", "point"], "has no labels"),
    ],
)
def test_label_images_that_are_no_prompts(
    capsys: pytest.CaptureFixture[str], labels: np.ndarray, options: list[str], said: str
) -> None:
    colour = {"photometric": "rgb"} if labels.shape[-1] == 3 else {}
    tifffile.imwrite("p.tif", labels, **colour)
    assert main(["label", "cells.tif", "-o", "l.tif", "--prompts", "p.tif", *options]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not Path("l.tif").exists()


def test_places_in_a_stack_for_one_plane(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.csv").write_text("z,y,x\n0,20,20\n")
    assert main(["label", "cells.tif", "-o", "l.tif", "--prompts", "p.csv"]) == 1
    assert "leave the columns z and t out" in capsys.readouterr().err


def test_many_prompts_report_progress_and_what_is_covered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shares: list[float] = []
    monkeypatch.setattr(
        Bars, "part", lambda *_: lambda progress: shares.append(progress.done / progress.total)
    )
    Path("p.csv").write_text("y,x\n" + "".join(f"{12 + n % 16},20\n" for n in range(150)))
    assert main(["label", "cells.tif", "-o", "l.tif", "--prompts", "p.csv"]) == 0
    assert len([share for share in shares if share < 1]) >= 2
    said = capsys.readouterr()
    assert "l.tif: 1 object" in said.out
    assert "149 of 150 objects are not in the labels: others cover them" in said.err


def test_numbers_out_of_range(capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, said in (
        ("--min-area-px", "-5", "min_area_px is -5; it must be at least 0."),
        ("--min-visible", "nan", "min_visible is nan; it must be between 0"),
        ("--top-n", "5000", "it must be between 1 and 4096."),
    ):
        assert main(["label", "cells.tif", "-o", "l.tif", option, value]) == 1
        assert said in capsys.readouterr().err


def test_stack_that_looks_like_channels(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("stack.npy", np.stack([PLANE] * 3))
    assert main(["label", "stack.npy", "-o", "l.tif"]) == 1
    said = capsys.readouterr().err
    assert "(--channel)" in said
    assert "say so: 'ZYX' or 'TYX' (axes=, --axes)" in said
    assert main(["label", "stack.npy", "-o", "l.tif", "--axes", "ZYX"]) == 0


def test_pickle_is_told_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    Path("evil.pt").write_bytes(pickle.dumps(print, protocol=4))
    assert main(["models", "import", "evil.pt", "--as", "lite_sam"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("litesam: ")


def test_help_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
