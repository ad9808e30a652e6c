"""Weights that the user has already: recognised, refused, copied, checked."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from litesam.errors import UnknownModelError, WeightsError
from litesam.models import registry, weights_files
from litesam.models.registry import ENCODERS, get_spec, list_models
from litesam.models.weights import expected_tensors
from litesam.models.weights_files import file_hash
from litesam.weights import (
    import_weights,
    recognise_weights,
    remove_weights,
    verify_weights,
    weights_status,
)
from weights import build_network, fill_network, filled_weights, official_content

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.types import ModelSpec

State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder; nothing is bundled."""
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights_files, "bundled_dir", lambda: tmp_path / "bundled")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def mobile_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of MobileSAM under a name that says nothing."""
    return filled_weights("mobile_sam", tmp_path_factory.mktemp("w")).rename(
        tmp_path_factory.mktemp("w") / "download (3).bin"
    )


def _publish(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    """Make the content of a file the published one of a model."""
    models = tuple(
        replace(s, weights=replace(s.weights, sha256=file_hash(path), size_bytes=None))
        if s.name == name
        else s
        for s in list_models()
    )
    monkeypatch.setattr(registry, "MODELS", models)


def _sparse(spec: ModelSpec, path: Path) -> None:
    """A file with a model's tensors, as its publisher nests them, of which none has values.

    Every tensor is a view of the same zeros, so that the largest models take one record.
    """
    wanted = expected_tensors(spec)
    zeros = {
        dtype: torch.zeros(max(t.numel() for t in wanted.values()), dtype=dtype)
        for dtype in {t.dtype for t in wanted.values()}
    }
    state = {n: zeros[t.dtype][: t.numel()].view(t.shape) for n, t in wanted.items()}
    torch.save(official_content(spec, state), path)


# ---------------------------------------------------------------------------------- recognition


@pytest.mark.parametrize("spec", [*list_models(), *ENCODERS], ids=lambda spec: spec.name)
def test_every_model_is_recognised_by_its_tensors(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "unnamed"
    _sparse(spec, path)
    same = {
        s.name
        for s in (list_models() if spec in list_models() else ENCODERS)
        if s.weights.file == spec.weights.file
        or {s.name, spec.name} == {"edge_sam", "edge_sam_3x"}  # the same network
    }
    assert set(recognise_weights(path)) == same


def test_safetensors_without_a_suffix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    state = fill_network(build_network(get_spec("mobile_sam"))).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    assert recognise_weights(path) == ("mobile_sam",)


def test_weights_of_no_model(mobile_sam: Path, tmp_path: Path) -> None:
    state = torch.load(mobile_sam, weights_only=True)
    state.pop("mask_decoder.iou_token.weight")
    path = tmp_path / "w.pt"
    torch.save(state, path)
    assert recognise_weights(path) == ()
    with pytest.raises(WeightsError, match="nearest to 'mobile_sam'") as caught:
        import_weights(path)
    assert "1 tensors missing (mask_decoder.iou_token.weight)" in str(caught.value)
    torch.save({"unrelated": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="of no model that is known here"):
        import_weights(path)


# --------------------------------------------------------------------------------------- import


def test_import_by_content_whatever_the_name(
    mobile_sam: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, "mobile_sam", mobile_sam)
    status = import_weights(mobile_sam)
    assert status.spec.name == "mobile_sam"
    assert status.path == status.target == home / "weights" / "mobile_sam.pt"
    assert (status.origin, status.size_bytes) == ("folder", mobile_sam.stat().st_size)
    assert file_hash(status.target) == file_hash(mobile_sam)
    report = verify_weights("mobile_sam")
    assert (report.ok, report.sha256, report.readable, report.matches) == (True, "ok", True, True)
    import_weights(status.target)  # onto itself
    assert verify_weights("mobile_sam").ok
    assert [p.name for p in status.target.parent.iterdir() if p.suffix != ".lock"] == [
        "mobile_sam.pt"
    ]


def test_file_that_is_not_the_published_one_needs_the_name(mobile_sam: Path) -> None:
    """Changed by somebody, or saved anew: nobody can tell."""
    with pytest.raises(WeightsError, match="not the published file") as caught:
        import_weights(mobile_sam)
    assert file_hash(mobile_sam) in str(caught.value)
    assert not weights_status("mobile_sam").present
    status = import_weights(mobile_sam, "mobile_sam")
    assert status.present
    report = verify_weights("mobile_sam")
    assert (report.ok, report.sha256) == (True, "unchanged")
    with status.target.open("r+b") as file:  # a value of a tensor
        file.seek(status.target.stat().st_size // 2)
        file.write(b"\x01")
    assert verify_weights("mobile_sam").sha256 == "differs"


def test_models_of_the_same_form_are_told_apart_by_the_hash_or_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled_weights("edge_sam", tmp_path)
    assert set(recognise_weights(path)) == {"edge_sam", "edge_sam_3x"}
    with pytest.raises(WeightsError, match="'edge_sam' or 'edge_sam_3x'") as caught:
        import_weights(path)
    assert "--as" in str(caught.value)
    assert import_weights(path, "edge_sam").spec.name == "edge_sam"
    _publish(monkeypatch, "edge_sam_3x", path)
    assert recognise_weights(path) == ("edge_sam_3x",)
    assert import_weights(path).spec.name == "edge_sam_3x"


def test_file_of_several_models_and_encoder_of_another_one(
    mobile_sam: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(mobile_sam, weights_only=True)
    path = tmp_path / "decoder"
    torch.save(official_content(get_spec("mobilesamv2"), state), path)
    assert set(recognise_weights(path)) == {
        s.name for s in list_models() if s.weights.file == "Prompt_guided_Mask_Decoder.pt"
    }
    status = import_weights(path)
    assert status.path is not None
    assert not status.present
    assert [file.spec.name for file in status.missing] == ["mobile_sam"]
    report = verify_weights("mobilesamv2")
    assert not report.present
    assert "mobile_sam.pt" in (report.problem or "")
    import_weights(mobile_sam, "mobile_sam")
    assert weights_status("mobilesamv2").present
    assert verify_weights("mobilesamv2").ok
    weights_status("mobile_sam").target.write_bytes(b"")
    assert "empty" in (verify_weights("mobilesamv2").problem or "")


@pytest.mark.parametrize("folder", ["", "weights/", "../../"])
def test_zipped_file(
    folder: str, mobile_sam: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As EfficientSAM-S is published."""
    _publish(monkeypatch, "mobile_sam", mobile_sam)
    path = tmp_path / "w.pt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(mobile_sam, folder + "mobile_sam.pt")
    status = import_weights(path)
    assert file_hash(status.target) == file_hash(mobile_sam)
    assert {p.name for p in (home / "weights").iterdir() if p.suffix != ".lock"} == {
        "mobile_sam.pt"
    }
    assert {p.name for p in tmp_path.iterdir()} == {"home", "w.pt.zip"}


