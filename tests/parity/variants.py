"""The variants that are compared with their official code, and how one is loaded for that.

Every variant gets deterministic weights (`parity.fill`) in the container of its official file and
goes through `litesam.load_predictor` like a file that a user gives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import litesam
from litesam.models.registry import MODELS, get_spec
from parity.fill import fill_tensor
from parity.goldens import DATA, KIT, Goldens

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.predictors import Predictor
    from litesam.types import Embedding, Masks

#: Small goldens of all variants, committed with the tests.
SMALL = DATA.parent / "goldens"
#: Models with more parameters than this are tested in the slow run only.
SLOW_ABOVE = 100_000_000


@dataclass(frozen=True)
class Variant:
    """One model and the folder of its goldens."""

    model: str
    kit: str

    @property
    def slow(self) -> bool:
        return get_spec(self.model).parameters > SLOW_ABOVE

    @property
    def complete(self) -> Goldens:
        return Goldens(KIT / self.kit, KIT / "images")

    @property
    def small(self) -> Goldens:
        return Goldens(SMALL / self.kit, DATA)


#: Goldens of the kit by the model that has to match them.
_KITS = {
    "mobile_sam": "mobile_sam",
    "sam_vit_b": "sam_vit_b",
    "sam_vit_l": "sam_vit_l",
    "sam_vit_h": "sam_vit_h",
    "sam_hq_vit_tiny": "sam_hq_vit_tiny",
    "sam_hq_vit_b": "sam_hq_vit_b",
    "sam_hq_vit_l": "sam_hq_vit_l",
    "sam_hq_vit_h": "sam_hq_vit_h",
    "efficient_sam_vitt": "efficient_sam_vitt",
    "efficient_sam_vits": "efficient_sam_vits",
    "edge_sam": "edge_sam",
    "edge_sam_3x": "edge_sam",
    "efficientvit_sam_l0": "efficientvit_sam_l0",
    "efficientvit_sam_l1": "efficientvit_sam_l1",
    "efficientvit_sam_l2": "efficientvit_sam_l2",
    "efficientvit_sam_xl0": "efficientvit_sam_xl0",
    "efficientvit_sam_xl1": "efficientvit_sam_xl1",
}
VARIANTS = tuple(Variant(spec.name, _KITS[spec.name]) for spec in MODELS if spec.name in _KITS)


def build_network(model: str, *, meta: bool = False) -> torch.nn.Module:
    """The network of a model with random weights, or on the meta device without any."""
    spec = get_spec(model)
    module, _, function = spec.builder.partition(":")
    with torch.device("meta" if meta else "cpu"):
        network: torch.nn.Module = getattr(import_module(module), function)(spec)
    return network


def list_tensors(model: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Names, shapes and types of a model's state dict."""
    state = build_network(model, meta=True).state_dict()
    return [
        (name, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in state.items()
    ]


def digest_tensors(tensors: list[tuple[str, tuple[int, ...], str]]) -> str:
    """SHA-256 of a state dict's names, shapes and types, in any order."""
    lines = sorted(f"{name} {list(shape)} {dtype}" for name, shape, dtype in tensors)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_official_file(model: str, folder: Path, salt: int = 0) -> Path:
    """A file of deterministic weights in the container of the official one."""
    spec = get_spec(model)
    content: Any = {
        name: torch.from_numpy(np.asarray(fill_tensor(name, shape, dtype, salt)))
        for name, shape, dtype in list_tensors(model)
    }
    for key in reversed(spec.weights.container):
        content = {key: content}
    path = folder / spec.weights.file
    torch.save(content, path)
    return path


class Loaded:
    """One variant with its weights and what was encoded with them."""

    def __init__(self, variant: Variant, folder: Path) -> None:
        self.variant = variant
        self.file = write_official_file(variant.model, folder)
        self._embeddings: dict[str, Embedding] = {}
        self._masks: dict[tuple[str, str, str], Masks] = {}

    def _load(self, hq: Any) -> Predictor:
        return litesam.load_predictor(self.variant.model, weights=self.file, device="cpu", hq=hq)

    @cached_property
    def predictor(self) -> Predictor:
        return self._load(False)

    @cached_property
    def token_only(self) -> Predictor:
        """The HQ model that returns the mask of the HQ token alone."""
        return self._load("only")

    def embed(self, goldens: Goldens, image: str) -> Embedding:
        """The embedding of an image; both sets of goldens use the same images."""
        if image not in self._embeddings:
            self._embeddings[image] = self.predictor.encode(goldens.rgb(image))
        return self._embeddings[image]

    def decode(self, goldens: Goldens, image: str, prompt: str, mode: str) -> Masks:
        """Masks of a stored prompt, decoded once for all tests that look at them.

        ``mode`` as in the goldens: ``multi``, ``single.hq_only`` …
        """
        key = (image, prompt, mode)
        if key not in self._masks:
            how, _, hq = mode.partition(".")
            predictor = self.token_only if hq == "hq_only" else self.predictor
            self._masks[key] = predictor.decode(
                self.embed(goldens, image), goldens.prompts(image, prompt), multimask=how == "multi"
            )
        return self._masks[key]
