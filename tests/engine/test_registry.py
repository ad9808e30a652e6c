"""The registry: complete specs, clear answers to wrong names, nothing heavy imported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import litesam
from litesam import types
from litesam.errors import LiteSamError, UnknownModelError
from litesam.models.registry import ENCODERS, MODELS, get_spec

if TYPE_CHECKING:
    from litesam.types import ModelSpec


#: No trustworthy hash of these files is published; they are checked by their tensors.
WITHOUT_HASH = {"FastSAM-s.pt", "Prompt_guided_Mask_Decoder.pt"}


def test_default_model_is_first() -> None:
    assert litesam.list_models() == MODELS
    assert [spec.name for spec in MODELS[:2]] == ["lite_sam", "mobile_sam"]


def test_names_are_unique_and_plain() -> None:
    names = [spec.name for spec in MODELS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.islower() for name in names)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_spec_is_complete(spec: ModelSpec) -> None:
    assert get_spec(spec.name) is spec
    assert spec.title
    assert spec.paper
    assert spec.weights.licence
    assert spec.proposals
    assert set(spec.proposals) <= {"auto_ppn", "boxes", "grid", "instances"}
    assert set(spec.prompts) <= {"point", "box", "mask", "text"}
    # Instances have features of another size for every image.
    assert spec.selects or "image" in spec.feature_shapes
    # A file comes with the package or has an address and a hash.
    assert spec.weights.bundled or spec.weights.url.startswith("https://")
    assert spec.weights.bundled or spec.weights.sha256 or spec.weights.file in WITHOUT_HASH
    assert spec.hq is None or get_spec(spec.hq)


def test_foreign_encoders_are_known_and_alone() -> None:
    users = [spec for spec in MODELS if spec.encoder_from is not None]
    assert users
    for spec in users:
        encoder = get_spec(spec.encoder_from)
        assert encoder.encoder_name == spec.encoder_name
        assert encoder.encoder_from is None
    for encoder in ENCODERS:
        assert encoder not in MODELS
        assert encoder.weights.bundled or encoder.weights.page or encoder.weights.url


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("mobilesam", "mobile_sam"), ("MobileSAM", "mobile_sam"), ("lite-sam", "lite_sam")],
)
def test_unknown_model_suggests_close_names(name: str, suggestion: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        get_spec(name)
    assert f"Did you mean '{suggestion}'" in str(caught.value)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, LiteSamError)


def test_unknown_model_without_a_close_name_lists_all() -> None:
    with pytest.raises(UnknownModelError, match="There is no model 'zzz'") as caught:
        get_spec("zzz")
    assert "Did you mean" not in str(caught.value)
    assert all(spec.name in str(caught.value) for spec in MODELS)


def test_listing_models_imports_no_torch() -> None:
    code = (
        "import sys, litesam; litesam.list_models(); litesam.PromptBatch;"
        "print([m for m in ('torch', 'napari', 'qtpy', 'zarr') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_public_names() -> None:
    assert litesam.PromptBatch is types.PromptBatch
    assert set(litesam.__all__) <= set(dir(litesam))
    assert litesam.__version__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = litesam.nonsense


@pytest.mark.parametrize("name", litesam.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(litesam, name) is not None
