"""From one model to another: load it, or offer its download, while the present one goes on.

A choice becomes a setting only when its model is loaded; until then, and after any failure, prompts
are answered by the model in use. Knows workers and state, but neither layers nor widgets.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.errors import WeightsError
from litesam.models.registry import list_models
from napari_litesam import library
from napari_litesam.jobs import Lane
from napari_litesam.library import Choice, Missing
from napari_litesam.state import Level, Offer, Phase
from napari_litesam.variants import hq_partner, is_hq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from litesam.errors import LiteSamError
    from litesam.types import ModelSpec, Progress
    from napari_litesam.jobs import Job
    from napari_litesam.library import Imported
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState


class ModelSwitch:
    """Changes the model in use of one panel.

    Parameters
    ----------
    state
        Its settings get the new model; its offer says how far that is.
    pool
        Where models are loaded.
    specs
        The models that can be chosen; None: all.
    """

    def __init__(
        self,
        state: PluginState,
        pool: SegmenterPool,
        specs: Sequence[ModelSpec] | None = None,
    ) -> None:
        self._state = state
        self._pool = pool
        self.specs = tuple(list_models() if specs is None else specs)
        self._loading = Lane("model")
        self._fetching = Lane("weights")
        self._looking = Lane("library")
        #: Model from which HQ was switched on, by the HQ model.
        self._plain: dict[str, str] = {}
        #: What is being loaded.
        self._wanted: Choice | None = None
        #: The file of the offered model is there and cannot be used.
        self._damaged = False
        for signal, slot in self._connections():
            signal.connect(slot)
        self.look()

    def _connections(self) -> Iterator[tuple[Any, Callable[..., None]]]:
        yield self._fetching.progressed, self._on_progress
        for lane in (self._loading, self._fetching, self._looking):
            yield lane.broken, self._on_bug

    # ------------------------------------------------------------------------------------- reading

    @property
    def spec(self) -> ModelSpec:
        """The model in use."""
        return self.find(self._state.settings.model)

    @property
    def idle(self) -> bool:
        """Whether no job runs at all."""
        return self._loading.idle and self._fetching.idle and self._looking.idle

    @property
    def fetching(self) -> bool:
        """Whether weights are being downloaded or imported."""
        offer = self._state.offer
        return offer is not None and offer.phase is Phase.WORKING

    def find(self, name: str) -> ModelSpec:
        """Return a model that can be chosen."""
        return next(spec for spec in self.specs if spec.name == name)

    # -------------------------------------------------------------------------------------- intents

    def choose(self, **changes: Any) -> None:
        """Use another model, device or weights file as soon as it is loaded.

        Parameters
        ----------
        changes
            Fields of `Choice`. Another model drops the weights file, which belongs to the old one.
        """
        settings = self._state.settings
        now = Choice(settings.model, settings.device, settings.weights)
        base = self._wanted or now
        if changes.get("model", base.model) != base.model:
            changes = {"weights": None, **changes}
        choice = replace(base, **changes)
        self._loading.drop()
        self._wanted = None if choice == now else choice
        spec = self.find(choice.model)
        if not self.fetching:
            loads = Offer(spec, Phase.LOADING, text=f"Loading {spec.title}")
            self._state.propose(None if self._wanted is None else loads)
        if self._wanted is not None:
            self._loading.submit(
                partial(library.prepare, self._pool, spec, choice),
                partial(self._on_prepared, spec, choice),
                partial(self._on_failed_load, spec, choice),
            )

    def bring_back(self, name: str, weights: str | None) -> str:
        """Use the model of a session that is opened, if it is on this computer; return why it is
        not, or "".
        """
        spec = next((one for one in self.specs if one.name == name), None)
        title = name if spec is None else spec.title
        if weights is not None and not Path(weights).exists():
            return f" Its weights of {title}, {weights}, are not there: {self.spec.title} answers."
        stock = self._state.library.get(name)
        here = weights is not None or stock is None or stock.present
        if spec is None or not here:
            return f" It was made with {title}, which is not on this computer."
        settings = self._state.settings
        if (name, weights) != (settings.model, settings.weights):
            self.choose(model=name, weights=weights)
        return ""

    def choose_hq(self, on: bool) -> None:
        """Use the HQ decoder of the encoder in use, or the plain decoder."""
        other = hq_partner(self.spec, self.specs)
        if other is None or on == is_hq(self.spec):
            return
        if on:
            self._plain[other.name] = self.spec.name
        self.choose(model=other.name if on else self._plain.get(self.spec.name, other.name))

    def download(self, *, accepted: bool = False) -> None:
        """Download the offered weights; ``accepted``: the user accepted their licences."""
        offer = self._state.offer
        if offer is None or self.fetching:
            return
        replaces, self._damaged = self._damaged, False
        if accepted:
            self._state.propose(replace(offer, licences=()))
        self._work(
            partial(library.fetch, offer.spec, accepted, replaces),
            partial(self._on_fetched, offer.spec, self._state.settings.model),
            f"Asking for {offer.spec.weights.file}",
        )

    def use_file(self, path: str) -> None:
        """Take the offered weights from a file that the user has."""
        offer = self._state.offer
        if offer is not None and not self.fetching:
            self._work(
                partial(library.import_file, offer.spec, path),
                partial(self._on_imported, offer.spec, self._state.settings.model),
                "Reading the file",
            )

    def cancel(self) -> None:
        """Stop the download or the import; what has come of a download is kept."""
        if self.fetching:
            self._fetching.cancel()
            self._show(Phase.ASKING, "Stopped. What has come is kept and used next time.")

    def dismiss(self) -> None:
        """Stay with the model in use."""
        self._loading.drop()
        self._fetching.cancel()
        self._wanted = None
        self._damaged = False
        self._state.propose(None)

    def look(self) -> None:
        """Look which weights are there."""
        self._looking.submit(
            partial(library.look, self.specs), self._state.stock, lambda _error: None
        )

    def close(self) -> None:
        """Cancel all work."""
        for signal, slot in self._connections():
            signal.disconnect(slot)
        for lane in (self._loading, self._fetching, self._looking):
            lane.close()

    # -------------------------------------------------------------------------------------- loading

    def _on_prepared(self, spec: ModelSpec, choice: Choice, missing: Missing | None) -> None:
        self._wanted = None
        self._damaged = False
        if missing is None:
            if not self.fetching:
                self._state.propose(None)
            proposals = self._state.settings.proposals
            self._state.update(
                model=choice.model,
                device=choice.device,
                weights=choice.weights,
                proposals=proposals if proposals in spec.proposals else None,
            )
        elif self.fetching:
            self._state.report(
                Level.WARNING,
                f"The weights of {spec.title} are missing, too. Choose it again when the download "
                "that runs is done or cancelled.",
            )
        else:
            self._ask(spec, missing)

    def _on_failed_load(self, spec: ModelSpec, choice: Choice, error: LiteSamError) -> None:
        self._wanted = None
        if self.fetching:
            self._state.report(Level.ERROR, str(error))
            return
        self._damaged = (
            isinstance(error, WeightsError) and choice.weights is None and not spec.weights.bundled
        )
        weights = spec.weights
        self._state.propose(
            Offer(
                spec,
                Phase.FAILED,
                weights.size_bytes or weights.approx_bytes,
                () if weights.permissive else (weights,),
                downloadable=self._damaged,
                importable=self._damaged,
                text=str(error),
            )
        )

    # ------------------------------------------------------------------------------------- fetching

    def _work(self, job: Job, on_done: Callable[[Any], None], text: str) -> None:
        self._show(Phase.WORKING, text)
        self._fetching.submit(job, on_done, self._on_failed_fetch)

    def _ask(self, spec: ModelSpec, missing: Missing, text: str = "") -> None:
        """Offer what is missing of a model."""
        offer = Offer(
            spec,
            Phase.ASKING,
            missing.size_bytes,
            missing.licences,
            downloadable=not missing.by_hand,
            by_hand=missing.by_hand,
            text=text,
        )
        self._state.propose(offer)

    def _show(self, phase: Phase, text: str = "", done: int = 0, total: int = 0) -> None:
        """Change the offer that is shown."""
        offer = self._state.offer
        if offer is not None:
            self._state.propose(replace(offer, phase=phase, text=text, done=done, total=total))

    def _on_progress(self, progress: Progress) -> None:
        if self.fetching:
            self._show(Phase.WORKING, progress.message, progress.done, progress.total)

    def _on_fetched(self, spec: ModelSpec, before: str, missing: Missing | None) -> None:
        self.look()
        if missing is not None:
            self._ask(spec, missing, "A file is still missing.")
            return
        self._use(spec, before)

    def _on_imported(self, spec: ModelSpec, before: str, imported: Imported) -> None:
        self.look()
        if imported.missing is not None:
            self._ask(
                spec,
                imported.missing,
                f"That is the file of {imported.spec.title}; it is in its place now, but more is "
                f"missing for {spec.title}.",
            )
            return
        if not imported.published:
            self._state.report(
                Level.WARNING,
                f"The file is not the one that the authors of {spec.title} published; it is used "
                "as it is.",
            )
        self._use(spec, before)

    def _use(self, spec: ModelSpec, before: str) -> None:
        """Go over to a model whose files came, unless the user chose another one meanwhile."""
        self._damaged = False
        self._state.propose(None)
        if self._wanted is None and self._state.settings.model == before:
            self.choose(model=spec.name)
        else:
            self._state.report(
                Level.READY, f"{spec.title} is on this computer now; it can be chosen."
            )

    def _on_failed_fetch(self, error: LiteSamError) -> None:
        self._show(Phase.FAILED, str(error))
        self.look()

    def _on_bug(self, error: BaseException) -> None:
        """Leave nothing waiting for a job that broke; the exception itself surfaces in napari."""
        self._wanted = None
        self._show(
            Phase.FAILED,
            f"Unexpected {type(error).__name__}: {error}. This is a bug; please report it with the "
            "traceback of napari's notification.",
        )
