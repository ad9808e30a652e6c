"""Predictors: a network as two pure calls, encode and decode. No caching, no tiling, no labels."""

from __future__ import annotations

from litesam.predictors.base import Predictor, as_predictor, load_predictor, make_predictor

__all__ = ["Predictor", "as_predictor", "load_predictor", "make_predictor"]
