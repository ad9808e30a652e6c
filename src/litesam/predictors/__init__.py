"""Predictors: a network as two pure calls, encode and decode. No caching, no tiling, no labels."""

from __future__ import annotations

from litesam.predictors.base import Predictor, as_predictor, load_predictor, make_predictor
from litesam.predictors.proposer import load_proposer
from litesam.predictors.text import ClipScorer, load_text_scorer

__all__ = [
    "ClipScorer",
    "Predictor",
    "as_predictor",
    "load_predictor",
    "load_proposer",
    "load_text_scorer",
    "make_predictor",
]
