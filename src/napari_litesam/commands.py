"""Commands of napari's command palette; each opens the panel of the current viewer if need be."""

# The annotations are strings for napari, which injects the viewer by them; `from __future__ import
# annotations` on top of that would hide it.

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

    from napari_litesam.controller import Controller


def embed(viewer: "napari.viewer.Viewer") -> None:
    """Embed the plane shown."""
    _controller(viewer).embed()


def toggle_sign(viewer: "napari.viewer.Viewer") -> None:
    """Toggle positive and negative points."""
    _controller(viewer).toggle_sign()


def draw_box(viewer: "napari.viewer.Viewer") -> None:
    """Draw a box with the next drag."""
    _controller(viewer).draw_box()


def undo(viewer: "napari.viewer.Viewer") -> None:
    """Take back the last prompt, commit or everything."""
    _controller(viewer).undo()


def redo(viewer: "napari.viewer.Viewer") -> None:
    """Do again what was taken back."""
    _controller(viewer).redo()


def next_candidate(viewer: "napari.viewer.Viewer") -> None:
    """Show the next of the masks for a click."""
    _controller(viewer).next_candidate()


def clear_prompts(viewer: "napari.viewer.Viewer") -> None:
    """Remove the prompts of the current object."""
    _controller(viewer).clear_prompts()


def commit(viewer: "napari.viewer.Viewer") -> None:
    """Write the previewed object into the Labels layer."""
    _controller(viewer).commit()


def everything(viewer: "napari.viewer.Viewer") -> None:
    """Segment all objects of the plane shown."""
    _controller(viewer).everything()


def accept_all(viewer: "napari.viewer.Viewer") -> None:
    """Commit the candidates of everything mode that are kept."""
    _controller(viewer).accept_all()


def discard(viewer: "napari.viewer.Viewer") -> None:
    """Put the candidates of everything mode away."""
    _controller(viewer).discard()


def next_image(viewer: "napari.viewer.Viewer") -> None:
    """Open the next image of the folder."""
    _controller(viewer).next_image()


def previous_image(viewer: "napari.viewer.Viewer") -> None:
    """Open the image before of the folder."""
    _controller(viewer).previous_image()


def _controller(viewer: "napari.viewer.Viewer") -> "Controller":
    """Return the controller of the viewer's panel, opened now if it is not there."""
    from napari_litesam.widget import LiteSamWidget

    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, LiteSamWidget):
            return widget.controller
    _dock, widget = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    assert isinstance(widget, LiteSamWidget)
    return widget.controller
