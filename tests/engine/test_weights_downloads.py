"""Downloads of weights, against a real server on this computer."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from engine.weights_server import WeightsServer, running_server
from litesam.errors import Cancelled, LicenceNotAccepted, WeightsError
from litesam.models import weights_files
from litesam.models.registry import get_spec
from litesam.weights import (
    download_weights,
    is_licence_accepted,
    remove_weights,
    transport,
    verify_weights,
    weights_status,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from litesam.types import ModelSpec, Progress

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -1.0])}
#: Of no meaning; large enough for several reads of the socket.
CONTENT = bytes(range(256)) * 2000


class Tiny(nn.Module):
    """A network with the entries of `STATE`."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2)


def build_tiny(spec: ModelSpec) -> Tiny:
    return Tiny()


def _bytes(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder; no proxies, short pauses, no bundled weights."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(transport, "_PAUSES_S", (0.05, 0.05, 0.05))
    monkeypatch.setattr(weights_files, "bundled_dir", lambda: tmp_path / "bundled")
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    with running_server() as running:
        yield running


def _spec(url: str, content: bytes = CONTENT, **changes: Any) -> ModelSpec:
    """A model whose file is at an address."""
    known = {
        "file": "tiny.pt",
        "url": url,
        "mirrors": (),
        "sha256": _sha256(content),
        "size_bytes": len(content),
    }
    spec = get_spec("mobile_sam")
    return replace(
        spec,
        name="tiny",
        builder=f"{__name__}:build_tiny",
        weights=replace(spec.weights, **(known | changes)),
    )


def _folder(home: Path) -> set[str]:
    """Files of the weights folder, but for the locks."""
    return {p.name for p in (home / "weights").iterdir() if not p.name.endswith(".lock")}


# --------------------------------------------------------------------------------------- the usual


def test_download(server: WeightsServer, home: Path) -> None:
    spec = _spec(server.serve("tiny.pt", CONTENT))
    before = weights_status(spec)
    assert (before.origin, before.path, before.present) == ("missing", None, False)
    assert before.size_bytes == before.download_bytes == len(CONTENT)
    seen: list[Progress] = []
    path = download_weights(spec, on_progress=seen.append)
    assert path == before.target == home / "weights" / "tiny.pt"
    assert path.read_bytes() == CONTENT
    assert _folder(home) == {"tiny.pt"}
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert (seen[-1].done, seen[-1].total) == (len(CONTENT), len(CONTENT))
    assert "tiny.pt" in seen[0].message
    after = weights_status(spec)
    assert (after.origin, after.path, after.present) == ("folder", path, True)
    assert after.download_bytes == 0
    download_weights(spec)  # it is there
    assert len(server.requests) == 1
    assert remove_weights(spec) == (path,)
    assert remove_weights(spec) == ()


def test_redirection(server: WeightsServer) -> None:
    server.serve("real.pt", CONTENT)
    spec = _spec(server.serve("moved.pt", redirect=server.url("real.pt")))
    assert download_weights(spec).read_bytes() == CONTENT


def test_redirection_to_a_file_of_this_computer_is_not_followed(
    server: WeightsServer, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    url = server.serve("moved.pt", redirect=(tmp_path / "secret").as_uri())
    with pytest.raises(WeightsError):
        download_weights(_spec(url))
    assert _folder(home) == set()


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["size-known", "size-unknown"])
def test_mirror_after_404(size: int | None, server: WeightsServer) -> None:
    mirror = server.serve("mirror.pt", CONTENT)
    spec = _spec(server.url("gone.pt"), mirrors=(mirror,), size_bytes=size)
    assert download_weights(spec).read_bytes() == CONTENT
    assert [r.path for r in server.requests] == ["/gone.pt", "/mirror.pt"]


def test_busy_server_is_asked_again(server: WeightsServer) -> None:
    url = server.serve("tiny.pt", CONTENT, status=503)

    def recover() -> None:
        while len(server.requests) < 2:
            time.sleep(0.01)
        server.pages["/tiny.pt"].status = 200

    thread = threading.Thread(target=recover)
    thread.start()
    assert download_weights(_spec(url)).read_bytes() == CONTENT
    thread.join()
    assert len(server.requests) >= 3


def test_proxy_of_the_environment(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """The host exists behind the proxy only."""
    spec = _spec("http://weights.invalid/tiny.pt")
    server.serve("tiny.pt", CONTENT)
    monkeypatch.setenv("http_proxy", server.url("").rstrip("/"))
    assert download_weights(spec).read_bytes() == CONTENT
    assert server.requests[0].path == "http://weights.invalid/tiny.pt"
    remove_weights(spec)
    monkeypatch.setenv("no_proxy", "weights.invalid")
    with pytest.raises(WeightsError, match="no connection"):
        download_weights(spec)


def test_offline_message_says_which_file_from_where_to_where(home: Path) -> None:
    with running_server() as server:
        url = server.url("tiny.pt")
    spec = _spec(url, mirrors=(url + "?mirror",))  # nobody listens there any more
    with pytest.raises(WeightsError) as caught:
        download_weights(spec)
    message = str(caught.value)
    for part in ("tiny.pt", url, url + "?mirror", str(home / "weights"), "litesam models import"):
        assert part in message


# -------------------------------------------------------------------------------------- resumption


def test_broken_connection_goes_on_where_it_ended(server: WeightsServer) -> None:
    url = server.serve("tiny.pt", CONTENT, cut_after=[100_000, 50_000])
    assert download_weights(_spec(url)).read_bytes() == CONTENT
    assert [r.range for r in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert sum(r.sent for r in server.requests) == len(CONTENT)


def test_server_without_ranges_starts_again(server: WeightsServer) -> None:
    url = server.serve("tiny.pt", CONTENT, cut_after=[100_000], ranges=False)
    assert download_weights(_spec(url)).read_bytes() == CONTENT
    assert server.requests[1].sent == len(CONTENT)


def test_connection_that_always_breaks_ends_with_advice(server: WeightsServer, home: Path) -> None:
    url = server.serve("tiny.pt", CONTENT, cut_after=[5000, 0, 0, 0, 0, 0, 0])
    with pytest.raises(WeightsError, match="ended after 5000 of"):
        download_weights(_spec(url))
    assert _folder(home) == {"tiny.pt.part", "tiny.pt.part.json"}  # the next call goes on there
    server.pages["/tiny.pt"].cut_after = []
    assert download_weights(_spec(url)).read_bytes() == CONTENT
    assert server.requests[-1].range == "bytes=5000-"
    assert _folder(home) == {"tiny.pt"}


def test_part_of_another_file_is_noticed_and_fetched_again(
    server: WeightsServer, home: Path
) -> None:
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "tiny.pt.part").write_bytes(b"x" * 1000)
    url = server.serve("tiny.pt", CONTENT)
    assert download_weights(_spec(url)).read_bytes() == CONTENT
    assert [r.range for r in server.requests] == ["bytes=1000-", None]


@pytest.mark.parametrize("validators", [True, False])
def test_file_that_changed_on_the_server_is_not_put_together_of_two(
    validators: bool, server: WeightsServer, home: Path
) -> None:
    """Without a published hash only the server's tag tells."""
    old, new = _bytes(STATE), _bytes({name: tensor + 1 for name, tensor in STATE.items()})
    url = server.serve("tiny.pt", old, cut_after=[700, 0, 0, 0, 0], validators=validators)
    spec = _spec(url, sha256=None, size_bytes=None, approx_bytes=len(old))
    with pytest.raises(WeightsError):
        download_weights(spec)
    server.serve("tiny.pt", new, validators=validators)
    assert download_weights(spec).read_bytes() == new


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["known", "unknown"])
def test_complete_part_needs_no_byte_more(
    size: int | None, server: WeightsServer, home: Path
) -> None:
    """As a process leaves it that dies, or is cancelled, before the file gets its name."""
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "tiny.pt.part").write_bytes(CONTENT)
    spec = _spec(server.serve("tiny.pt", CONTENT), size_bytes=size)
    assert download_weights(spec).read_bytes() == CONTENT
    assert sum(r.sent for r in server.requests) == 0


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["known", "unknown"])
def test_complete_part_of_another_file_is_fetched_again(
    size: int | None, server: WeightsServer, home: Path
) -> None:
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "tiny.pt.part").write_bytes(CONTENT[::-1])
    spec = _spec(server.serve("tiny.pt", CONTENT), size_bytes=size)
    assert download_weights(spec).read_bytes() == CONTENT
    assert sum(r.sent for r in server.requests) == len(CONTENT)