def test_refused_file_in_an_archive_is_named_as_the_user_knows_it(
    mobile_sam: Path, tmp_path: Path
) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.pt", mobile_sam.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match="damaged") as caught:
        import_weights(path)
    assert f"{path} (inside.pt)" in str(caught.value)
    assert "unpacked" not in str(caught.value)
    assert ".." not in str(caught.value)  # the first sentence of PyTorch's reason, no more


def test_zipped_bomb(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.pt", bytes(100_000_000))
    with pytest.raises(WeightsError, match="too large"):
        import_weights(path)
    assert list((home / "weights").iterdir()) == []


@pytest.mark.parametrize("model", [None, "mobile_sam"])
def test_truncated_file_is_refused(model: str | None, mobile_sam: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(mobile_sam.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match="damaged"):
        import_weights(path, model)
    assert not weights_status("mobile_sam").present


def test_tampered_values_are_refused_even_by_name(mobile_sam: Path, tmp_path: Path) -> None:
    state = torch.load(mobile_sam, weights_only=True)
    state["mask_decoder.iou_token.weight"][0, 0] = float("nan")
    path = tmp_path / "nan.pt"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="NaN"):
        import_weights(path, "mobile_sam")


def test_wrong_name_missing_file_and_folder(mobile_sam: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="another model than 'lite_sam'"):
        import_weights(mobile_sam, "lite_sam")
    with pytest.raises(UnknownModelError):
        import_weights(mobile_sam, "no_such")
    with pytest.raises(WeightsError, match="does not exist"):
        import_weights(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="is a folder"):
        import_weights(tmp_path)


def test_bundled_weights_stay(mobile_sam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mobile_sam.parent / "bundled"
    folder.mkdir(exist_ok=True)
    (folder / "mobile_sam.pt").write_bytes(mobile_sam.read_bytes())
    monkeypatch.setattr("litesam.models.weights_files.bundled_dir", lambda: folder)
    monkeypatch.setattr("litesam.weights.places.bundled_dir", lambda: folder)
    assert weights_status("mobile_sam").origin == "bundled"
    with pytest.raises(WeightsError, match="in the package"):
        import_weights(mobile_sam, "mobile_sam")
    with pytest.raises(WeightsError, match="part of the package"):
        remove_weights("mobile_sam")
    assert verify_weights("mobile_sam").sha256 == "differs"


# --------------------------------------------------------------------------------------- verify


def test_verify_says_what_is_wrong(mobile_sam: Path, home: Path) -> None:
    report = verify_weights("mobile_sam")
    assert not report.present
    assert "litesam models download mobile_sam" in (report.problem or "")
    target = weights_status("mobile_sam").target
    target.parent.mkdir(parents=True)
    target.write_bytes(mobile_sam.read_bytes()[:1000])
    report = verify_weights("mobile_sam")
    assert (report.present, report.readable, report.matches) == (True, False, False)
    assert report.sha256 == "differs"
    assert "damaged" in (report.problem or "")
    torch.save({"a": torch.zeros(1)}, target)
    report = verify_weights("mobile_sam")
    assert (report.readable, report.matches) == (True, False)
    assert "another model" in (report.problem or "")
