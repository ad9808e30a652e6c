"""What every test needs: settings and caches of its own, few threads and a real window.

Set before napari, Qt or torch are imported, hence at the top of this module.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

_SCRATCH = Path(tempfile.mkdtemp(prefix="litesam-tests-"))

os.environ["NAPARI_CONFIG"] = str(_SCRATCH / "napari-settings.yaml")
os.environ["LITESAM_HOME"] = str(_SCRATCH / "litesam")
# With the offscreen platform napari's canvas fails or stays black; the tests look at real pixels.
os.environ.pop("QT_QPA_PLATFORM", None)
os.environ.setdefault("QT_API", "pyqt6")
if "PYTEST_XDIST_WORKER" in os.environ:  # processes that share the suite have a core each
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

# The same examples on every run, and no time limit on a shared machine.
hypothesis.settings.register_profile(
    "litesam", derandomize=True, deadline=None, database=None, max_examples=50
)
hypothesis.settings.load_profile("litesam")

# Some tests replace `litesam.predictors.load_predictor`. A module that is imported first meanwhile
# would keep the replacement for all later tests, so they are imported now.
import litesam.segmenter  # noqa: E402, F401

_WINDOW_FIXTURES = {"qtbot", "qapp", "make_napari_viewer", "make_napari_viewer_proxy"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say what is missing, instead of Qt's abort, when a window cannot be opened."""
    needs_window = any(
        _WINDOW_FIXTURES & set(getattr(i, "fixturenames", ())) for i in session.items
    )
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if sys.platform == "linux" and needs_window and not has_display:
        pytest.exit(
            "The tests of the window need a display; install Xvfb (`make display` does).",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


def pytest_unconfigure() -> None:
    """Remove the scratch folder."""
    shutil.rmtree(_SCRATCH, ignore_errors=True)
