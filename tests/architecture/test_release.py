"""What is handed to others: licences, front page, versions and the built archives."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SAMPLE_FILES = ROOT / "src" / "litesam" / "sample_files"
BUNDLED = ROOT / "src" / "litesam" / "models" / "bundled"
LICENCE_NAMES = re.compile(r"CC0|CC[ -]BY|MIT|BSD|Apache")


def read(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def rows_naming(text: str, name: str) -> list[str]:
    """Rows of tables that name a file, as it is or by a pattern (``goldens/*/golden.npz``)."""
    return [
        line
        for line in text.splitlines()
        if line.startswith("|")
        and any(fnmatch(name, pattern) for pattern in re.findall(r"`([^`]+)`", line))
    ]


def files_of(folder: Path, besides: str) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != besides and "__pycache__" not in path.parts
    )


@pytest.mark.parametrize("name", files_of(SAMPLE_FILES, "LICENSES.md"))
def test_sample_file_has_source_and_licence(name: str) -> None:
    rows = rows_naming(read("src", "litesam", "sample_files", "LICENSES.md"), name)
    assert rows
    assert LICENCE_NAMES.search(rows[0])


def test_every_sample_states_the_licence_of_its_file() -> None:
    from litesam.samples import SAMPLES

    licences = read("src", "litesam", "sample_files", "LICENSES.md")
    for sample in SAMPLES.values():
        for name in (sample.file, sample.labels_file):
            assert any(sample.licence in row for row in rows_naming(licences, name))


def test_test_data_has_source_and_licence() -> None:
    described = read("tests", "data", "README.md")
    for name in files_of(ROOT / "tests" / "data", "README.md"):
        rows = rows_naming(described, name)
        assert rows, f"tests/data/README.md does not name {name}"
        assert LICENCE_NAMES.search(rows[0]), name


def test_bundled_weights_are_safetensors_with_a_model_card() -> None:
    weights = files_of(BUNDLED, "README.md")
    assert weights
    cards = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("model-card*")
    )
    for name in weights:
        assert name.endswith(".safetensors"), f"{name}: only safetensors files are shipped"
        assert name in cards, f"no model card names {name}"


def test_readme_names_the_two_commands_and_the_installation() -> None:
    readme = read("README.md")
    for command in ("make demo", "make test", 'pip install "napari-litesam[all]"'):
        assert command in readme


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    assert "make test" in read(".ci", "run")


def test_version_is_the_same_everywhere() -> None:
    import litesam
    import napari_litesam

    changelog = read("docs", "changelog.md")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)
    assert newest is not None
    versions = {
        PROJECT["version"],
        version("napari-litesam"),
        napari_litesam.__version__,
        litesam.__version__,
        newest.group(1),
    }
    assert len(versions) == 1, versions


def test_torch_is_constrained_to_a_version_that_the_package_allows() -> None:
    assert re.search(r"^torch==\d", read(".ci", "constraints.txt"), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the wheel and the source archive, built from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def needed_by_users() -> set[str]:
    """Files that are not Python and without which the installed package would not work."""
    data = [*SAMPLE_FILES.iterdir(), *BUNDLED.glob("*.safetensors")]
    data += [ROOT / "src" / "napari_litesam" / "napari.yaml", ROOT / "src" / "litesam" / "py.typed"]
    return {str(path.relative_to(ROOT / "src")) for path in data}


def test_wheel_is_complete_and_small(archives: Path) -> None:
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src").rglob("*.py")}
    assert needed_by_users() | sources <= names
    assert {name.split("/")[0] for name in names} == {
        "litesam",
        "napari_litesam",
        f"napari_litesam-{PROJECT['version']}.dist-info",
    }
    assert wheel.stat().st_size < 20e6


def test_source_archive_is_complete(archives: Path) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {f"src/{name}" for name in needed_by_users()}
    needed |= {"napari.yaml", "LICENSE", "README.md", "Makefile", ".ci/run", "tests/conftest.py"}
    assert needed <= names
