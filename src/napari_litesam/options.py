"""Qt controls for a config dataclass of the engine, made from its fields' metadata: help, unit,
limits, choices.
"""

from __future__ import annotations

from dataclasses import Field, fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_litesam.sections import Section

_AUTOMATIC = "auto"
_STEPS = 100
_LARGEST_STEP = 0.1
#: Ways of everything mode that heed an option, by the word that its help begins with.
_HEEDED_BY = {
    "Grid": {"grid"},
    "AutoPPN": {"auto_ppn", "boxes"},
    "AutoPPN and instances": {"auto_ppn", "boxes", "instances"},
}
_SPELLED = {"iou": "IoU", "nms": "NMS"}


class OptionsForm(QWidget):  # type: ignore[misc]  # qtpy is untyped
    """A form with one control per field of a frozen config; None is offered as *auto*.

    Fields that are marked ``advanced`` lie in a section that is folded at first.

    Attributes
    ----------
    changed
        The new config, after the user changed a control.
    advanced
        The folded section.
    """

    changed = Signal(object)

    def __init__(
        self, config: Any, parent: QWidget | None = None, *, name: str = "advanced"
    ) -> None:
        super().__init__(parent)
        self._config = config
        self.controls: dict[str, QWidget] = {}
        self._rows: list[tuple[str, QWidget, QWidget]] = []
        self._wide = 0
        usual, advanced = QWidget(self), QWidget(self)
        forms = {False: _grid(usual), True: _grid(advanced)}
        hints = get_type_hints(type(config))
        for item in fields(config):
            control = self._control(item, hints[item.name])
            if control is not None:
                self._add_row(forms[bool(item.metadata.get("advanced"))], item, control)
        for control in self.controls.values():
            control.setFixedWidth(self._wide)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(usual)
        self.advanced = Section(
            "More", f"{name}_options", self, tip="Options that few people need.", inner=True
        )
        self.advanced.addWidget(advanced)
        self.advanced.setVisible(forms[True].count() > 0)
        rows.addWidget(self.advanced)

    def _add_row(self, form: QGridLayout, item: Field[Any], control: QWidget) -> None:
        control.setObjectName(item.name)
        control.setToolTip(_help(item))
        self.controls[item.name] = control
        # Room for the longest text beside the buttons; the label takes what is left and wraps.
        longest = max(_unset(item), f"100 {item.metadata.get('unit', '')}", key=len)
        self._wide = max(self._wide, control.fontMetrics().horizontalAdvance(longest) + 56)
        label = QLabel(_title(item.name), self)
        label.setWordWrap(True)
        label.setToolTip(control.toolTip())
        row = form.rowCount()
        form.addWidget(label, row, 0)
        form.addWidget(control, row, 1)
        self._rows.append((item.metadata.get("help", "").partition(":")[0], label, control))

    def show_for(self, proposals: str) -> None:
        """Show the options that one way of everything mode heeds; the others keep their values.

        The help of an option that not all ways heed begins with their names and a colon.
        """
        for only, label, control in self._rows:
            shown = proposals in _HEEDED_BY.get(only, {proposals})
            label.setVisible(shown)
            control.setVisible(shown)
        self.advanced.setVisible(
            any(not c.isHidden() for _, _, c in self._rows if self.advanced.isAncestorOf(c))
        )

    @property
    def config(self) -> Any:
        """The config that the controls show."""
        return self._config

    def show_config(self, config: Any) -> None:
        """Show another config."""
        if config == self._config:
            return
        self._config = config
        for item in fields(config):
            control: Any = self.controls.get(item.name)
            value = getattr(config, item.name)
            if control is None:
                continue
            control.blockSignals(True)
            if isinstance(control, QComboBox):
                control.setCurrentIndex(control.findData(value))
            else:
                control.setValue(control.minimum() if value is None else value)
            control.blockSignals(False)

    def _control(self, item: Field[Any], hint: Any) -> QWidget | None:
        """Return the control of one field; None for a type that has none."""
        kinds = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
        optional = NoneType in kinds
        kinds.discard(NoneType)
        if len(kinds) != 1:
            return None
        kind = kinds.pop()
        if get_origin(kind) is Literal:
            return self._choice(item, get_args(kind), optional)
        if kind in (int, float):
            return self._number(item, kind, optional)
        return None

    def _choice(self, item: Field[Any], values: tuple[Any, ...], optional: bool) -> QComboBox:
        box = QComboBox(self)
        if optional:
            box.addItem(_unset(item), None)
        for value in values:
            box.addItem(str(value), value)
        box.setCurrentIndex(box.findData(getattr(self._config, item.name)))
        box.currentIndexChanged.connect(lambda _: self._set(item.name, box.currentData()))
        return box

    def _number(self, item: Field[Any], kind: type, optional: bool) -> QWidget:
        low, high = item.metadata.get("minimum", 0), item.metadata.get("maximum", 1_000_000)
        box: Any
        if kind is int:
            box, step = QSpinBox(self), 1
        else:
            box, step = QDoubleSpinBox(self), min((high - low) / _STEPS, _LARGEST_STEP)
            box.setDecimals(2)
        box.setSingleStep(step)
        # One step below the lowest value stands for None.
        box.setRange(low - step if optional else low, high)
        if optional:
            box.setSpecialValueText(_unset(item))
        if item.metadata.get("unit"):
            box.setSuffix(f" {item.metadata['unit']}")
        value = getattr(self._config, item.name)
        box.setValue(box.minimum() if value is None else value)
        box.setKeyboardTracking(False)
        box.valueChanged.connect(
            lambda new: self._set(
                item.name, None if optional and new < low - step / 2 else min(max(new, low), high)
            )
        )
        return box

    def _set(self, name: str, value: Any) -> None:
        self._config = replace(self._config, **{name: value})
        self.changed.emit(self._config)


def _grid(parent: QWidget) -> QGridLayout:
    """Layout of a label and a control in each row."""
    form = QGridLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(2)
    form.setColumnStretch(0, 1)
    return form


def _title(name: str) -> str:
    """``"nms_iou"`` → "NMS IoU"; the unit stands in the control."""
    words = [_SPELLED.get(word, word) for word in name.removesuffix("_px").split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _help(item: Field[Any]) -> str:
    text: str = item.metadata.get("help", item.name)
    unit = item.metadata.get("unit")
    text += f" ({unit})" if unit else ""
    own = item.default is None and _unset(item) == _AUTOMATIC
    return text + ("\nauto: the model's own value." if own else "")


def _unset(item: Field[Any]) -> str:
    """What None is called."""
    return str(item.metadata.get("unset", _AUTOMATIC))


def in_words(config: Any) -> str:
    """Return the options that are not the default ones, for people: ``"Patience 3"``."""
    changed = (
        (item, getattr(config, item.name))
        for item in fields(config)
        if getattr(config, item.name) != item.default
    )
    return " · ".join(
        f"{_title(item.name)} {_unset(item) if value is None else value}" for item, value in changed
    )
