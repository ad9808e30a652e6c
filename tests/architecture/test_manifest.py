"""The plugin's manifest: valid, and every name in it can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from npe2 import PluginManifest

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "src" / "napari_litesam" / "napari.yaml"


def test_manifest_is_valid() -> None:
    command = Path(sys.executable).with_name("npe2")
    result = subprocess.run(
        [str(command), "validate", str(MANIFEST)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_installed_manifest_names_only_what_can_be_imported() -> None:
    manifest = PluginManifest.from_distribution("napari-litesam")
    assert manifest.name == "napari-litesam"
    manifest.validate_imports()


def test_manifest_at_the_root_is_a_link_to_the_real_one() -> None:
    link = ROOT / "napari.yaml"
    assert link.read_text(encoding="utf-8") == MANIFEST.read_text(encoding="utf-8")


def test_every_sample_is_in_the_menu() -> None:
    from litesam.samples import SAMPLES

    manifest = PluginManifest.from_distribution("napari-litesam")
    offered = {sample.display_name for sample in manifest.contributions.sample_data or ()}
    assert {sample.title for sample in SAMPLES.values()} <= offered
