"""Reference inputs and outputs of official code with deterministic weights.

Two sets in one format: small ones in ``tests/data/goldens``, and the complete conformance kit
beside the checkout where it is present. ``golden.json`` says for each array of ``golden.npz`` which
slice of the full array it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from litesam.types import PromptBatch
from parity.fill import fill_state_dict

DATA = Path(__file__).parents[1] / "data" / "mobile_sam"
KIT = Path(__file__).parents[3] / "shared" / "conformance"

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Goldens:
    """One set of reference values."""

    folder: Path
    images: Path

    @property
    def present(self) -> bool:
        return (self.folder / "golden.npz").is_file()

    @cached_property
    def index(self) -> dict[str, Any]:
        return json.loads((self.folder / "golden.json").read_text())

    @cached_property
    def arrays(self) -> dict[str, Array]:
        with np.load(self.folder / "golden.npz") as file:
            return dict(file)

    def rgb(self, image: str) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        with Image.open(self.images / self.index["images"][image]["file"]) as file:
            return np.asarray(file.convert("RGB"))

    def cut(self, name: str, full: Array) -> Array:
        """The part of ``full`` that is stored under ``name``."""
        entry = self.index["arrays"][name]
        assert list(full.shape) == entry["full_shape"], name
        return full[_slices(entry.get("slice"))]

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """A stored bool mask, (M, H, W)."""
        shape = self.index["arrays"][name]["full_shape"]
        flat = np.unpackbits(self.arrays[name])[: int(np.prod(shape))]
        return flat.reshape(shape).astype(bool)

    def prompts(self, image: str, prompt: str) -> PromptBatch:
        """A stored prompt, (x, y) turned into (y, x)."""
        entry = self.index["prompts"][image][prompt]
        points = entry.get("batch_points", [entry["points"]] if "points" in entry else None)
        labels = entry.get("batch_labels", [entry["labels"]] if "labels" in entry else None)
        boxes = entry.get("batch_boxes", [entry["box"]] if "box" in entry else None)
        return PromptBatch(
            points=None if points is None else np.asarray(points)[..., ::-1],
            labels=labels,
            boxes=None if boxes is None else np.asarray(boxes)[:, [1, 0, 3, 2]],
            low_res_masks=self.arrays[f"{image}.mask_input"] if "mask_input" in entry else None,
        )


COMPLETE = Goldens(KIT / "mobile_sam", KIT / "images")


def _slices(text: str | None) -> Any:
    """``"[..., ::5, ::5]"`` as an index."""
    if text is None:
        return ...
    parts: list[Any] = []
    for part in text.strip("[]").split(","):
        if part.strip() == "...":
            parts.append(...)
        else:
            numbers = [int(n) if n.strip() else None for n in part.split(":")]
            parts.append(slice(*numbers))
    return tuple(parts)


def read_names(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Names, shapes and types of a state dict, one tab-separated entry a line."""
    entries = []
    for line in path.read_text().splitlines():
        name, shape, dtype = line.split("\t")
        entries.append((name, tuple(int(n) for n in shape.split()), dtype))
    return entries


@lru_cache(maxsize=1)
def mobile_sam_state() -> dict[str, torch.Tensor]:
    """The deterministic state dict with exactly the entries of the official MobileSAM file."""
    arrays = fill_state_dict(read_names(DATA / "state_dict.tsv"))
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
