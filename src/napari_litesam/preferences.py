"""What the user chose last, kept by napari between starts (Preferences ▸ Lite-SAM).

napari keeps settings that a plugin declares in its manifest, from 0.9 on; with an older napari
every start begins with the defaults.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from litesam.errors import LiteSamError
from litesam.models.registry import list_models
from litesam.objects import COMMIT_POLICIES
from litesam.types import EverythingConfig, PropagateConfig
from napari_litesam.state import Contrast, Settings, Where
from napari_litesam.variants import PROPOSALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_litesam.state import PluginState

PLUGIN = "napari-litesam"
#: Settings that are kept: those of the same names in the manifest.
KEPT = (
    *("model", "device", "contrast", "policy", "where", "proposals", "each", "at_once", "ahead"),
    *("hover", "disk", "keys", "options", "propagation", "unfolded", "folded"),
)
#: Options, kept as text under another name than that of the setting: setting, and their kind.
_OPTIONS: dict[str, tuple[str, type]] = {
    "options": ("everything", EverythingConfig),
    "propagation": ("propagate", PropagateConfig),
}
_ENUMS: dict[str, type[Enum]] = {"contrast": Contrast, "where": Where}
_DEVICES = ("auto", "cpu", "cuda", "mps")
_VALID: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: value in {spec.name for spec in list_models()},
    "device": lambda value: value in _DEVICES,
    "policy": lambda value: value in COMMIT_POLICIES,
    "proposals": lambda value: value in PROPOSALS,
}


class Preferences:
    """Reads the settings of a panel from napari and writes them back when they change.

    Parameters
    ----------
    state
        The settings of the panel.
    """

    def __init__(self, state: PluginState) -> None:
        self._state = state
        self._kept = _napari_settings()
        state.settings_changed.connect(self._on_settings)
        if self._kept is not None:
            self._kept.events.keys.connect(self._on_keys)

    def close(self) -> None:
        """Write no more."""
        self._state.settings_changed.disconnect(self._on_settings)
        if self._kept is not None:
            self._kept.events.keys.disconnect(self._on_keys)

    def read(self) -> dict[str, Any]:
        """Return settings by name as they were kept; what is no longer valid is left out."""
        values: dict[str, Any] = {}
        for name in KEPT if self._kept is not None else ():
            value = getattr(self._kept, name, None)
            if name in _ENUMS:
                value = next((one for one in _ENUMS[name] if one.value == value), None)
            if name in _OPTIONS:
                setting, kind = _OPTIONS[name]
                values[setting] = options_of(str(value or ""), kind)
            known = name in Settings.__dataclass_fields__
            if known and value is not None and _VALID.get(name, lambda _: True)(value):
                values[name] = value
        return values

    def _on_keys(self, _event: Any = None) -> None:
        """Keys were changed in another panel, or in napari's Preferences."""
        self._state.update(keys=self._kept.keys)

    def _on_settings(self, changed: frozenset[str]) -> None:
        if self._kept is None:
            return
        for name in changed.intersection(KEPT):
            value = getattr(self._state.settings, name)
            # None, where a setting has it, is kept as "".
            kept = value.value if isinstance(value, Enum) else "" if value is None else value
            setattr(self._kept, name, kept)
        for name, (setting, _) in _OPTIONS.items():
            if setting in changed:
                setattr(self._kept, name, options_text(getattr(self._state.settings, setting)))


def options_text(config: Any) -> str:
    """Return the options of a config that are not the default ones: ``min_area_px=20``."""
    changed = (
        (item.name, getattr(config, item.name))
        for item in fields(config)
        if getattr(config, item.name) != item.default
    )
    return " ".join(f"{name}={value}" for name, value in changed)


def options_of(text: str, kind: type = EverythingConfig) -> Any:
    """Return the options that a text of `options_text` says; what makes no sense is left out."""
    config = kind()
    hints = get_type_hints(kind)
    for entry in text.split():
        name, _, said = entry.partition("=")
        kinds = {hints.get(name), *get_args(hints.get(name))}
        with suppress(ValueError, LiteSamError):
            value: Any = int(said) if int in kinds else float(said) if float in kinds else said
            if name in hints:
                config = replace(config, **{name: value})
    return config


def _napari_settings() -> Any:
    """Return the part of napari's settings that is the panel's; None if napari keeps none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(PLUGIN).panel
    except (KeyError, AttributeError):
        # The plugin was switched off when napari read its settings, or runs without its manifest.
        return None
