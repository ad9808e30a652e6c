"""``litesam models``: get, import, remove and verify weights, from the shell and in process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engine.weights_server import WeightsServer, running_server
from litesam.cli import main
from litesam.models import registry
from litesam.models.registry import get_spec, list_models
from litesam.models.weights_files import file_hash
from litesam.weights import transport
from weights import filled_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder; no proxies, no long pauses."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transport, "_PAUSES_S", (0.05,))
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def server() -> Iterator[WeightsServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of MobileSAM."""
    return filled_weights("mobile_sam", tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def published(weights: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry, with that file on the server; MobileSAM is under a restricted licence."""
    url = server.serve("mobile_sam.pt", weights.read_bytes())
    changes = {
        "url": url,
        "mirrors": (),
        "sha256": file_hash(weights),
        "size_bytes": weights.stat().st_size,
        "licence": "AGPL-3.0",
        "licence_note": "Share alike.",
    }
    spec = get_spec("mobile_sam")
    changed = replace(spec, weights=replace(spec.weights, **changes))
    models = tuple(changed if s is spec else s for s in list_models())
    monkeypatch.setattr(registry, "MODELS", models)


def test_download_verify_remove(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "mobile_sam"]) == 1  # nobody can be asked
    message = capsys.readouterr().err
    assert "AGPL-3.0" in message
    assert "Share alike." in message
    assert "--accept-licence" in message
    assert main(["models", "download", "mobile_sam", "--accept-licence", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    path = home / "weights" / "mobile_sam.pt"
    assert entry == {
        "name": "mobile_sam",
        "path": str(path),
        "downloaded": True,
        "size_bytes": path.stat().st_size,
    }
    assert main(["models", "download", "mobile_sam"]) == 0
    assert "was there already" in capsys.readouterr().out
    assert main(["models", "show", "mobile_sam"]) == 0
    assert str(path) in capsys.readouterr().out
    assert main(["models", "verify", "mobile_sam"]) == 0
    assert capsys.readouterr().out == "mobile_sam: ok, the published file\n"
    with path.open("ab") as file:
        file.write(b"more")
    assert main(["models", "verify", "mobile_sam", "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["sha256"], report["present"]) == (False, "differs", True)
    assert main(["models", "remove", "mobile_sam"]) == 0
    assert str(path) in capsys.readouterr().out
    assert not path.exists()
    assert main(["models", "remove", "mobile_sam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "mobile_sam", "removed": []}]
    # The licence was accepted once.
    assert main(["models", "download", "mobile_sam"]) == 0


def test_show_says_what_a_model_needs_and_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "efficient_sam_vitt"]) == 0
    text = capsys.readouterr().out
    assert "about 1.0 GB to load and encode" in text
    assert "point, box; at most 6 points, a box counts as two" in text
    assert main(["models", "show", "sam_vit_b", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["memory_bytes"] == get_spec("sam_vit_b").memory_bytes
    assert entry["max_points"] is None


def test_import(
    weights: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some file"
    file.write_bytes(weights.read_bytes())
    assert main(["models", "import", str(file)]) == 0
    assert "is the file of mobile_sam" in capsys.readouterr().out
    assert (home / "weights" / "mobile_sam.pt").is_file()
    assert main(["models", "import", str(file), "--as", "mobile_sam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "mobile_sam"
    assert main(["models", "import", str(file), "--as", "edge_sam"]) == 1
    assert "another model than 'edge_sam'" in capsys.readouterr().err
    assert main(["models", "import", str(tmp_path / "none")]) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["download"],
        ["import"],
        ["remove"],
        ["list", "--accept-licence"],
        ["verify", "--as", "mobile_sam"],
        ["import", "a", "b", "--as", "mobile_sam"],
        ["fetch"],
    ],
)
def test_wrong_usage(argv: list[str]) -> None:
    assert main(["models", *argv]) == 2


@pytest.mark.parametrize("action", ["download", "remove", "verify", "show"])
def test_wrong_name(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", action, "mobile-sam"]) == 1
    assert "Did you mean 'mobile_sam'" in capsys.readouterr().err


def test_verify_without_names_checks_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    bundled = ("lite_sam", "lite_sam_hq")
    wanted = "".join(f"{name}: ok, the published file\n" for name in bundled)
    assert capsys.readouterr().out == wanted


_DOWNLOAD = """
import sys
from dataclasses import replace
from litesam.models import registry
spec = registry.get_spec("mobile_sam")
weights = replace(spec.weights, url=sys.argv[1], mirrors=(), size_bytes=None)
registry.MODELS = (replace(spec, weights=weights),)
from litesam.cli import main
sys.exit(main(["models", "download", "mobile_sam"]))
"""


@pytest.mark.skipif(
    sys.platform == "win32" or signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="needs Ctrl-C as POSIX sends it",
)
def test_ctrl_c_keeps_the_part(server: WeightsServer, weights: Path, home: Path) -> None:
    url = server.serve("slow.pt", weights.read_bytes(), pause_s=0.01)
    argv = [sys.executable, "-c", _DOWNLOAD, url]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        part = home / "weights" / "mobile_sam.pt.part"
        for _ in range(3000):
            if part.is_file():
                break
            time.sleep(0.02)
        time.sleep(0.5)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert time.monotonic() - start < 10  # the interpreter's end included, on a busy machine
    assert message == (
        "litesam: Interrupted; what has come is kept, the same command goes on from there.\n"
    )
    kept = part.read_bytes()
    assert kept
    assert weights.read_bytes().startswith(kept)
    assert not (home / "weights" / "mobile_sam.pt").exists()
