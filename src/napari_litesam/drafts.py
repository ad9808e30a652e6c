"""What the user said and did not commit, written down for the case of a crash. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from napari_litesam import stored_review
from napari_litesam.requests import NotReady, resolve_plane
from napari_litesam.session_images import NUMBER, REVIEW, WORDS
from napari_litesam.stored_prompts import drafts_of

if TYPE_CHECKING:
    from napari.layers import Layer

    from litesam.session import FoundMasks
    from napari_litesam.history import History
    from napari_litesam.prompt_layers import PromptLayers
    from napari_litesam.requests import Scene
    from napari_litesam.reviewer import Review, Reviewer
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState


class Drafts:
    """Hands prompts, words, the chosen id and the review to the autosave whenever they change."""

    def __init__(
        self, state: PluginState, history: History, review: Reviewer, keeper: SessionKeeper
    ) -> None:
        self._state, self._history = state, history
        self._review, self._keeper = review, keeper
        self._masks: FoundMasks | None = None
        self.note()

    def note(self) -> None:
        """What is there now needs no writing down."""
        self._kept = self._said
        self._place = [None if layer is None else ref(layer) for layer in self._layers]

    def keep(self, prompts: PromptLayers | None, scene: Scene) -> None:
        """Write down what was not committed, if it changed or goes into another layer now."""
        settings = self._state.settings
        plane = resolve_plane(settings, scene)
        if prompts is None or settings.image is None:
            return
        image, owner = (None if layer is None else layer() for layer in self._place)
        moved = image is settings.image and owner is not self._layers[1]
        if self._said == self._kept and not moved:
            return
        if moved:
            self._keeper.withdraw(owner)
        reopened = self._history.refined(settings.target)
        refined = None if reopened is None else (reopened.id, reopened.index or ())
        drafts = drafts_of(prompts, settings.image, settings.channel, refined)
        review, words = self._review.review, self._history.now.words
        more = {
            NUMBER: self._history.now.number,
            REVIEW: None if review is None else stored_review.to_json(review, settings),
            WORDS: None if words is None else [words.text, list(words.index or ())],
        }
        masks = self._masks_of(review)
        source = None if isinstance(plane, NotReady) else plane.source
        if self._keeper.draft(settings.image, settings.target, source, drafts, masks, more):
            self.note()

    def _masks_of(self, review: Review | None) -> FoundMasks | None:
        """Return the masks under review: the same value for the same ones."""
        if review is None:
            return None
        if self._masks is None or self._masks.records is not review.found.records:
            self._masks = stored_review.masks_of(review)
        return self._masks

    @property
    def _layers(self) -> tuple[Layer | None, Layer | None]:
        """The image, and the layer whose session has what is not committed."""
        image, target = self._state.settings.image, self._state.settings.target
        return image, image if target is None else target

    @property
    def _said(self) -> tuple[Any, ...]:
        now = self._history.now
        return (now.prompts, now.number, now.review, now.words)
