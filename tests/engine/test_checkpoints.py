"""Whole pickled networks are read as data: nothing in the file is imported, called or run."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from litesam.errors import WeightsError
from litesam.models.checkpoints import UnsafeFileError, read_module_tensors
from litesam.models.state_dicts import load_state_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREIGN = "someones_detector"


class Parts(nn.Module):
    """A network with everything that a state dict must get right."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU())
        self.register_buffer("grid", torch.arange(6.0).reshape(2, 3))
        self.register_buffer("scratch", torch.ones(2), persistent=False)
        self.register_buffer("nothing", None)
        self.weight = nn.Parameter(torch.randn(3, 2).t())  # not contiguous
        self.branches = nn.ModuleDict({"b": nn.Linear(2, 2), "a": nn.Linear(2, 3, bias=False)})
        self.anchors = torch.ones(5)  # a plain attribute, in no state dict
        self.settings = {"names": {0: "object"}, "args": [1, 2.5, "x", None, True]}


@pytest.fixture
def foreign() -> Iterator[type[Parts]]:
    """The class, as if it came from a package that is not installed where the file is read."""
    torch.manual_seed(3)
    module = ModuleType(FOREIGN)
    cls = type("SegmentationModel", (Parts,), {"__module__": FOREIGN})
    module.SegmentationModel = cls  # type: ignore[attr-defined]
    sys.modules[FOREIGN] = module
    yield cls
    sys.modules.pop(FOREIGN, None)


def _saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    sys.modules.pop(FOREIGN, None)
    return path


