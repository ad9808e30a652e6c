"""What the Volume section labels and who does it: a channel of several; workers of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

from engine.threshold_predictor import CENTRES, discs
from litesam.io import open_image, read_image
from litesam.samples import sample_path
from plugin.test_volume_panel import EXACT_PX, layer_of, opened, same_objects

if TYPE_CHECKING:
    from pathlib import Path


def test_the_chosen_channel_is_labelled(predictor, open_panel, tmp_path: Path) -> None:
    """Each channel has other objects; the labels have no axis of channels."""
    first, _ = discs((128, 128), CENTRES[:2])
    second, truth = discs((128, 128), CENTRES[2:])
    image = np.stack([np.stack([first] * 5), np.stack([second] * 5)])
    hands = open_panel(image, axis_labels=("c", "z", "y", "x"))
    hands.settle()
    hands.viewer.dims.set_current_step(0, 1)
    hands.settle()
    out = tmp_path / "labels.zarr"
    opened(hands, output=str(out), diameter=EXACT_PX, first=1)
    hands.press("volume.start")
    hands.settle()
    assert "1 objects in 4 slices" in hands.status
    layer = layer_of(hands, out)
    same_objects(np.asarray(layer.data), np.stack([truth] * 4))
    hands.press("volume.copy")
    hands.settle()
    assert hands.objects.data.shape == (5, 128, 128)


def test_workers_of_a_cluster_do_the_slices(open_panel, tmp_path: Path) -> None:
    """The bundled model in a process of its own: the same labels as in this one, with the scale
    that the file says; and in two processes that the panel starts.
    """
    from distributed import LocalCluster

    stack = np.asarray(read_image(sample_path("embryo")).array)[22:25]
    path = tmp_path / "stack.ome.tif"
    about = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(path, stack, metadata=about)
    hands = open_panel()
    hands.viewer.open(path, plugin="napari", scale=(2.0, 0.5, 0.5))
    hands.qtbot.wait(50)
    hands.settle()
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        opened(hands, output=str(tmp_path / "a.zarr"), diameter=13, scheduler=address)
        hands.press("volume.start")
        hands.settle()
    assert "in 3 slices" in hands.status
    opened(hands, output=str(tmp_path / "b.zarr"), scheduler="")
    hands.press("volume.start")
    hands.settle()
    opened(hands, output=str(tmp_path / "c.zarr"), scheduler="local:2")
    hands.press("volume.start")
    hands.settle()
    there, here, local = (open_image(tmp_path / name) for name in ("a.zarr", "b.zarr", "c.zarr"))
    np.testing.assert_array_equal(np.asarray(local.array), np.asarray(here.array))
    assert np.asarray(there.array).any()
    np.testing.assert_array_equal(np.asarray(there.array), np.asarray(here.array))
    assert there.scale == here.scale == (2.0, 0.5, 0.5)
