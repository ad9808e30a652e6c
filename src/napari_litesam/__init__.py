"""napari-litesam: light Segment-Anything models for microscopy, as a napari plugin."""

from importlib.metadata import version

__version__ = version("napari-litesam")
