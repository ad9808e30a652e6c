"""Models whose encoder and decoder come from two files: MobileSAMv2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import litesam
from litesam.errors import ConfigError, WeightsError
from litesam.models.registry import get_spec
from litesam.models.weights import encoder_state
from litesam.models.weights_files import file_hash, files_hash
from litesam.types import PromptBatch
from weights import build_network, fill_network, official_content

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "image_encoder."
State = dict[str, torch.Tensor]
RGB = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
BOX = PromptBatch(boxes=[[10, 20, 40, 70]])


@dataclass(frozen=True)
class Files:
    whole: Path
    decoder: Path
    state: State


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """MobileSAM's file, and a decoder's file with the same decoder."""
    folder = tmp_path_factory.mktemp("weights")
    state = fill_network(build_network(get_spec("mobile_sam"))).state_dict()
    found = Files(folder / "mobile_sam.pt", folder / "decoder.pt", state)
    torch.save(state, found.whole)
    torch.save(official_content(get_spec("mobilesamv2"), state), found.decoder)
    return found


def _bare(state: State) -> State:
    return {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)}


# ``model`` alone is how MobileSAMv2 publishes its TinyViT, ``module.`` what training leaves behind.
CONTAINERS: dict[str, Callable[[State], Any]] = {
    "whole model": lambda state: state,
    "encoder in a whole model's names": lambda state: {
        n: t for n, t in state.items() if n.startswith(PREFIX)
    },
    "encoder's own names": _bare,
    "under model": lambda state: {"model": _bare(state)},
    "under state_dict, data-parallel": lambda state: {
        "state_dict": {f"module.{n}": t for n, t in state.items() if n.startswith(PREFIX)}
    },
    "without the classifier of the pre-training": lambda state: {
        n: t for n, t in _bare(state).items() if not n.startswith(("head.", "norm_head."))
    },
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
def test_encoder_file_of_any_kind(wrap: Any, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    torch.save(wrap(files.state), path)
    wanted = {n: t for n, t in files.state.items() if n.startswith(PREFIX)}
    found = encoder_state(path, wanted)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        if "head" not in name:  # takes no part in anything
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def _mobile_sam(files: Files) -> Any:
    return litesam.load_predictor("mobile_sam", weights=files.whole, device="cpu")


def test_embeddings_are_shared_with_the_encoders_own_model(files: Files) -> None:
    whole = _mobile_sam(files)
    parts = litesam.load_predictor(
        "mobilesamv2", weights=files.decoder, encoder_weights=files.whole, device="cpu"
    )
    embedding = whole.encode(RGB)
    theirs = whole.decode(embedding, BOX, multimask=False)
    ours = parts.decode(embedding, BOX, multimask=False)
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    np.testing.assert_array_equal(ours.predicted_iou, theirs.predicted_iou)


def test_hash_of_the_weights_covers_both_files(files: Files, tmp_path: Path) -> None:
    parts = litesam.load_predictor(
        "mobilesamv2", weights=files.decoder, encoder_weights=files.whole, device="cpu"
    )
    assert parts.weights_hash == files_hash([files.decoder, files.whole])
    assert parts.weights_hash != files_hash([files.decoder])
    assert files_hash([files.decoder]) == file_hash(files.decoder)


def test_encoder_of_its_model_is_taken_from_the_weights_folder(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "Prompt_guided_Mask_Decoder.pt").write_bytes(files.decoder.read_bytes())
    with pytest.raises(WeightsError, match="weights of 'mobile_sam'"):
        litesam.load_predictor("mobilesamv2", device="cpu")
    torch.save(files.state, folder / "mobile_sam.pt")
    predictor = litesam.load_predictor("mobilesamv2", device="cpu")
    assert predictor.spec.name == "mobilesamv2"


def test_encoder_without_an_address_is_asked_for_by_hand(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"by hand.*github\.com/ChaoningZhang"):
        litesam.load_predictor("mobilesamv2_efficientvit_l2", weights=files.decoder, device="cpu")


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda state: {n: t for n, t in state.items() if not n.startswith(PREFIX)}, "missing"),
        (lambda state: {**_bare(state), "stranger": torch.zeros(2)}, "stranger"),
    ],
    ids=["a decoder", "one tensor more"],
)
def test_file_that_is_no_encoder(wrap: Any, words: str, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    torch.save(wrap(files.state), path)
    with pytest.raises(WeightsError, match=words) as caught:
        litesam.load_predictor("mobilesamv2", weights=files.decoder, encoder_weights=path)
    assert str(path) in str(caught.value)


def test_whole_model_is_no_decoder_file(files: Files) -> None:
    with pytest.raises(WeightsError, match="'PromtEncoder'"):
        litesam.load_predictor("mobilesamv2", weights=files.whole, encoder_weights=files.whole)


def test_encoder_alone_is_no_model() -> None:
    with pytest.raises(ConfigError, match="load 'mobilesamv2_efficientvit_l2'"):
        litesam.load_predictor("mobilesamv2_l2_encoder")


def test_encoder_file_for_a_model_of_one_file(files: Files) -> None:
    with pytest.raises(ConfigError, match="give that file as weights"):
        litesam.load_predictor("mobile_sam", encoder_weights=files.whole)
