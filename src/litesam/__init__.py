"""litesam: the engine of napari-litesam; headless, knows no GUI.

The public face. Every name is loaded on first use (PEP 562), so that ``import litesam`` is quick
and loads neither torch nor zarr.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litesam.embedder import Embedder
    from litesam.errors import LiteSamError
    from litesam.everything import segment_everything
    from litesam.merge import records_at, select_by_prompts, select_by_text
    from litesam.models.registry import list_models
    from litesam.predictors import load_predictor
    from litesam.segmenter import Segmenter
    from litesam.store import MemoryStore, ZarrStore
    from litesam.types import (
        BoxPrompt,
        Embedding,
        EverythingConfig,
        MaskRecord,
        Masks,
        ModelSpec,
        NormalizeConfig,
        PointLabel,
        PointPrompt,
        Progress,
        PromptBatch,
        Prompts,
        TilingConfig,
    )
    from litesam.volume import label_volume

__all__ = [
    "BoxPrompt",
    "Embedder",
    "Embedding",
    "EverythingConfig",
    "LiteSamError",
    "MaskRecord",
    "Masks",
    "MemoryStore",
    "ModelSpec",
    "NormalizeConfig",
    "PointLabel",
    "PointPrompt",
    "Progress",
    "PromptBatch",
    "Prompts",
    "Segmenter",
    "TilingConfig",
    "ZarrStore",
    "label_volume",
    "list_models",
    "load_predictor",
    "records_at",
    "segment_everything",
    "select_by_prompts",
    "select_by_text",
]

#: Room of each public name; names that are absent live in `litesam.types`.
_ROOMS = {
    "Embedder": "litesam.embedder",
    "LiteSamError": "litesam.errors",
    "MemoryStore": "litesam.store",
    "Segmenter": "litesam.segmenter",
    "ZarrStore": "litesam.store",
    "label_volume": "litesam.volume",
    "list_models": "litesam.models.registry",
    "load_predictor": "litesam.predictors",
    "records_at": "litesam.merge",
    "segment_everything": "litesam.everything",
    "select_by_prompts": "litesam.merge",
    "select_by_text": "litesam.merge",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("napari-litesam")
    elif name in __all__:
        value = getattr(import_module(_ROOMS.get(name, "litesam.types")), name)
    else:
        raise AttributeError(f"module 'litesam' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names and what is loaded already."""
    return sorted({*globals(), *__all__})
