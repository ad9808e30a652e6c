"""Through napari's own doors: menu, commands, samples."""

from __future__ import annotations

import subprocess
import sys

import pytest
from napari._app_model import get_app_model

from litesam.samples import SAMPLES


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_samples_open_with_their_spacing(make_napari_viewer, name) -> None:
    viewer = make_napari_viewer()
    viewer.open_sample("napari-litesam", name)
    (layer,) = viewer.layers
    sample = SAMPLES[name]
    assert layer.name == sample.title
    assert layer.rgb == sample.axes.endswith("C")
    assert tuple(layer.scale) == pytest.approx(sample.scale)
    assert layer.ndim == len(sample.axes.rstrip("C"))


def test_panel_is_in_the_segment_menu(make_napari_viewer) -> None:
    make_napari_viewer()
    menus = get_app_model().menus
    titles = {getattr(item, "title", None) for item in menus.get_menu("napari/layers/segment")}
    assert "Lite-SAM" in titles


def test_command_opens_the_panel_of_its_viewer(make_napari_viewer, qtbot) -> None:
    viewer = make_napari_viewer()
    get_app_model().commands.execute_command("napari-litesam.undo").result()
    (widget,) = viewer.window.dock_widgets.values()
    assert "nothing to undo" in widget.status.text()
    get_app_model().commands.execute_command("napari-litesam.clear_prompts").result()
    assert len(viewer.window.dock_widgets) == 1
    assert "no prompts" in widget.status.text()


def test_plugin_and_its_samples_import_neither_torch_nor_qt() -> None:
    code = (
        "import sys, napari_litesam, napari_litesam.sample_data; "
        "print([m for m in ('torch', 'qtpy', 'PyQt6', 'napari') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_opening_the_panel_imports_no_torch() -> None:
    code = "import sys, napari_litesam.widget; assert 'torch' not in sys.modules, 'torch is loaded'"
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_window_that_was_never_shown_closes_quietly(make_napari_viewer, qtbot) -> None:
    viewer = make_napari_viewer()
    viewer.open_sample("napari-litesam", "nuclei")
    _, widget = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    qtbot.wait(30)
    controller = widget.controller
    del widget
    viewer.close()
    qtbot.wait(50)
    assert controller._closed
