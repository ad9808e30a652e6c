"""The pages tell the truth: the Python of README and docs runs, links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest

from litesam.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name_of)
def test_python_on_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of one page follow each other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, block in enumerate(python_blocks(page)):
            code = compile(block, f"{name_of(page)}, block {number}", "exec")
            exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_the_page_are_understood(page: Path) -> None:
    """Every `litesam …` line of a shell block is accepted by the parser; nothing is run."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for line in "".join(blocks).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["litesam"] and "--help" not in words:
            build_parser().parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_the_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


def test_table_of_models_is_that_of_the_registry() -> None:
    program = runpy.run_path(str(ROOT / "docs" / "generate_models_table.py"))
    page = program["PAGE"].read_text(encoding="utf-8")
    assert page == program["insert_table"](page), "run python docs/generate_models_table.py"
