"""Prompts from CSV files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from litesam.errors import PromptError, ReadError
from litesam.io import read_prompted_objects, read_prompts_csv
from litesam.types import BoxPrompt, PointLabel, PointPrompt, Prompts

if TYPE_CHECKING:
    from pathlib import Path


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_grouped_by_plane_and_object(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "z,object,kind,y,x,label,y0,x0,y1,x1\n"
        "12,a,point,40.5,61,1,,,,\n"
        "# a comment\n"
        "\n"
        "12,b,box,,,,10,20,35,48\n"
        "12,a,point,52,61,0,,,,\n"
        "3,a,box,,,,1,2,3,4\n"
        "12,b,point,20,30,,,,,\n",
    )
    assert read_prompts_csv(path) == {
        (12,): [
            Prompts((PointPrompt(40.5, 61), PointPrompt(52, 61, PointLabel.BACKGROUND))),
            Prompts((PointPrompt(20, 30),), BoxPrompt(10, 20, 35, 48)),
        ],
        (3,): [Prompts(box=BoxPrompt(1, 2, 3, 4))],
    }


def test_each_row_is_an_object_without_the_column(tmp_path: Path) -> None:
    path = _write(tmp_path, "X,Y\n5,10\n7.5,11\n")
    assert read_prompts_csv(path) == {
        (): [Prompts((PointPrompt(10, 5),)), Prompts((PointPrompt(11, 7.5),))]
    }


def test_kind_is_guessed_from_the_cells(tmp_path: Path) -> None:
    path = _write(tmp_path, "y,x,y0,x0,y1,x1\n1,2\n,,1,2,3,4\n")
    assert read_prompts_csv(path)[()] == [
        Prompts((PointPrompt(1, 2),)),
        Prompts(box=BoxPrompt(1, 2, 3, 4)),
    ]


def test_time_comes_before_z(tmp_path: Path) -> None:
    assert list(read_prompts_csv(_write(tmp_path, "z,t,y,x\n1,2,3,4\n"))) == [(2, 1)]


@pytest.mark.parametrize("text", ["y;x\n1;2\n", "y\tx\n1\t2\n", "\ufeffy,x\r\n1,2\r\n"])
def test_spreadsheet_dialects(tmp_path: Path, text: str) -> None:
    assert read_prompts_csv(_write(tmp_path, text)) == {(): [Prompts((PointPrompt(1, 2),))]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y,x\n1,2\n3,\n", "line 3: x is ''"),
        ("y,x\n\n# note\n1,b\n", "line 4: x is 'b'"),
        ("y,x,label\n1,2,3\n", "line 2: label is '3'"),
        ("y,x,label\n1,2,-1\n", "line 2: label is '-1'"),
        ("kind,y,x\ncircle,1,2\n", "line 2: kind is 'circle'"),
        ("y0,x0,y1,x1\n5,5,5,9\n", "line 2: Box .* is empty"),
        ("y,x\nnan,2\n", "line 2: Point .* not finite"),
        ("z,y,x\n-1,1,2\n", "line 2: z is '-1'"),
        ("z,y,x\n1.5,1,2\n", "line 2: z is '1.5'"),
        ("y,x\n1,2,3\n", "line 2: 3 cells for 2 columns"),
        ("object,y0,x0,y1,x1\na,0,0,5,5\na,1,1,5,5\n", "line 3: a second box"),
        ("object,y,x\n,1,2\n", "line 2: the cell object is empty"),
        ("y,x,y0,x0,y1,x1\n1,2,3,4,5,6\n", "line 2: the row has a point and a box"),
        ("y,x\n", "no prompts"),
    ],
)
def test_wrong_rows_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        read_prompts_csv(_write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1,2\n3,4\n", "unknown or repeated columns"),
        ("y,x,colour\n1,2,red\n", "colour"),
        ("y,y,x\n1,1,2\n", "repeated"),
        ("object,y\na,1\n", "needs the columns"),
    ],
)
def test_wrong_header(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        read_prompts_csv(_write(tmp_path, text))


def test_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        read_prompts_csv(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    with pytest.raises(ReadError, match="not a text file"):
        read_prompts_csv(tmp_path / "b.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    text = "object;z;y;x\nKörper;3,0;40,5;61\nKörper;3.0;,5;-0,25\n"
    (tmp_path / "p.csv").write_bytes(text.encode(encoding))
    ((index, (prompts,)),) = read_prompts_csv(tmp_path / "p.csv").items()
    assert index == (3,)
    assert [(p.y, p.x) for p in prompts.points] == [(40.5, 61.0), (0.5, -0.25)]


def test_an_object_may_be_prompted_on_many_planes(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("object,z,t,y,x\nlate,7,1,3,4\nearly,2,0,5,6\nlate,9,1,3,5\nlate,7,1,8,8\n")
    axes, objects = read_prompted_objects(path)
    assert axes == "TZ"
    assert list(objects) == ["late", "early"]
    assert objects["late"] == {
        (1, 7): Prompts((PointPrompt(3, 4), PointPrompt(8, 8))),
        (1, 9): Prompts((PointPrompt(3, 5),)),
    }
    path.write_text("y,x\n3,4\n5,6\n")
    axes, objects = read_prompted_objects(path)
    assert axes == ""
    assert [list(places) for places in objects.values()] == [[()], [()]]
