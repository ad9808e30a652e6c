"""Weights files of the models: what is there, download, import, remove, verify.

Reading and loading them is the matter of `litesam.models`; importing this room loads no torch.
"""

from __future__ import annotations

from litesam.weights.downloads import download_weights
from litesam.weights.imports import import_weights, recognise_weights
from litesam.weights.licences import accept_licence, is_licence_accepted
from litesam.weights.own import add_own_model, check_own_name, remove_own_model
from litesam.weights.places import WeightsFile, WeightsStatus, remove_weights, weights_status
from litesam.weights.verification import WeightsReport, verify_weights

__all__ = [
    "WeightsFile",
    "WeightsReport",
    "WeightsStatus",
    "accept_licence",
    "add_own_model",
    "check_own_name",
    "download_weights",
    "import_weights",
    "is_licence_accepted",
    "recognise_weights",
    "remove_own_model",
    "remove_weights",
    "verify_weights",
    "weights_status",
]
