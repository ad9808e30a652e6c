"""The keys of one panel: bound to its layers as the settings say, changed if they are free. No Qt.

napari's own Preferences ▸ Shortcuts cannot take them: bindings that are saved there are read before
any plugin is loaded, with a warning for every action that is not there yet, and one list serves all
layers of a type, also those that are not the panel's.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer, Points, Shapes
from napari.utils import key_bindings

from napari_litesam.keys import (
    KEYS,
    LAYER_WORDS,
    key_named,
    keys_in_use,
    same_key,
    shown,
    spelled,
    unusable,
    with_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel

    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

_TYPES: dict[str, type[Layer]] = {
    "points": Points,
    "boxes": Shapes,
    "candidates": Labels,
    "objects": Labels,
}
_LONGEST = 60


class PanelKeys:
    """Binds the keys and changes them.

    Parameters
    ----------
    viewer
        The viewer, whose keys are not taken.
    state
        Holds the changed keys.
    layers
        The layers on which the keys work.
    intents
        What to do, by name of intent.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        layers: ViewerLayers,
        intents: Mapping[str, Callable[[], None]],
    ) -> None:
        self._viewer = viewer
        self._state = state
        self._layers = layers
        self._intents = dict(intents)
        self.bind()

    @property
    def in_use(self) -> dict[str, str]:
        """Key by intent."""
        return keys_in_use(self._state.settings.keys)

    def bind(self) -> None:
        """Bind the keys as the settings say."""
        keys = self.in_use
        self._layers.set_keys(
            [(one.layers, keys[one.intent], self._intents[one.intent]) for one in KEYS]
        )

    def change(self, intent: str, text: str, menus: Mapping[str, str] | None = None) -> str:
        """Give an intent another key.

        Parameters
        ----------
        intent
            Its name, as in `napari_litesam.keys.KEYS`.
        text
            The key, as napari writes it.
        menus
            Keys of the window's menus, and what they do.

        Returns
        -------
        str
            Why the key cannot be taken; nothing has changed then. "" if it was.
        """
        key = spelled(text)
        if key is None:
            return "napari knows no such key. Choose another one."
        reason = self._reason(intent, key, menus or {})
        if not reason:
            self._state.update(keys=with_key(self._state.settings.keys, intent, key))
        return reason

    def reset(self) -> None:
        """Give every intent the key that it has by default."""
        self._state.update(keys="")

    def _reason(self, intent: str, key: str, menus: Mapping[str, str]) -> str:
        """Return why an intent cannot have a key; "" if it can."""
        here = key_named(intent)
        other = same_key(intent, key, self.in_use)
        if other is not None:
            place = next(LAYER_WORDS[name] for name in other.layers if name in here.layers)
            return (
                f"{shown(key)} is “{other.words}” in {place} already. Choose another key, or "
                "change that one first."
            )
        if key == here.key:
            return ""
        refused = unusable(key)
        if refused is not None:
            return refused
        for kind in here.layers:
            theirs = self._napari_keys(kind)
            if key in theirs:
                return (
                    f"{shown(key)} is napari's in {LAYER_WORDS[kind]}: {theirs[key]}. Choose "
                    "another key, or change napari's in Preferences ▸ Shortcuts first."
                )
        if key in menus:
            return f"{shown(key)} is in napari's menus: {menus[key]}. Choose another key."
        return ""

    def _napari_keys(self, kind: str) -> dict[str, str]:
        """Return the keys that napari and the user's own scripts have in a layer, with words."""
        maps: list[Mapping[Any, Any]] = [getattr(key_bindings, "USER_KEYMAP", {})]
        maps += [one.class_keymap for one in _TYPES[kind].__mro__ if hasattr(one, "class_keymap")]
        maps += [self._viewer.keymap, type(self._viewer).class_keymap]
        # napari binds the viewer's keys to its model, of which the viewer is a child.
        maps += [
            one.class_keymap for one in type(self._viewer).__mro__ if hasattr(one, "class_keymap")
        ]
        return {str(key): _words(what) for keys in reversed(maps) for key, what in keys.items()}


def _words(function: Any) -> str:
    """Say in words what a function is for that napari binds to a key."""
    function = inspect.unwrap(function)
    said = (inspect.getdoc(function) or "").strip().split("\n")[0].rstrip(".")
    if not said:
        said = str(getattr(function, "__name__", "a shortcut")).replace("_", " ")
    return said if len(said) <= _LONGEST else said[:_LONGEST].rsplit(" ", 1)[0] + " …"