def test_error_that_nobody_foresaw_is_raised_instead_of_waiting_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(transport, "_opener", broken)
    limit = time.monotonic() + 10
    with pytest.raises(RuntimeError, match="no such thing"):
        download_weights(
            _spec("http://127.0.0.1:1/tiny.pt"), cancelled=lambda: time.monotonic() > limit
        )


# ------------------------------------------------------------------------------------------ cancel


@pytest.mark.parametrize("how", [{"pause_s": 0.02}, {"silent": True}], ids=["slow", "silent"])
def test_cancel_within_a_second_keeps_the_part(
    how: dict[str, Any], server: WeightsServer, home: Path
) -> None:
    spec = _spec(server.serve("tiny.pt", CONTENT, **how))
    start = time.monotonic()
    asked: list[float] = []

    def cancelled() -> bool:
        if time.monotonic() - start > 0.6:
            asked.append(time.monotonic())
            return True
        return False

    with pytest.raises(Cancelled):
        download_weights(spec, cancelled=cancelled)
    assert time.monotonic() - asked[0] < 1.0
    assert not spec_path(home).exists()
    part = home / "weights" / "tiny.pt.part"
    kept = part.stat().st_size
    assert CONTENT.startswith(part.read_bytes())
    assert (kept > 0) == ("pause_s" in how)
    server.serve("tiny.pt", CONTENT)
    assert download_weights(spec).read_bytes() == CONTENT
    assert sum(r.sent for r in server.requests[1:]) == len(CONTENT) - kept


