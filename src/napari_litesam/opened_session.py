"""What an opened session says beside its objects → the panel: prompts, words, id, model, review.
No Qt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_litesam import stored_review
from napari_litesam.history import Reopened
from napari_litesam.image_axes import plane_axes
from napari_litesam.requests import NotReady, PlaneRequest, source_of
from napari_litesam.session_images import NUMBER, WORDS
from napari_litesam.state import Words
from napari_litesam.stored_prompts import snapshot_of

if TYPE_CHECKING:
    from napari_litesam.committer import Committer
    from napari_litesam.history import History
    from napari_litesam.model_switch import ModelSwitch
    from napari_litesam.prompt_layers import PromptLayers
    from napari_litesam.reviewer import Reviewer
    from napari_litesam.session_desk import Opened
    from napari_litesam.state import PluginState
    from napari_litesam.word_search import WordSearch


class SessionRestorer:
    """Goes on where a session stopped that was opened."""

    def __init__(
        self,
        state: PluginState,
        history: History,
        committer: Committer,
        review: Reviewer,
        models: ModelSwitch,
        words: WordSearch,
    ) -> None:
        self._state = state
        self._history = history
        self._committer = committer
        self._review = review
        self._models = models
        self._words = words

    def restore(self, opened: Opened, prompts: PromptLayers | None) -> str:
        """Bring back what was not committed; return what there is to say about it.

        ``prompts``: the layers that receive prompts.
        """
        session, kept = opened.session, opened.session.settings
        if session.drafts and prompts is not None and self._state.settings.image is opened.image:
            self._bring_prompts(opened, prompts)
        if isinstance(kept.get(NUMBER), int):
            self._history.now = replace(self._history.now, number=kept[NUMBER])
        self._bring_words(kept.get(WORDS))
        model = session.newest_model
        return (
            f"{len(session.objects())} object(s) are back, in {opened.target.name!r}."
            + self._models.bring_back(model.name, model.weights)
            + self._bring_review(opened)
        )

    def _bring_prompts(self, opened: Opened, prompts: PromptLayers) -> None:
        drafts, channel = opened.session.drafts, self._state.settings.channel
        said = snapshot_of(prompts, opened.image, channel, drafts)
        refined = next((one for one in drafts if one.id is not None), None)
        if refined is not None and refined.id is not None:
            reopened = Reopened(refined.id, refined.index or None, opened.target)
            self._history.reopen(said, reopened)
        else:
            self._history.push()
            self._history.set_prompts(said)
        self._committer.restore_now()

    def _bring_words(self, written: Any) -> None:
        """Look for words again, which may have to load what compares them first."""
        match written:
            case [str(text), list(index)] if self._history.now.prompts.empty:
                self._words.find(Words(text, tuple(index) or None))

    def _bring_review(self, opened: Opened) -> str:
        session = opened.session
        options = stored_review.options_written(session, self._models.spec.proposals)
        if not options:
            return ""
        self._state.update(**options)
        place = stored_review.place_of(session)
        review = None
        if opened.candidates is not None and session.found is not None:
            at = dict(zip(plane_axes(opened.image), session.found.index, strict=False))
            source = source_of(self._state.settings, at)
            if not isinstance(source, NotReady) and len(at) == len(source.planes):
                plane = PlaneRequest(source, session.found.index or None)
                review = stored_review.review_of(session, opened.candidates, plane)
        if review is None:
            return (
                f" A review of everything mode was open{place}: press *Everything* there to find "
                "the candidates again."
            )
        self._review.bring_back(review)
        return f" The review of {len(review.found.records)} candidates is open again{place}."
