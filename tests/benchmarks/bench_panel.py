"""The panel in a real window: from a click to its mask on the canvas, how long the window stands
still meanwhile, and memory over many clicks.

``xvfb-run -a -s "-screen 0 1280x860x24" python tests/benchmarks/bench_panel.py`` where there is no
display. A click is a Qt event on the canvas; the time ends when the canvas has drawn the preview.
The baseline is the same click in the engine alone, without a window.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import napari
import numpy as np
import psutil
from qtpy.QtCore import QEventLoop, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from skimage.measure import regionprops
from timing import parser, set_threads

import litesam
from litesam.io import read_image
from litesam.samples import SAMPLES, sample_path
from plugin.heartbeat import Heartbeat


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, repeats=60)
    arguments.add_argument("--memory-clicks", type=int, default=1000)
    options = arguments.parse_args()
    set_threads(options.threads)
    image = np.asarray(read_image(sample_path("nuclei")).array)[:512, :512]
    truth = np.asarray(
        read_image(sample_path("nuclei").with_name(SAMPLES["nuclei"].labels_file)).array
    )[:512, :512]
    places = [tuple(map(round, one.centroid)) for one in regionprops(truth) if one.area > 100]

    segmenter = litesam.Segmenter(image, axes="YX")
    segmenter.embed()
    engine = []
    for number in range(options.repeats):
        y, x = places[number % len(places)]
        start = time.perf_counter()
        _ = segmenter.segment(litesam.Prompts(points=(litesam.PointPrompt(y, x),))).mask
        engine.append(time.perf_counter() - start)

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 860)
    layer = viewer.add_image(image, name="nuclei")
    _, panel = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
    wait(0.5)
    viewer.reset_view()
    wait(0.5)
    beat = Heartbeat()
    start = time.perf_counter()
    QTest.mouseClick(panel.embed, Qt.MouseButton.LeftButton)
    wait(0.05)
    while panel.controller.busy:
        QApplication.processEvents()
    seconds = time.perf_counter() - start
    print(f"embedding 512 x 512: {seconds:.2f} s, longest pause {beat.stop() * 1e3:.0f} ms")
    pauses: list[float] = []
    times = [
        one_click(viewer, layer, panel, places[number % len(places)], pauses)
        for number in range(options.repeats)
    ]
    report("click to drawn mask", times, "the engine alone", engine)
    print(f"longest pause of the window in a click: {max(pauses) * 1e3:.0f} ms")
    process, sizes = psutil.Process(), []
    for number in range(options.memory_clicks):
        one_click(viewer, layer, panel, places[number % len(places)], [])
        if number % max(options.memory_clicks // 5, 1) == 0:
            sizes.append(process.memory_info().rss / 1e6)
    sizes.append(process.memory_info().rss / 1e6)
    print(f"memory over {options.memory_clicks} clicks, MB:", [round(size) for size in sizes])
    viewer.close()


def one_click(
    viewer: Any, layer: Any, panel: Any, place: tuple[int, int], pauses: list[float]
) -> float:
    """Seconds from a click to the drawn preview; the prompts are cleared afterwards."""
    canvas = viewer.window._qt_viewer.canvas
    transform = canvas.layer_to_visual[layer].node.get_transform("visual", "canvas")
    x, y = transform.map([place[1] + 0.5, place[0] + 0.5, 0, 1])[:2]
    drawn: list[bool] = []

    def note(_event: Any) -> None:
        if panel.controller._current.ready is not None:
            drawn.append(True)

    scene = canvas._scene_canvas
    scene.events.draw.connect(note, position="last")
    beat = Heartbeat()
    start = time.perf_counter()
    QTest.mouseClick(
        canvas.native, Qt.MouseButton.LeftButton, pos=QPoint(round(float(x)), round(float(y)))
    )
    while not drawn and time.perf_counter() - start < 5:
        # As Qt's own loop: it sleeps. One that spins takes the processor from the model. When it
        # returns from drawing the canvas, the window as a whole is drawn.
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    seconds = time.perf_counter() - start
    scene.events.draw.disconnect(note)
    wait(0.02)
    # Stopped in any case: a timer that still runs when Python takes it away ends the process.
    longest = beat.stop()
    if len(beat.beats) > 1:
        pauses.append(longest)
    panel.controller.clear_prompts()
    wait(0.03)
    return seconds


def report(name: str, times: list[float], baseline: str, base: list[float]) -> None:
    """Print median and 95th percentile, and the ratio of medians."""
    median, p95 = statistics.median(times), float(np.percentile(times, 95))
    reference = statistics.median(base)
    print(
        f"{name}: median {median * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms; {baseline}: "
        f"{reference * 1e3:.0f} ms; {median / reference:.1f} x"
    )


def wait(seconds: float) -> None:
    """Let the window live for a while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
