"""What a user can ask of one panel: by buttons, keys, commands and scripts.

`Intents` holds the parts of a panel and asks them; what happens by itself, when layers, sliders or
workers change something, is the controller's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from litesam.errors import LiteSamError
from litesam.types import PointLabel
from napari_litesam.ahead import Ahead
from napari_litesam.colours import first_colours
from napari_litesam.committer import Committer, Outcome
from napari_litesam.contrast_watch import ContrastWatch
from napari_litesam.current_object import CurrentObject
from napari_litesam.drawn_shapes import MODES
from napari_litesam.history import Choice, History
from napari_litesam.hover import Hover
from napari_litesam.image_axes import axes_letters, name_axis
from napari_litesam.key_bindings import PanelKeys
from napari_litesam.keys import KEYS
from napari_litesam.label_layer import caution
from napari_litesam.model_switch import ModelSwitch
from napari_litesam.next_id import NextId
from napari_litesam.object_editor import ObjectEditor
from napari_litesam.object_hq import ObjectHq
from napari_litesam.object_intents import ObjectIntents
from napari_litesam.object_table import ObjectTable
from napari_litesam.plane_jobs import PlaneJobs
from napari_litesam.preferences import Preferences
from napari_litesam.prompt_layers import PromptLayers, PromptSnapshot
from napari_litesam.propagation import Propagation
from napari_litesam.reasons import candidate_reason, commit_reason
from napari_litesam.reports import Reporter
from napari_litesam.requests import (
    NotReady,
    Scene,
    resolve_plane,
)
from napari_litesam.reviewer import Reviewer
from napari_litesam.segmenters import SegmenterPool
from napari_litesam.series import Series
from napari_litesam.series_intents import SeriesIntents
from napari_litesam.session_desk import SessionDesk
from napari_litesam.session_keeper import SessionKeeper
from napari_litesam.soon import Soon
from napari_litesam.stack_intents import StackIntents
from napari_litesam.state import Level, PluginState, Tool, Words
from napari_litesam.viewer_layers import Candidacy, ViewerLayers
from napari_litesam.volume_jobs import VolumeJobs
from napari_litesam.word_search import WordSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from litesam.types import ModelSpec
    from napari_litesam.stains import Stain


class Intents(ObjectIntents, StackIntents, SeriesIntents):
    """The parts of one panel and what they can be asked for.

    Attributes
    ----------
    models
        Changes the model in use.
    words
        Looks for objects by words.
    review
        Candidates of everything mode.
    keeper, desk
        Sessions: kept on the disk; brought back, saved and opened.
    editor, table, next_id
        Committed objects: changed; measured and exported; the id of the next one.
    ahead
        Embeds in the background, and tells what is embedded.
    hover
        The preview under the pointer.
    keys
        The keys of the panel's layers.
    series
        The images of a folder, one after the other.
    volume, propagation
        Whole stacks, labelled on the disk; objects that are carried through them.
    state
        Settings and status of this viewer.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        state: PluginState,
        specs: Sequence[ModelSpec] | None = None,
    ) -> None:
        self.state = state
        # napari hands plugins a proxy that wraps every layer anew; layers are held here as objects,
        # so their identity matters. Only public names are used all the same.
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)
        self._pool = SegmenterPool()
        self._reporter = Reporter(state)
        self._planes = PlaneJobs(state, self._pool, self._reporter)
        self.models = ModelSwitch(state, self._pool, specs)
        self._layers = ViewerLayers(self.viewer)
        self.keys = PanelKeys(
            self.viewer,
            state,
            self._layers,
            {one.intent: getattr(self, one.intent) for one in KEYS},
        )
        self._targets: WeakKeyDictionary[Image, Labels] = WeakKeyDictionary()
        self._current = CurrentObject(state, self._pool, self._layers)
        self.words = WordSearch(state, self._pool)
        self._history = History()
        self.keeper = SessionKeeper(self._pool)
        self._committer = Committer(self.viewer, state, self._layers, self._history, self.keeper)
        self.next_id = NextId(state, self._history, self._committer.writer)
        self.review = Reviewer(state, self._layers, self._history, self._committer)
        self.editor = ObjectEditor(
            self.viewer, state, self._layers, self._history, self._committer, self.keeper
        )
        self.table = ObjectTable(state, self.keeper)
        self._object_hq = ObjectHq(state, self.models, self._history, self.keeper)
        self.desk = SessionDesk(self.viewer, state, self._layers, self.keeper)
        self.series = Series(
            self.viewer,
            state,
            self._pool,
            self._layers,
            self.keeper,
            self._scene,
            self._may_leave,
        )
        self.volume = VolumeJobs(state, self._pool, self._layers, self._reporter)
        self.propagation = Propagation(state, self._pool, self._committer, self._reporter)
        self._note = ""
        self._contrast = ContrastWatch(state)
        self.ahead = Ahead(state, self._pool, self._scene)
        self.hover = Hover(
            self.viewer, state, self._pool, self._layers, self._scene, lambda: self._current.asked
        )
        self._preferences = Preferences(state)
        self._closed = False
        # All reactions meet here: many events of one user action make one request, and layers are
        # never changed while napari still tells others about the event.
        self._timer = Soon()
        self._timer.timeout.connect(self._refresh)

    # ------------------------------------------------------------------------------- for the widget

    def images(self) -> list[Image]:
        """Image layers of the viewer, bottom to top."""
        return self._layers.images()

    def targets(self) -> list[Labels]:
        """Labels layers that can take objects of the chosen image."""
        return [one.layer for one in self.candidacies() if one.reason is None]

    def candidacies(self) -> list[Candidacy]:
        """All Labels layers of the user's, and whether they can take objects of the image."""
        image = self.state.settings.image
        return [] if image is None else self._layers.candidacies(image)

    @property
    def prompts(self) -> PromptLayers | None:
        """The prompt layers of the chosen image."""
        return self._layers.prompts

    @property
    def preview(self) -> Labels | None:
        """The layer that shows the current object before it is committed."""
        return self._layers.preview

    @property
    def busy(self) -> bool:
        """Whether a worker is doing something that is still wanted."""
        lanes = (self._current.lane, self._planes.lane, self.words.lane, self.desk.lane)
        others = (self.table.exports, self.volume.lane, self.propagation.lane)
        return any(lane.busy for lane in (*lanes, *others))

    # -------------------------------------------------------------------------------------- intents

    def remember(self) -> None:
        """Take up what was chosen last; another model answers as soon as it is loaded."""
        kept = self._preferences.read()
        model = {name: kept.pop(name) for name in ("model", "device") if name in kept}
        # The model that is in use until then may not know what is the only way of the other one.
        if kept.get("proposals") not in self.models.spec.proposals:
            kept.pop("proposals", None)
        self.state.update(**kept)
        if model.get("model", self.state.settings.model) in {s.name for s in self.models.specs}:
            self.models.choose(**model)

    def choose_target(self, layer: Labels | None) -> None:
        """Write objects into a Labels layer; None: into a new one."""
        image = self.state.settings.image
        self._note = "" if layer is None or image is None else caution(layer, image)
        self.state.update(target=layer)
        self._schedule()

    def name_axis(self, axis: int, letter: str) -> None:
        """Say what an axis of the image means."""
        image = self.state.settings.image
        if image is not None and axes_letters(image)[axis] != letter:
            name_axis(image, axis, letter)

    def compose(self, *, on: bool) -> None:
        """Let the model see several layers, or channels, as colours, or one layer alone."""
        image = self.state.settings.image
        colours = first_colours(image, self.images()) if on and image is not None else None
        self.state.update(colours=colours)

    def choose_colour(self, colour: int, stain: Stain | None) -> None:
        """Say what red (0), green or blue is."""
        colours = self.state.settings.colours
        if colours is not None and colours.stains[colour] != stain:
            self.state.update(colours=colours.replaced(colour, stain))

    def embed(self) -> None:
        """Embed the plane shown, or all planes, in the worker."""
        self.ahead.look()
        self._planes.embed(self._scene(), self.ahead.focus)

    def everything(self) -> None:
        """Find all objects of the plane shown, in the worker.

        Their candidates come under review, or into the Labels layer if the setting ``at_once`` is
        on.
        """
        self._planes.everything(self._scene(), at_once=self.state.settings.at_once)

    def accept_all(self) -> None:
        """Commit the candidates of everything mode that are kept."""
        self._follow(self.review.accept)
        self._leave_review()

    def discard(self) -> None:
        """Put the candidates of everything mode away."""
        self._follow(self.review.discard)
        self._leave_review()

    def pick(self) -> None:
        """Accept and reject candidates of everything mode with the next clicks."""
        if self.review.review is not None:
            self._activate(Tool.PICK)

    def _leave_review(self) -> None:
        """Go on with prompts where clicks were meant for candidates."""
        if self.review.review is None and self.state.settings.tool is Tool.PICK:
            self._activate(Tool.POINT)

    def cancel(self) -> None:
        """Stop all that runs; what was embedded stays."""
        if not self.busy:
            return
        self.volume.lane.cancel()
        self.propagation.lane.cancel()
        self._current.cancel()
        self._planes.lane.cancel()
        self.words.lane.cancel()
        self.desk.lane.cancel()
        self.table.exports.cancel()
        self.state.report(
            Level.WARNING,
            "Cancelled; what was embedded is kept. The prompts stay: change one to go on.",
        )

    def find(self, text: str, place: str | None = None, *, download: bool = False) -> None:
        """Show the object of the plane that fits words best; it takes the place of prompts.

        ``place`` and ``download``: see `WordSearch.find`.
        """
        plane = resolve_plane(self.state.settings, self._scene())
        if isinstance(plane, NotReady):
            self._reporter.refuse(plane.reason)
            return
        self.words.find(Words(text, plane.index), place, download=download)

    def choose_sign(self, sign: PointLabel) -> None:
        """Make points of that sign with the next clicks."""
        self.state.update(sign=sign)
        self._activate(Tool.POINT)

    def toggle_sign(self) -> None:
        """Toggle the sign of the selected points or scribbles (select mode), else of the next."""
        tool, sign = self.state.settings.tool, self.state.settings.sign
        if self.prompts is not None and self.prompts.toggle_selected(shapes=tool in MODES):
            return
        other = {PointLabel.BACKGROUND: PointLabel.FOREGROUND}.get(sign, PointLabel.BACKGROUND)
        if tool in MODES:
            self.state.update(sign=other)
        else:
            self.choose_sign(other)

    def draw_box(self) -> None:
        """Draw a box with the next drag."""
        self._activate(Tool.BOX)

    def draw_lasso(self) -> None:
        """Draw an outline with the next drag."""
        self._activate(Tool.LASSO)

    def scribble(self) -> None:
        """Make a stroke with the next drag; asked again: one of the other sign."""
        prompts = self.prompts
        if (
            self.state.settings.tool is Tool.SCRIBBLE
            and prompts is not None
            and str(prompts.boxes.mode) in (MODES[Tool.SCRIBBLE], "select", "direct")
        ):
            self.toggle_sign()
        self._activate(Tool.SCRIBBLE)

    def undo(self) -> None:
        """Take back the last change of the prompts, choice, commit or everything."""
        self._recall_layers()
        self._follow(self._committer.undo)
        self._leave_review()

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._recall_layers()
        self._follow(self._committer.redo)
        self._leave_review()

    def _recall_layers(self) -> None:
        """Bring back layers of prompts that the user removed, for steps that speak of them."""
        steps = self._history.can_undo or self._history.can_redo
        if self.prompts is None and self.state.settings.image is not None and steps:
            self._activate(Tool.POINT)

    def next_candidate(self, step: int = 1) -> None:
        """Show the next of the decoder's masks of the current object."""
        candidate, shown = self._current.next_candidate(step), self._current.ready
        if candidate is None or shown is None:
            self._reporter.refuse(candidate_reason(self._candidates()))
            return
        self._history.choose(Choice(shown.request.plane.index, candidate))
        self._schedule()

    def previous_candidate(self) -> None:
        """Show the one before of the decoder's masks of the current object."""
        self.next_candidate(-1)

    def _candidates(self) -> int:
        candidate = self.state.candidate
        return 0 if candidate is None else candidate.count

    def clear_prompts(self) -> None:
        """Remove all prompts of the current object, in every plane."""
        self._follow(self._committer.clear_prompts)

    def commit(self, into: int | None = None) -> None:
        """Write the previewed object into the Labels layer, under a new id or one that is there."""
        self._catch_up()
        shown = self._current.ready
        if shown is not None:
            self._follow(partial(self._committer.commit, shown, into))
        elif self._current.lane.busy:
            self._current.await_commit(into)
        else:
            self._reporter.refuse(commit_reason(self._current.asked))

    # ------------------------------------------------------------------------------------- sessions

    def save_session(self, path: str) -> None:
        """Write the session into a file that can be opened and replayed."""
        try:
            written = self.desk.save(path)
        except LiteSamError as error:
            self._reporter.tell(error)
        else:
            target = self.state.settings.target
            if target is not None:
                self.keeper.saved(target)
            self.state.report(Level.READY, f"The session was saved: {written}.")

    def open_session(self, path: str) -> None:
        """Open a session file: all of it is done again."""
        try:
            self.desk.open(path)
        except LiteSamError as error:
            self._reporter.tell(error)

    def export(self, path: str) -> None:
        """Write the objects as labels, table or COCO; the ending of the name chooses."""
        target = self.editor.target
        if target is None:
            self._reporter.refuse("There are no objects yet; commit one first.")
            return
        self.table.export(target, path)

    # ------------------------------------------------------------------------- for the controller

    def _catch_up(self) -> None:
        """What was clicked just before counts, even if the window has not come round to it."""
        self._timer.hurry()

    def _schedule(self, _event: Any = None) -> None:
        if not self._closed:
            self._timer.start()

    def _refresh(self) -> None:
        """Bring layers, request and status in line with what the user wants now."""
        raise NotImplementedError

    def _ask_again(self, level: Level = Level.READY) -> None:
        """Show the note, and decode prompts that wait for an answer (they were cancelled, say)."""
        self._current.ask_again()
        self.state.report(level, self._note)
        self._schedule()

    def _on_error(self, error: LiteSamError) -> None:
        """Tell an error of a long computation or a write."""
        self._current.give_up()
        self._reporter.tell(error)

    def _follow(self, intent: Callable[[], Outcome]) -> Outcome | None:
        """Follow an intent on prompts and objects, tell what came of it, and return it; None after
        an error.
        """
        before = self._actions()
        outcome = self._attempt(intent)
        if self._actions() is not before:
            # Also without other pixels: the model of an object, its scores.
            self.table.measure(self.state.settings.target)
        if outcome is not None and outcome.done:
            self._note = outcome.text
            self._schedule()
        elif outcome is not None:
            self._reporter.refuse(outcome.text)
        return outcome

    def _actions(self) -> object:
        """Return what was done to the objects: another value after every change."""
        session = self.keeper.session(self.state.settings.target)
        return None if session is None else session.actions

    def _attempt(self, intent: Callable[[], Outcome]) -> Outcome | None:
        """Return the outcome, or None after an error that was told."""
        try:
            return intent()
        except LiteSamError as error:
            self._on_error(error)
            return None

    def _scene(self) -> Scene:
        return Scene(self.viewer.dims, self.prompts)

    def _activate(self, tool: Tool) -> None:
        """Make a tool the one that the next click uses; bring the prompt layers back if need be."""
        image = self.state.settings.image
        if image is None:
            self._reporter.refuse("Open an image first.")
            return
        if self.prompts is None:
            self._history.set_prompts(PromptSnapshot())
        self._layers.activate(image, tool, self.state.settings.sign)
        self.state.update(tool=tool)
        self._schedule()
