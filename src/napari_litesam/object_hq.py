"""The HQ decoder object by object: who opens one again gets the decoder that made it, and the box
*HQ* goes back when that object is done. No Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_litesam.variants import hq_partner, is_hq

if TYPE_CHECKING:
    from napari_litesam.history import History, Reopened
    from napari_litesam.model_switch import ModelSwitch
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState


class ObjectHq:
    """Follows the object that is open again; undo and redo as well."""

    def __init__(
        self, state: PluginState, models: ModelSwitch, history: History, keeper: SessionKeeper
    ) -> None:
        self._state = state
        self._models = models
        self._history = history
        self._keeper = keeper
        self._open: Reopened | None = None
        self._before = False

    def follow(self) -> None:
        """Choose the decoder of the object that was opened or closed since the last call."""
        now = self._history.refined(self._state.settings.target)
        if now == self._open:
            return
        if self._open is None:
            self._before = is_hq(self._models.spec)
        self._open = now
        if now is None:
            self._models.choose_hq(self._before)
            return
        wanted = self._made_with_hq(now)
        if wanted is not None:
            self._models.choose_hq(wanted)

    def _made_with_hq(self, reopened: Reopened) -> bool | None:
        """Whether the HQ decoder of the encoder in use made an object; None: neither decoder of it
        did, or its weights are not on this computer, or the weights in use are a file of the
        user's, which a change of the model would put away.
        """
        if self._state.settings.weights is not None:
            return None
        session = self._keeper.session(self._state.settings.target)
        stored = None if session is None else session.objects().get(reopened.id)
        model = None if session is None or stored is None else stored.model(session)
        spec = self._models.spec
        if model is None or model.name == spec.name:
            return None
        partner = hq_partner(spec, self._models.specs)
        if partner is None or model.name != partner.name:
            return None
        there = self._state.library.get(partner.name)
        return is_hq(partner) if there is None or there.present else None
