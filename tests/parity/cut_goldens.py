"""Cut the small goldens in ``tests/data/goldens`` out of the complete conformance kit.

By hand, after the kit has changed or a variant was added::

    python tests/parity/cut_goldens.py

Of image b: the embedding, one prompt of each kind, masks. Every array is thinned once more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from parity.goldens import KIT, Goldens
from parity.variants import SMALL, VARIANTS, digest_tensors

PROMPTS = ("point1", "points3", "box", "boxes4")
#: Further thinning of arrays with two spatial axes.
STEP = 2


def _wanted(name: str) -> bool:
    parts = name.split(".")
    if parts[0] != "b":
        return False
    last = parts[-1]
    if last in ("embedding", "early_feature", "embedding_channel_mean", "embedding_channel_std"):
        return True
    if len(parts) < 3 or parts[1] not in PROMPTS:
        return False
    return last in ("low_res", "iou", "stability", "mask", "full_logits")


def _thinned(text: str | None, array: Any) -> tuple[str | None, Any]:
    """Every other value of the last two axes, and the slice that gives it."""
    if text is None or array.ndim < 2 or array.dtype == np.uint8:
        return text, array
    parts = [part.strip() for part in text.strip("[]").split(",")]
    for axis in (-1, -2):
        start, _, rest = parts[axis].partition(":")
        step = int(rest.lstrip(":") or 1)
        parts[axis] = f"{start}::{step * STEP}"
    return f"[{', '.join(parts)}]", array[..., ::STEP, ::STEP]


def cut(kit: str) -> None:
    """Write the small goldens of one variant."""
    folder = SMALL / kit
    folder.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((KIT / kit / "manifest.json").read_text())
    tensors = [
        (name, tuple(shape), dtype.removeprefix("torch."))
        for name, shape, dtype in manifest["tensors"]
    ]
    index: dict[str, Any] = {"variant": kit, "state_dict_sha256": digest_tensors(tensors)}
    complete = Goldens(KIT / kit, KIT / "images")
    arrays = {}
    if complete.present:
        index["images"] = {"b": complete.index["images"]["b"]}
        index["prompts"] = {
            "b": {k: v for k, v in complete.index["prompts"]["b"].items() if k in PROMPTS}
        }
        if "sensitivity" in complete.index:
            index["sensitivity"] = complete.index["sensitivity"]
        index["arrays"] = {}
        for name, entry in complete.index["arrays"].items():
            if _wanted(name):
                text, array = _thinned(entry.get("slice"), complete.arrays[name])
                arrays[name] = array
                kept = ("full_shape", "fraction_positive", "std")
                index["arrays"][name] = {k: entry[k] for k in kept if k in entry}
                if text is not None:
                    index["arrays"][name]["slice"] = text
        np.savez_compressed(folder / "golden.npz", **arrays)
    (folder / "golden.json").write_text(json.dumps(index) + "\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{kit}: {len(arrays)} arrays, {size / 1000:.0f} kB")


def cut_instances(kit: str) -> None:
    """Write the small goldens of a model that finds instances at encoding."""
    folder = SMALL / kit
    folder.mkdir(parents=True, exist_ok=True)
    complete = Goldens(KIT / kit, KIT / "images")
    facts = ("variant", "settings")
    index: dict[str, Any] = {name: complete.index[name] for name in facts}
    index |= {name: {"b": complete.index[name]["b"]} for name in ("images", "prompts")}
    wanted = ("raw.boxes", "raw.scores", "nms", "boxes", "mask_areas")
    names = [f"b.{name}" for name in wanted]
    names += [f"b.prompt.{name}" for name in index["prompts"]["b"]]
    index["arrays"] = {name: complete.index["arrays"][name] for name in names}
    arrays = {name: complete.arrays[name] for name in names}
    np.savez_compressed(folder / "golden.npz", **arrays)
    (folder / "golden.json").write_text(json.dumps(index) + "\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{kit}: {len(arrays)} arrays, {size / 1000:.0f} kB")


if __name__ == "__main__":
    cut_instances("fastsam_s")
    for one in dict.fromkeys(variant.kit for variant in VARIANTS):
        cut(one)
