"""Predictors: a network as two pure calls, encode and decode. No caching, no tiling, no labels."""

from __future__ import annotations

from litesam.predictors.base import Predictor, load_predictor, make_predictor

__all__ = ["Predictor", "load_predictor", "make_predictor"]
