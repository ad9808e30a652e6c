"""Values that travel between the rooms of the engine: frozen dataclasses, validated once.

One coordinate rule: (y, x) in pixels of the named frame, integers are pixel centres, boxes are
half-open (y0, x0, y1, x1). numpy arrays at every boundary.
"""

from __future__ import annotations

from litesam.types.arrays import AnyArray, BoolArray, FloatArray, IntArray, LabelArray
from litesam.types.configs import (
    EverythingConfig,
    LinkConfig,
    NormalizeConfig,
    PropagateConfig,
    TilingConfig,
    option,
)
from litesam.types.drawings import Drawing, Polygon, Scribble
from litesam.types.embeddings import Embedding, EmbeddingKey
from litesam.types.masks import OUTSIDE_LOGIT, MaskRecord, Masks
from litesam.types.progress import IsCancelled, OnProgress, Progress
from litesam.types.prompts import (
    BoxPrompt,
    PointLabel,
    PointPrompt,
    PromptBatch,
    Prompts,
    Proposals,
)
from litesam.types.regions import Box, Tile
from litesam.types.specs import PERMISSIVE_LICENCES, PROPOSALS, HqMode, ModelSpec, WeightsSpec

__all__ = [
    "OUTSIDE_LOGIT",
    "PERMISSIVE_LICENCES",
    "PROPOSALS",
    "AnyArray",
    "BoolArray",
    "Box",
    "BoxPrompt",
    "Drawing",
    "Embedding",
    "EmbeddingKey",
    "EverythingConfig",
    "FloatArray",
    "HqMode",
    "IntArray",
    "IsCancelled",
    "LabelArray",
    "LinkConfig",
    "MaskRecord",
    "Masks",
    "ModelSpec",
    "NormalizeConfig",
    "OnProgress",
    "PointLabel",
    "PointPrompt",
    "Polygon",
    "Progress",
    "PromptBatch",
    "Prompts",
    "PropagateConfig",
    "Proposals",
    "Scribble",
    "Tile",
    "TilingConfig",
    "WeightsSpec",
    "option",
]