def spec_path(home: Path) -> Path:
    return home / "weights" / "tiny.pt"


# ---------------------------------------------------------------------------------- wrong content


PAGE = b"<!DOCTYPE html><html>please log in</html>"


@pytest.mark.parametrize(
    ("content", "how", "words"),
    [
        (CONTENT[:-1] + b"!", {}, "SHA-256 differs"),
        (PAGE, {"headers": {"Content-Type": "text/html"}}, "web page"),
        (CONTENT + b"!", {}, "the published file has"),
        (CONTENT[:-5], {}, "the published file has"),
        (CONTENT, {"headers": {"Content-Encoding": "gzip"}}, "compressed"),
    ],
    ids=["tampered", "page", "longer", "shorter", "compressed"],
)
def test_wrong_content_is_deleted_and_the_mirror_asked(
    content: bytes, how: dict[str, Any], words: str, server: WeightsServer, home: Path
) -> None:
    url = server.serve("tiny.pt", content, **how)
    with pytest.raises(WeightsError, match=words):
        download_weights(_spec(url))
    assert _folder(home) <= {"tiny.pt.part.json"}
    assert "tiny.pt.part" not in _folder(home)
    mirror = server.serve("mirror.pt", CONTENT)
    assert download_weights(_spec(url, mirrors=(mirror,))).read_bytes() == CONTENT
    assert _folder(home) == {"tiny.pt"}


def test_endless_answer_is_cut(server: WeightsServer, home: Path) -> None:
    """Nothing is known of the file but its approximate size."""
    url = server.serve("tiny.pt", CONTENT)
    spec = _spec(url, sha256=None, size_bytes=None, approx_bytes=10_000)
    with pytest.raises(WeightsError, match="more than 20000 bytes"):
        download_weights(spec)
    assert sum(r.sent for r in server.requests) <= len(CONTENT)
    assert _folder(home) == set()


# ------------------------------------------------------------------------ without a published hash


def test_first_hash_is_recorded_and_a_later_change_noticed(
    server: WeightsServer, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from litesam.models.weights import load_network

    content = _bytes(STATE)
    spec = _spec(server.serve("tiny.pt", content), sha256=None, size_bytes=None, approx_bytes=2000)
    path = download_weights(spec)
    recorded = json.loads((home / "weights" / "hashes.json").read_text())
    assert recorded == {"tiny.pt": _sha256(content)}
    assert verify_weights(spec).sha256 == "unchanged"
    load_network(spec, path)
    assert not caplog.text
    torch.save({name: tensor * 2 for name, tensor in STATE.items()}, path)
    report = verify_weights(spec)
    assert (report.sha256, report.ok, report.matches) == ("differs", False, True)
    load_network(spec, path)
    assert "SHA-256 differs" in caplog.text
    remove_weights(spec)
    assert json.loads((home / "weights" / "hashes.json").read_text()) == {}


def test_file_that_does_not_load_is_not_accepted(server: WeightsServer, home: Path) -> None:
    content = _bytes({"b": torch.zeros(3)})
    spec = _spec(server.serve("tiny.pt", content), sha256=None, size_bytes=None, approx_bytes=2000)
    with pytest.raises(WeightsError, match="another model than 'tiny'"):
        download_weights(spec)
    assert _folder(home) == set()


# ---------------------------------------------------------------------------------------- archives


def _zip(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _flipped(content: bytes, index: int) -> bytes:
    return content[:index] + bytes([content[index] ^ 0xFF]) + content[index + 1 :]


@pytest.mark.parametrize(
    "name", ["tiny.pt", "weights/tiny.pt", "../../tiny.pt", "/etc/tiny.pt", "..\\..\\tiny.pt"]
)
def test_zipped_mirror_is_unpacked_into_its_place_only(
    name: str, server: WeightsServer, home: Path, tmp_path: Path
) -> None:
    archive = _zip({name: CONTENT, "../escaped.txt": b"x", "__MACOSX/._tiny.pt": b"x"})
    url = server.serve("tiny.pt.zip", archive, cut_after=[500])
    spec = _spec(server.url("gone.pt"), mirrors=(url,))
    assert download_weights(spec).read_bytes() == CONTENT
    assert _folder(home) == {"tiny.pt"}
    assert {p.name for p in tmp_path.iterdir()} == {"home"}
    assert {p.name for p in home.iterdir()} == {"weights"}


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (_zip({"other.pt": CONTENT}), "no archive of one file tiny.pt"),
        (_zip({"a/tiny.pt": CONTENT, "b/tiny.pt": CONTENT}), "no archive of one file tiny.pt"),
        (_zip({"tiny.pt": b"\0" * 50_000_000}), "too large"),
        (_zip({"tiny.pt": CONTENT})[:-50], "no archive of one file"),
        (_flipped(_zip({"tiny.pt": CONTENT}), 200), "archive is damaged"),
        (_flipped(_zip({"tiny.pt": CONTENT}), 1500), "archive is damaged"),
        (_zip({"tiny.pt": CONTENT[::-1]}), "SHA-256 differs"),
    ],
    ids=["another", "two", "bomb", "cut", "damaged", "damaged-too", "tampered"],
)
def test_bad_archives(archive: bytes, words: str, server: WeightsServer, home: Path) -> None:
    spec = _spec(server.serve("tiny.pt.zip", archive))
    with pytest.raises(WeightsError, match=words):
        download_weights(spec)
    assert _folder(home) == set()