def _write(path: Path, program: bytes, records: dict[str, bytes] | None = None) -> Path:
    """A file of torch.save with a pickle of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", program)
        for name, data in (records or {}).items():
            archive.writestr(f"net/{name}", data)
    return path


def _same(ours: dict[str, torch.Tensor], network: nn.Module) -> None:
    wanted = network.state_dict()
    assert list(ours) == list(wanted)
    for name, tensor in wanted.items():
        assert ours[name].dtype == tensor.dtype
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0)


# -------------------------------------------------------------------------------------------- reads


def test_state_dict_in_module_order_without_the_classes(tmp_path: Path, foreign: Any) -> None:
    network = foreign().half()
    path = _saved(tmp_path / "net.pt", {"epoch": -1, "model": network, "ema": None})
    ours = read_module_tensors(path)
    assert FOREIGN not in sys.modules
    _same(ours, network)
    assert "scratch" not in ours


def test_average_of_the_weights_is_preferred(tmp_path: Path, foreign: Any) -> None:
    model, average = foreign(), foreign()
    path = _saved(tmp_path / "net.pt", {"model": model, "ema": average})
    _same(read_module_tensors(path), average)
    _same(read_module_tensors(path, ("model",)), model)


def test_network_without_a_dict_around_it(tmp_path: Path, foreign: Any) -> None:
    network = foreign()
    _same(read_module_tensors(_saved(tmp_path / "net.pt", network)), network)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_protocols_of_zip_archives(tmp_path: Path, foreign: Any, protocol: int) -> None:
    network = foreign()
    torch.save({"model": network}, tmp_path / "net.pt", pickle_protocol=protocol)
    _same(read_module_tensors(tmp_path / "net.pt"), network)


def test_tensors_that_share_memory_and_empty_ones(tmp_path: Path, foreign: Any) -> None:
    network = foreign()
    network.branches["b"].weight = nn.Parameter(network.weight[:, :2].detach())
    network.register_buffer("empty", torch.zeros(0, 4))
    _same(read_module_tensors(_saved(tmp_path / "net.pt", {"model": network})), network)


def test_usual_reader_takes_such_files_and_widens(tmp_path: Path, foreign: Any) -> None:
    network = foreign().half()
    state = load_state_dict(_saved(tmp_path / "net.pt", {"model": network}))
    assert list(state) == list(network.state_dict())
    assert state["first.0.weight"].dtype == torch.float32


# ------------------------------------------------------------------------------------------ refuses


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _program(content: Any) -> bytes:
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _global(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def _attacks(mark: Path) -> dict[str, bytes]:
    """Pickles that would create the file ``mark`` in a reader that trusts them."""
    import os

    touch = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w')"
    run = _text(touch) + b"\x85R."
    name = _text("system")
    return {
        "os.system": _program(Call(os.system, touch)),
        "os.system in a state": _program({"model": {"hook": Call(os.system, touch)}}),
        "eval": _program(Call(eval, code)),
        "exec": _program(Call(exec, code)),
        "subprocess": _program(Call(subprocess.check_output, ["touch", str(mark)])),
        "call of a call": b"\x80\x02"
        + _global("__builtin__", "getattr")
        + _global("someones_detector", "Thing")
        + name
        + b"\x86R"
        + run,
        "getattr of a module": b"\x80\x02"
        + _global("builtins", "getattr")
        + _global("builtins", "__import__")
        + name
        + b"\x86R"
        + run,
        "partial": _program(Call(__import__("functools").partial, os.system, touch)),
        "operator": _program(Call(__import__("operator").methodcaller, "system", touch)),
        "torch.load": b"\x80\x02" + _global("torch", "load") + run,
        "torch.hub": b"\x80\x02" + _global("torch.hub", "load") + run,
        "name put together": b"\x80\x04" + b"\x8c\x02os" + b"\x8c\x06system" + b"\x93" + run,
        "computed name": b"\x80\x04" + b"K\x01" + b"\x8c\x06system" + b"\x93" + run,
        "old call": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "old object": b"(" + _global("someones_detector", "Thing") + _text(touch) + b"o.",
        "extension": b"\x80\x02\x82\x01.",
        "old reference": b"\x80\x02Pos.system\n.",
        "state of a class": b"\x80\x02"
        + _global("someones_detector", "Thing")
        + b"}"
        + _text("__setstate__")
        + _global("someones_detector", "run")
        + b"sb"
        + b".",
        "state of a list": b"\x80\x02]}" + _text("append") + _text(touch) + b"sb.",
        "items of a class": b"\x80\x02"
        + _global("someones_detector", "Thing")
        + _text("__call__")
        + _text(touch)
        + b"s.",
        "append to a class": b"\x80\x02"
        + _global("someones_detector", "Thing")
        + _text(touch)
        + b"a.",
        "reference to a module": b"\x80\x02(" + _text("module") + _text("os") + b"tQ.",
        "reference to a function": b"\x80\x02("
        + _text("storage")
        + _global("someones_detector", "Storage")
        + _text("0")
        + _text("cpu")
        + b"K\x01tQ.",
        "reference out of the archive": b"\x80\x02("
        + _text("storage")
        + _global("torch", "FloatStorage")
        + _text("../../../etc/passwd")
        + _text("cpu")
        + b"K\x01tQ.",
    }


@pytest.mark.parametrize("attack", list(_attacks(Path("mark"))))
def test_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, attack: str) -> None:
    mark = tmp_path / "it-ran"
    path = _write(tmp_path / "net.pt", _attacks(mark)[attack])
    with pytest.raises(UnsafeFileError, match=r"was refused: .*Nothing was run"):
        read_module_tensors(path)
    with pytest.raises(WeightsError):
        load_state_dict(path)
    assert not mark.exists()


def test_attack_within_a_real_network(tmp_path: Path, foreign: Any) -> None:
    import os

    mark = tmp_path / "it-ran"
    network = foreign()
    network.settings["hook"] = Call(os.system, f"touch {mark}")
    path = _saved(tmp_path / "net.pt", {"model": network})
    with pytest.raises(UnsafeFileError, match=r"(posix|nt)\.system"):
        load_state_dict(path)
    assert not mark.exists()


def test_modules_that_the_file_names_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "it-ran"
    (tmp_path / "trap_on_import.py").write_text(f"open({str(mark)!r}, 'w')\nclass Net: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    program = b"\x80\x02" + _global("trap_on_import", "Net") + b")\x81}b."
    with pytest.raises(WeightsError, match="holds no network"):
        read_module_tensors(_write(tmp_path / "net.pt", program))
    assert "trap_on_import" not in sys.modules
    assert not mark.exists()


# ------------------------------------------------------------------------------------------ damaged


def _tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...], length: int = 4) -> bytes:
    """Program of {"model": network with one tensor}, its storage of float32 values."""

    def whole(number: int) -> bytes:
        return b"J" + struct.pack("<i", number)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(whole, values)) + b"t"

    storage = (
        b"("
        + _text("storage")
        + _global("torch", "FloatStorage")
        + _text("0")
        + _text("cpu")
        + whole(length)
        + b"tQ"
    )
    tensor = (
        _global("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + whole(offset)
        + numbers(size)
        + numbers(stride)
        + b"\x89"
        + _global("collections", "OrderedDict")
        + b")Rt"
        + b"R"
    )
    state = b"}(" + _text("_modules") + b"}" + _text("_parameters") + b"}" + _text("w") + tensor
    network = _global("someones_detector", "Net") + b")\x81" + state + b"su" + b"b"
    return b"\x80\x02}" + _text("model") + network + b"s."


DATA = {"data/0": struct.pack("<4f", 1, 2, 3, 4)}


def test_program_of_the_next_tests_is_right(tmp_path: Path) -> None:
    path = _write(tmp_path / "net.pt", _tensor(1, (2,), (2,)), DATA)
    assert read_module_tensors(path)["w"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (10**6, 10**6), (0, 0)),
        (-1, (1,), (1,)),
        (0, (2,), ()),
    ],
    ids=["too long", "beyond the end", "repeated for ever", "before the start", "no stride"],
)
def test_tensor_that_does_not_fit_its_record(
    tmp_path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    path = _write(tmp_path / "net.pt", _tensor(offset, size, stride), DATA)
    with pytest.raises(WeightsError, match="damaged"):
        read_module_tensors(path)


def test_record_of_another_length(tmp_path: Path) -> None:
    path = _write(tmp_path / "net.pt", _tensor(0, (2,), (1,)), {"data/0": b"12345678"})
    with pytest.raises(WeightsError, match="damaged"):
        read_module_tensors(path)


def test_compressed_record(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}.")
    with pytest.raises(WeightsError, match="compressed"):
        read_module_tensors(tmp_path / "net.pt")


def test_module_that_holds_itself(tmp_path: Path) -> None:
    inner = _text("_modules") + b"}" + _text("again") + b"h\x00" + b"ss"
    program = b"\x80\x02" + _global("someones_detector", "Net") + b")\x81q\x00}" + inner + b"b."
    with pytest.raises(WeightsError, match="more modules than any network"):
        read_module_tensors(_write(tmp_path / "net.pt", program))


@pytest.mark.parametrize("content", [{"model": None}, {"weights": 1}, [1, 2], 3])
def test_file_without_a_network(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="holds no network under 'ema' or 'model'"):
        read_module_tensors(tmp_path / "net.pt")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_file(tmp_path: Path, foreign: Any, share: float) -> None:
    path = _saved(tmp_path / "net.pt", {"model": foreign()})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError):
        read_module_tensors(path)


def test_changed_bytes_never_give_anything_but_tensors_or_an_error(
    tmp_path: Path, foreign: Any
) -> None:
    path = _saved(tmp_path / "net.pt", {"model": foreign()})
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        records = {n.removeprefix(f"{root}/"): archive.read(n) for n in archive.namelist()}
    program = records.pop("data.pkl")
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        changed = bytearray(program)
        where, byte = torch.randint(0, len(program), (2,), generator=generator).tolist()
        changed[where] = byte % 256
        path = _write(tmp_path / "changed.pt", bytes(changed), records)
        try:
            state = read_module_tensors(path)
        except WeightsError:
            continue
        assert all(isinstance(t, torch.Tensor) for t in state.values())


def test_missing_file_and_no_archive(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        read_module_tensors(tmp_path / "none.pt")
    (tmp_path / "net.pt").write_bytes(b"no archive at all")
    with pytest.raises(WeightsError, match="damaged or no PyTorch file"):
        read_module_tensors(tmp_path / "net.pt")
