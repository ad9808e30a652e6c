"""Read images, labels and prompts; write labels and pictures.

Reading is lazy where the format allows it; writing is atomic: a file appears under its name only
when it is complete.
"""

from litesam.io.atomic import atomic_path, check_output
from litesam.io.labelled_folder import LabelledImage, read_labelled_folder
from litesam.io.lazy import image_files, open_image, open_levels
from litesam.io.napari_layers import is_napari_csv, read_napari_csv
from litesam.io.ome_metadata import OME_VERSIONS
from litesam.io.ome_zarr import is_zarr
from litesam.io.overlay import draw_overlay, write_gallery, write_overlay, write_png
from litesam.io.prompts import PromptedObjects, read_prompted_objects, read_prompts_csv
from litesam.io.readers import ImageData, read_image, read_labels, stem
from litesam.io.rle import (
    mask_from_runs,
    run_lengths,
    run_lengths_in_plane,
    runs_from_text,
    runs_to_text,
)
from litesam.io.writers import label_axes, write_label_planes, write_labels

__all__ = [
    "OME_VERSIONS",
    "ImageData",
    "LabelledImage",
    "PromptedObjects",
    "atomic_path",
    "check_output",
    "draw_overlay",
    "image_files",
    "is_napari_csv",
    "is_zarr",
    "label_axes",
    "mask_from_runs",
    "open_image",
    "open_levels",
    "read_image",
    "read_labelled_folder",
    "read_labels",
    "read_napari_csv",
    "read_prompted_objects",
    "read_prompts_csv",
    "run_lengths",
    "run_lengths_in_plane",
    "runs_from_text",
    "runs_to_text",
    "stem",
    "write_gallery",
    "write_label_planes",
    "write_labels",
    "write_overlay",
    "write_png",
]