# ---------------------------------------------------------------------------------------- licences


def test_restricted_licence_is_asked_once(server: WeightsServer, home: Path) -> None:
    spec = _spec(
        server.serve("tiny.pt", CONTENT),
        licence="AGPL-3.0",
        licence_url="https://licence.example",
        licence_note="Share alike.",
    )
    assert not weights_status(spec).permissive
    with pytest.raises(LicenceNotAccepted) as caught:
        download_weights(spec)
    for part in ("AGPL-3.0", "https://licence.example", "Share alike.", "--accept-licence"):
        assert part in str(caught.value)
    assert not server.requests
    assert not is_licence_accepted("AGPL-3.0")
    download_weights(spec, accept_licence=True)
    assert is_licence_accepted("AGPL-3.0")
    remove_weights(spec)
    download_weights(spec)
    remove_weights(spec)
    with pytest.raises(LicenceNotAccepted):
        download_weights(replace(spec, weights=replace(spec.weights, licence="Another")))


# --------------------------------------------------------------------- several processes, and disk


_PROCESS = """
import sys
from dataclasses import replace
from litesam.models.registry import get_spec
from litesam.weights import download_weights
url, sha256, size = sys.argv[1:4]
spec = get_spec("mobile_sam")
weights = replace(spec.weights, file="tiny.pt", url=url, mirrors=(), sha256=sha256,
                  size_bytes=int(size))
print("ready", flush=True)
try:
    print(download_weights(replace(spec, name="tiny", weights=weights)).read_bytes() != b"")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_two_processes_download_once(server: WeightsServer, home: Path) -> None:
    url = server.serve("tiny.pt", CONTENT, pause_s=0.002)
    argv = [sys.executable, "-c", _PROCESS, url, _sha256(CONTENT), str(len(CONTENT))]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [output.split() for output in outputs] == [["ready", "True"]] * 2
    assert spec_path(home).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert _folder(home) == {"tiny.pt"}


def test_waiting_for_another_download_can_be_cancelled(server: WeightsServer, home: Path) -> None:
    spec = _spec(server.serve("tiny.pt", CONTENT, pause_s=0.01))
    stop = threading.Event()
    failures: list[BaseException] = []

    def first() -> None:
        try:
            download_weights(spec, cancelled=stop.is_set)
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        download_weights(spec, on_progress=seen.append, cancelled=lambda: len(seen) > 1)
    assert "waiting for another download" in seen[0].message
    stop.set()
    thread.join()
    assert len(failures) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX's")
def test_full_disk_leaves_nothing_half(server: WeightsServer, home: Path) -> None:
    """The system refuses to write more than 200 kB."""
    url = server.serve("tiny.pt", CONTENT)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    result = subprocess.run(
        [sys.executable, "-c", limit + _PROCESS, url, _sha256(CONTENT), str(len(CONTENT))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "WeightsError The disk is full" in result.stdout, result.stderr
    assert _folder(home) == set()


def test_disk_without_room_is_told_before(server: WeightsServer, home: Path) -> None:
    size = 10**17
    headers = {"Content-Length": str(size)}
    url = server.serve("tiny.pt", CONTENT, headers=headers)
    with pytest.raises(WeightsError, match="disk is too full"):
        download_weights(_spec(url, size_bytes=size))
    assert _folder(home) == set()


def test_folder_that_cannot_be_made(server: WeightsServer, home: Path) -> None:
    home.write_text("a file in the way")
    with pytest.raises(WeightsError, match="LITESAM_HOME"):
        download_weights(_spec(server.serve("tiny.pt", CONTENT)))
