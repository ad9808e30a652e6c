"""One MobileSAM predictor for all parity tests, and the order of the tests of the family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import litesam
from parity.goldens import mobile_sam_state
from parity.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.predictors.sam import SamPredictor


@pytest.fixture(scope="session")
def mobile_sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the container of the official one, with deterministic weights."""
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(mobile_sam_state(), path)
    return path


@pytest.fixture(scope="session")
def predictor(mobile_sam_file: Path) -> SamPredictor:
    return litesam.load_predictor("mobile_sam", weights=mobile_sam_file, device="cpu")  # type: ignore[return-value]


@pytest.hookimpl(trylast=True)  # after pytest's own order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let all tests of one variant follow each other, so that it is loaded and encodes once."""
    order = {variant.model: number for number, variant in enumerate(VARIANTS)}

    def place(item: pytest.Item) -> int:
        callspec = getattr(item, "callspec", None)
        variant = None if callspec is None else callspec.params.get("loaded")
        return order[variant.model] if isinstance(variant, Variant) else -1

    places = [number for number, item in enumerate(items) if place(item) >= 0]
    grouped = sorted((items[number] for number in places), key=place)
    for number, item in zip(places, grouped, strict=True):
        items[number] = item
