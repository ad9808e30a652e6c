"""One MobileSAM predictor and its embeddings for all parity tests."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pytest
import torch

import litesam
from parity.goldens import Goldens, mobile_sam_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from litesam.predictors.sam import SamPredictor
    from litesam.types import Embedding


@pytest.fixture(scope="session")
def mobile_sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the container of the official one, with deterministic weights."""
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(mobile_sam_state(), path)
    return path


@pytest.fixture(scope="session")
def predictor(mobile_sam_file: Path) -> SamPredictor:
    return litesam.load_predictor("mobile_sam", weights=mobile_sam_file, device="cpu")  # type: ignore[return-value]


@pytest.fixture(scope="session")
def embed(predictor: SamPredictor) -> Callable[[Goldens, str], Embedding]:
    """``embed(goldens, image)``, each image encoded once."""

    @lru_cache(maxsize=8)
    def encode(folder: Path, images: Path, image: str) -> Embedding:
        return predictor.encode(Goldens(folder, images).rgb(image))

    return lambda goldens, image: encode(goldens.folder, goldens.images, image)
