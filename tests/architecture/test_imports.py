"""What an import may load, seen in a fresh interpreter, and the direction of all imports."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in json.loads(result.stdout)}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import litesam", {"napari", "qtpy", "magicgui", "superqt", "PyQt6", "torch", "zarr"}),
        ("import litesam; litesam.list_models()", {"napari", "qtpy", "torch", "zarr"}),
        ("import litesam.cli", {"napari", "qtpy", "torch"}),
        ("import napari_litesam", {"torch", "qtpy", "PyQt6"}),
    ],
)
def test_import_loads_only_what_it_must(statement: str, absent: set[str]) -> None:
    assert not modules_after(statement) & absent


def test_every_public_name_loads() -> None:
    import litesam

    for name in litesam.__all__:
        assert getattr(litesam, name) is not None
    assert len(litesam.__all__) <= 25


def test_unknown_public_name_is_an_attribute_error() -> None:
    import litesam

    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        litesam.Segmentor  # noqa: B018


def test_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(command), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout


def third_party_imports(package: str) -> set[str]:
    """Top-level modules outside the standard library and the project that a package imports."""
    found = set()
    for path in (ROOT / "src" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"litesam", "napari_litesam"}


def providers(module: str) -> set[str]:
    """Distributions that bring a top-level module."""
    return {name.lower() for name in packages_distributions().get(module, ())}


def declared_dependencies(extra: str | None = None) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {re.split(r"[\[<>=!~; ]", entry)[0].lower() for entry in entries}


# app_model has the type of napari's keys.
@pytest.mark.parametrize(
    ("package", "brought_by_the_viewer"),
    [("litesam", set()), ("napari_litesam", {"napari", "app_model"})],
)
def test_every_import_is_a_declared_dependency(
    package: str, brought_by_the_viewer: set[str]
) -> None:
    # Packages of the extras, which may be absent here, have the names of their modules.
    extras = declared_dependencies("text") | declared_dependencies("cluster")
    modules = third_party_imports(package) - brought_by_the_viewer - extras
    undeclared = {module for module in modules if not providers(module) & declared_dependencies()}
    assert not undeclared


def test_every_declared_dependency_is_imported() -> None:
    modules = third_party_imports("litesam") | third_party_imports("napari_litesam")
    assert declared_dependencies() <= set().union(*map(providers, modules))
