"""The dock widget: shows settings and status, emits intents; touches no layer, knows no model.

Rows from top to bottom follow the order of work: image, model, prompts, objects, everything; the
status line stays in sight below them. A disabled control says in its tooltip why.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from litesam.models.registry import list_models
from napari_litesam.controller import Controller
from napari_litesam.embedding_section import EmbeddingSection
from napari_litesam.everything_section import EverythingSection
from napari_litesam.folding import Folding
from napari_litesam.foot import Foot
from napari_litesam.image_section import ImageSection
from napari_litesam.keyboard_map import KeyboardMap
from napari_litesam.keys import with_keys
from napari_litesam.model_picker import ModelPicker
from napari_litesam.objects_section import ObjectsSection
from napari_litesam.own_context import OwnContext
from napari_litesam.prompts_section import PromptsSection
from napari_litesam.rows import (
    Chooser,
    lay_out_now,
    make_form,
    refill,
    shortened,
    side_by_side,
    wrapped,
)
from napari_litesam.sections import Section, reveal
from napari_litesam.series_section import SeriesSection
from napari_litesam.session_section import SessionRow, UnsavedRow
from napari_litesam.state import Phase, PluginState, Tool
from napari_litesam.status_line import StatusLine
from napari_litesam.variants import PROPOSALS, details, is_hq, one_line
from napari_litesam.volume_section import VolumeSection
from napari_litesam.weights_offer import WeightsOffer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari

    from litesam.types import ModelSpec

_DEVICES = (
    ("Automatic", "auto", "A GPU where there is one, else the CPU."),
    ("CPU", "cpu", "Works everywhere."),
    ("GPU (CUDA)", "cuda", "NVIDIA, needs a CUDA build of torch."),
    ("GPU (Apple)", "mps", "Apple silicon."),
)


#: napari frames a disabled button or chooser, which makes it two pixels higher: the panel would be
#: laid out anew, and the window drawn again, with every click that enables one.
_STEADY = "QPushButton:enabled, QComboBox:enabled { border: 1px solid transparent; }"


class LiteSamWidget(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """Interactive and automatic segmentation of the planes of an image layer.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget works in; napari passes it.
    models
        The models that can be chosen; None: all.
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        parent: QWidget | None = None,
        *,
        models: Sequence[ModelSpec] | None = None,
    ) -> None:
        super().__init__(parent)
        self._models = tuple(list_models() if models is None else models)
        self.setObjectName("lite_sam")
        self.setStyleSheet(_STEADY)
        self.state = PluginState()
        self._tips: dict[str, str] = {}
        self._told: dict[str, str | None] = {}
        self._named: dict[str, QWidget] = {}
        self._docked = False
        self._window: QWidget | None = None
        OwnContext(napari_viewer, self)
        self._build()
        self.state.settings_changed.connect(self._show_settings)
        self.state.status_changed.connect(self.status_line.show_status)
        self.state.disabled_changed.connect(self._show_disabled)
        self.state.offer_changed.connect(self._show_offer)
        self.state.library_changed.connect(self._show_library)
        self.state.candidate_changed.connect(self.prompts_section.show_candidate)
        self.state.review_changed.connect(self.everything_section.show_review)
        self.state.unsaved_changed.connect(self.unsaved.show_unsaved)
        self.controller = Controller(napari_viewer, self.state, self._models)
        self.controller.layers_changed.connect(self._fill_layers)
        self._connect()
        self._folding = Folding(self, self.state)
        # A window that was never shown is closed without an event that the filter could see.
        controller = self.controller
        self.destroyed.connect(lambda: controller.close_at_last())
        self._fill_layers()
        self._show_settings(frozenset({"model", "sign", "tool", "device"}))
        self.controller.remember()

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        content = QWidget(self)
        rows = QVBoxLayout(content)
        rows.setContentsMargins(4, 6, 5, 6)
        rows.setSpacing(6)
        self.unsaved = UnsavedRow(self)
        rows.addWidget(self.unsaved)
        self.series = SeriesSection(self._name, self)
        self.image_section = self._build_image()
        self.prompts_section = self._build_prompts()
        self.everything_section = self._build_everything()
        for section in (self.image_section, self.prompts_section, self.everything_section):
            rows.addWidget(section)
        self.objects = ObjectsSection(self)
        for name, button in self.objects.buttons.items():
            self._name(name, button, button.toolTip())
        rows.addWidget(self.objects)
        rows.addWidget(self.series)
        self.volume = VolumeSection(self._name, self)
        rows.addWidget(self.volume)
        self.session = SessionRow(self)
        rows.addWidget(self.session)
        self.keys = KeyboardMap(self)
        rows.addWidget(self.keys)
        rows.addStretch(1)

        scroll = QScrollArea(self, widgetResizable=True, frameShape=QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)

        self.status_line = StatusLine(self)
        self.progress, self.status = self.status_line.progress, self.status_line.text
        self.cancel = self.status_line.cancel
        self._name("cancel", self.cancel, "Stop what is running; what is done is kept.")

        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(4)
        outer.addWidget(scroll, 1)
        outer.addWidget(self.status_line)
        self.foot = Foot(self)
        outer.addWidget(self.foot)
        # What the sections need, and the bar beside them that scrolls them.
        self.setMinimumWidth(244 + scroll.verticalScrollBar().sizeHint().width())

    def _build_image(self) -> Section:
        section = Section(
            "Image and model",
            "image_section",
            self,
            tip="What the model sees, and which model.",
            unfolded=True,
        )
        form, content = make_form(), QWidget(self)
        self.image = self._combo("image", "The image layer to segment.")
        self.about = ImageSection(self)
        self.axes, self.channel, self.level = self.about.axes, self.about.channel, self.about.level
        self.contrast, self.colours = self.about.contrast, self.about.colours
        for name, tip in self.about.tips.items():
            self._name(name, getattr(self, name), tip)
        self.model = ModelPicker(self._models, self)
        self._name("model", self.model, "")
        # One line always, so that nothing below it moves; the chooser's tooltip has everything.
        self.facts = QElidingLabel(self)
        self.facts.setObjectName("facts")
        self.hq = QCheckBox("HQ", self)
        self._name(
            "hq",
            self.hq,
            "The HQ decoder of the same encoder: finer outlines of thin and intricate objects.\n"
            "What is embedded stays; nothing is encoded again.",
        )
        self.hq.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.offer = WeightsOffer(self)
        self.device = self._combo("device", "Where the model runs.")
        for title, name, tip in _DEVICES:
            self.device.addItem(title, name)
            self.device.setItemData(self.device.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.weights = self._button(
            "weights", "Standard", "A weights file of your own for this model; again to go back."
        )
        self.embedding = EmbeddingSection(self)
        self.embed, self.all_planes = self.embedding.embed, self.embedding.all_planes
        for name, tip in self.embedding.tips.items():
            self._name(name, getattr(self.embedding, name), tip)
        form.addRow("Image", self.image)
        form.addRow(self.about)
        form.addRow("Model", self.model)
        form.addRow(self.facts)
        weights = side_by_side(self.weights, self.hq)
        weights.setStretch(0, 1)
        form.addRow("Weights", weights)
        form.addRow(self.offer)
        form.addRow("Device", self.device)
        form.addRow(self.embedding)
        content.setLayout(form)
        section.addWidget(content)
        return section

    def _build_prompts(self) -> PromptsSection:
        section = PromptsSection(self._name, self)
        tools = self.tools = section.tools
        self.positive, self.negative = tools.positive, tools.negative
        self.box, self.lasso, self.scribble = tools.box, tools.lasso, tools.scribble
        self.hover, self.each, self.search = section.hover, section.each, section.search
        self.undo, self.redo, self.clear = section.undo, section.redo, section.clear
        self.target, self.policy = section.target, section.policy
        self.candidate, self.commit, self.number = section.candidate, section.commit, section.number
        return section

    def _build_everything(self) -> EverythingSection:
        section = EverythingSection(self.state.settings.everything, self)
        self.where, self.proposals = section.where, section.proposals
        self.everything, self.at_once = section.everything, section.at_once
        self.review, self.options = section.review, section.options
        for name, tip in section.tips.items():
            self._name(name, getattr(section, name), tip)
        for button in (section.review.accept, section.review.discard):
            self._name(button.objectName(), button, button.toolTip())
        return section

    def _name(self, name: str, widget: QWidget, tip: str) -> None:
        widget.setObjectName(name)
        widget.setToolTip(with_keys(tip))
        self._tips[name] = tip
        self._named[name] = widget

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        # Keys go on to the canvas: after a click on a button, T and C still mean the prompts.
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._name(name, button, tip)
        return button

    def _combo(self, name: str, tip: str) -> QComboBox:
        combo = Chooser(self)
        self._name(name, combo, tip)
        return combo

    # -------------------------------------------------------------------------------------- intents

    def _connect(self) -> None:
        controller = self.controller
        for combo, setting in (
            (self.image, "image"),
            (self.channel, "channel"),
            (self.level, "level"),
            (self.contrast, "contrast"),
            (self.where, "where"),
            (self.proposals, "proposals"),
        ):
            combo.activated.connect(lambda _, c=combo, s=setting: self._choose(c, s))
        self.objects.follow(controller)
        self.session.follow(controller)
        self.series.follow(controller)
        self.volume.follow(controller)
        self.unsaved.follow(controller.desk)
        self.keys.follow(self.state, controller.keys)
        self.about.follow(controller)
        self.model.chosen.connect(lambda name: controller.models.choose(model=name))
        self.model.opened.connect(lambda: controller.models.look())
        self.device.activated.connect(self._choose_device)
        self.hq.clicked.connect(self._choose_hq)
        self.offer.download_wanted.connect(lambda ok: controller.models.download(accepted=ok))
        self.offer.file_chosen.connect(lambda path: controller.models.use_file(path))
        self.offer.cancelled.connect(lambda: controller.models.cancel())
        self.offer.dismissed.connect(lambda: controller.models.dismiss())
        self.weights.clicked.connect(self._choose_weights)
        self.embedding.follow(self.state, controller)
        controller.ahead.changed.connect(self.foot.show_overview)
        self.options.changed.connect(lambda config: self.state.update(everything=config))
        self.cancel.clicked.connect(lambda: controller.cancel())
        self.prompts_section.follow(controller)
        self.everything.clicked.connect(lambda: controller.everything())
        self.at_once.toggled.connect(lambda on: self.state.update(at_once=on))
        self.review.filtered.connect(lambda name, to: controller.review.filter(**{name: to}))
        self.review.accept.clicked.connect(lambda: controller.accept_all())
        self.review.discard.clicked.connect(lambda: controller.discard())
        self.review.pick.clicked.connect(lambda: controller.pick())
        self.review.pick.clicked.connect(self._show_tool)

    def _choose(self, combo: QComboBox, setting: str) -> None:
        changes: dict[str, Any] = {setting: combo.currentData()}
        if setting == "image":
            changes.update(channel=None, level=0, colours=None)
        self.state.update(**changes)

    def _choose_device(self, _index: int) -> None:
        chosen = self.device.currentData()
        self._show_settings(frozenset({"device"}))
        self.controller.models.choose(device=chosen)

    def _choose_hq(self, on: bool) -> None:
        self._show_model()
        self.controller.models.choose_hq(on)

    def _choose_weights(self) -> None:
        if self.state.settings.weights is not None:
            self.controller.models.choose(weights=None)
            return
        path, _ = QFileDialog.getOpenFileName(
            self, "Weights file", "", "Weights (*.safetensors *.pt *.pth);;All files (*)"
        )
        if path:
            self.controller.models.choose(weights=path)

    # -------------------------------------------------------------------------------------- showing

    def _fill_layers(self) -> None:
        """Bring the layer choosers up to date."""
        settings = self.state.settings
        images = self.controller.images()
        refill(
            self.image, [(layer.name, layer) for layer in images] or [("–", None)], settings.image
        )
        self.about.show_settings(settings, images)
        self.target.show_layers(self.controller.candidacies(), settings.target)
        self._summarize_image()

    def _show_settings(self, changed: frozenset[str]) -> None:
        settings = self.state.settings
        if changed & {"image", "channel", "colours", "target", "level", "contrast"} and hasattr(
            self, "controller"
        ):
            self._fill_layers()
        self.embedding.show_settings(settings)
        self.prompts_section.show_settings(settings)
        if changed & {"model", "proposals"}:
            self._show_model()
        self.everything_section.show_settings(settings)
        if "device" in changed:
            self.device.setCurrentIndex(self.device.findData(settings.device))
        if changed & {"weights", "model"}:
            file = settings.weights
            self.weights.setText("Standard" if file is None else shortened(Path(file).name))
        if changed & {"sign", "tool"}:
            self._show_tool()
        if "keys" in changed:
            self.keys.show_keys(settings.keys)
            self._told.clear()
            self._show_disabled(self.state.disabled)
        if "words" in changed:
            self.search.show_words("" if settings.words is None else settings.words.text)

    def _show_model(self) -> None:
        settings = self.state.settings
        spec = self.controller.models.spec
        self.model.show_model(settings.model)
        self.hq.setChecked(is_hq(spec))
        status = self.state.library.get(spec.name)
        self.facts.setText(one_line(spec, status))
        self._tip("model", details(spec, status))
        chosen = settings.proposals or spec.proposals[0]
        self.proposals.clear()
        for row, name in enumerate(spec.proposals):
            words, tip = PROPOSALS.get(name, (name, name))
            self.proposals.addItem(words, name)
            self.proposals.setItemData(row, tip, Qt.ItemDataRole.ToolTipRole)
        self.proposals.setCurrentIndex(self.proposals.findData(chosen))
        self._tip("proposals", "Where everything mode looks for objects.\n" + PROPOSALS[chosen][1])
        self.options.show_for(chosen)
        self._summarize_image()

    def _summarize_image(self) -> None:
        image, model = self.state.settings.image, self.controller.models.spec.title
        self.image_section.summarize(model if image is None else f"{image.name} · {model}")

    def _show_offer(self, _offer: object = None) -> None:
        offer = self.state.offer
        self.offer.show_offer(offer, self.controller.models.spec)
        if offer is not None and offer.phase in (Phase.ASKING, Phase.FAILED):
            reveal(self.offer)

    def _show_library(self, library: dict[str, Any]) -> None:
        self.model.stock(library)
        self._show_model()

    def _show_tool(self) -> None:
        settings = self.state.settings
        self.tools.show_tool(settings)
        self.review.pick.setChecked(settings.tool is Tool.PICK)

    def _show_disabled(self, reasons: dict[str, str]) -> None:
        """Enable and disable controls; only those that differ, as every click asks for it."""
        for name, widget in self._named.items():
            if name not in self._told or self._told[name] != reasons.get(name):
                self._told[name] = reasons.get(name)
                widget.setEnabled(name not in reasons)
                self._tip(name, self._tips[name])
        lay_out_now()

    def _tip(self, name: str, tip: str) -> None:
        """Say in a tooltip what a control does and, if it is disabled, why."""
        self._tips[name] = tip
        reason = self.state.disabled.get(name)
        text = tip if reason is None else f"{tip}\n\nNot now: {reason}"
        self._named[name].setToolTip(wrapped(with_keys(text, self.state.settings.keys)))

    # ------------------------------------------------------------------------------------- lifetime

    def event(self, event: QEvent) -> bool:
        """Follow the widget into its dock and out of it."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self._close(tidy=True)
        elif event.type() in (QEvent.Type.Show, QEvent.Type.Polish):
            self._follow_window()
        return bool(super().event(event))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Closing the viewer's window cancels all work."""
        if watched is self._window and event.type() == QEvent.Type.Close:
            self._close(tidy=False)
        return False

    def _follow_window(self) -> None:
        window = self.window()
        if window is not self._window and window is not self:
            if self._window is not None:
                self._window.removeEventFilter(self)
            self._window = window
            window.installEventFilter(self)

    def _close(self, *, tidy: bool) -> None:
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self.controller.close(tidy=tidy)
