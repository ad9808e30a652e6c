"""Models of the user's own: weights of a model that litesam knows, under a name of their own.

``own_models.json`` in the user's folder lists them; their files lie with the other weights.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from litesam.models.weights_files import data_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from litesam.types import ModelSpec

logger = logging.getLogger(__name__)

#: Endings of weights files.
SUFFIXES = (".safetensors", ".pt", ".pth")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def own_models_file() -> Path:
    """The file that lists them."""
    return data_dir() / "own_models.json"


def own_models(bases: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return the specs of the user's own models.

    Parameters
    ----------
    bases
        The models that they may be made of.

    Returns
    -------
    tuple of ModelSpec
        In the order of their names. Entries that cannot be understood are left out, with a warning:
        a damaged file must not take away the other models.
    """
    path = own_models_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s); own models are missing.", path, error)
        return ()
    known = {spec.name: spec for spec in bases}
    specs = []
    for name, entry in sorted(content.items() if isinstance(content, dict) else ()):
        try:
            base = known[entry["base"]]
            if name in known or not is_model_name(name):
                raise ValueError("no name for a model, or that of another one")
            specs.append(_spec(base, name, str(entry["title"]), entry))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("%s: entry %r is left out (%r).", path, name, error)
    return tuple(specs)


def own_weights_name(name: str, suffix: str) -> str:
    """Name of the weights file of an own model; ``suffix`` is one of `SUFFIXES`."""
    if suffix not in SUFFIXES:
        raise ValueError(f"no weights end in {suffix!r}")
    return f"{name}.own{suffix}"


def is_model_name(name: str) -> bool:
    """Whether a model may be called so: small letters, digits, ``_`` and ``-``; it names a file."""
    return _NAME.fullmatch(name) is not None


def _spec(base: ModelSpec, name: str, title: str, entry: dict[str, object]) -> ModelSpec:
    weights = replace(
        base.weights,
        file=own_weights_name(name, str(entry["suffix"])),
        url=None,
        mirrors=(),
        page=None,
        sha256=str(entry["sha256"]),
        size_bytes=int(str(entry["size_bytes"])),
        approx_bytes=None,
        own=True,
    )
    # An HQ model stays one; its own file has the HQ decoder.
    hq = name if base.hq == base.name else base.hq
    return replace(base, name=name, title=title, weights=weights, encoder=base.encoder_name, hq=hq)
