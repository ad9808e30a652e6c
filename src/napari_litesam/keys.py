"""The keys of the panel as data: which layer, which intent, which key, in which words. No Qt.

Keys belong to the panel's own layers and not to the viewer, so that nothing of napari's changes
elsewhere. By default none of napari's own keys is taken in the layers of prompts; in a Labels layer
of objects *E* and *X* (eraser, swap) are, and undo and redo, which the panel does there itself.

The user may change each of them. What was changed is one text, ``commit=K undo=Ctrl+U``, in the
settings of the panel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app_model.types import KeyBinding, KeyCode

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Key:
    """What a key does.

    Attributes
    ----------
    key
        The key that it has by default, as napari writes it: ``Ctrl+Shift+Z``.
    intent
        The intent that it asks for; its name in the settings.
    words
        What that is, for the user.
    layers
        Where it works: "points", "boxes", "candidates" and "objects".
    """

    key: str
    intent: str
    words: str
    layers: tuple[str, ...]


_PROMPTS = ("points", "boxes")
#: In the layer of boxes these letters are napari's: rectangle, ellipse and removal of a vertex.
_POINTED = ("points", "objects")
_ALL = (*_PROMPTS, "candidates", "objects")
KEYS = (
    Key("T", "toggle_sign", "Toggle + and −", ("points",)),
    Key("N", "next_candidate", "Next mask", _PROMPTS),
    Key("Shift+N", "previous_candidate", "Mask before", _PROMPTS),
    Key("C", "commit", "Commit object", _PROMPTS),
    Key("J", "commit_into", "Join chosen object", _PROMPTS),
    Key("M", "prompt_from_label", "Label as prompt", _PROMPTS),
    Key("C", "accept_all", "Review: accept", ("candidates",)),
    Key("Shift+C", "clear_prompts", "Clear prompts", _PROMPTS),
    Key("Shift+C", "discard", "Review: discard", ("candidates",)),
    Key("R", "reopen_here", "Open object again", _POINTED),
    Key("E", "select_here", "Choose object", _POINTED),
    Key("X", "delete_here", "Delete object", _POINTED),
    Key("PageDown", "next_image", "Next image", _ALL),
    Key("PageUp", "previous_image", "Image before", _ALL),
    Key("Ctrl+Z", "undo", "Undo", _ALL),
    Key("Ctrl+Shift+Z", "redo", "Redo", _ALL),
)
_BY_INTENT = {one.intent: one for one in KEYS}
#: The layers in the user's words.
LAYER_WORDS = {
    "points": "the layer of points",
    "boxes": "the layer of boxes",
    "candidates": "the review",
    "objects": "the layer of objects",
}
#: Keys that windows and dialogs need.
_RESERVED = ("Escape", "Tab", "Enter", "Shift+Tab")
_NAMED = re.compile(r"\{(\w+)\}")


def key_named(intent: str) -> Key:
    """Return what belongs to an intent."""
    return _BY_INTENT[intent]


def keys_in_use(changed: str) -> dict[str, str]:
    """Return the key of every intent.

    Parameters
    ----------
    changed
        The changed keys as the settings hold them. What is no key, names no intent or would give
        one key two meanings in one layer is left out.
    """
    said = (entry.partition("=") for entry in changed.split())
    wanted = {
        intent: key
        for intent, _, text in said
        if intent in _BY_INTENT and (key := spelled(text)) is not None
    }
    while True:
        keys = {one.intent: wanted.get(one.intent, one.key) for one in KEYS}
        doubled = [name for name in wanted if same_key(name, keys[name], keys) is not None]
        if not doubled:
            return keys
        del wanted[doubled[-1]]


def with_key(changed: str, intent: str, key: str) -> str:
    """Return the text of the changed keys after one more change."""
    keys = keys_in_use(changed) | {intent: key}
    return " ".join(
        f"{one.intent}={keys[one.intent]}" for one in KEYS if keys[one.intent] != one.key
    )


def spelled(text: str) -> str | None:
    """Return a key as napari writes it (``Ctrl+K``); None if napari knows no such key."""
    if not text.strip():
        return None
    binding = KeyBinding.from_str(text.strip())
    part = binding.part0
    if len(binding) != 1 or part.key in (None, KeyCode.UNKNOWN) or part.is_modifier_key():
        return None
    return str(binding)


def unusable(key: str) -> str | None:
    """Return why a key (as `spelled`) cannot be taken at all, or None."""
    part = KeyBinding.from_str(key).part0
    name = str(part.key)
    if key in _RESERVED:
        return f"{shown(key)} is needed by windows and dialogs. Choose another key."
    if part.shift and len(name) == 1 and not name.isalpha():
        # The canvas sees the sign that Shift makes of a digit, which differs between keyboards.
        return f"{shown(key)}: Shift works with letters and named keys only. Choose another key."
    return None


def same_key(intent: str, key: str, keys: Mapping[str, str]) -> Key | None:
    """Return another intent that has a key in a layer where the first works, too; or None."""
    where = set(_BY_INTENT[intent].layers)
    for one in KEYS:
        if one.intent != intent and keys[one.intent] == key and where.intersection(one.layers):
            return one
    return None


def shown(key: str) -> str:
    """Return a key as the panel writes it: ``Ctrl-Shift-Z``."""
    return key.replace("+", "-")


def with_keys(text: str, changed: str = "") -> str:
    """Put keys into a text for the user: ``{commit}`` becomes the key that commits."""
    if "{" not in text:
        return text
    keys = keys_in_use(changed)
    return _NAMED.sub(lambda found: shown(keys[found[1]]) if found[1] in keys else found[0], text)
