"""CSV files as napari writes its Points and Shapes layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from litesam.errors import PromptError, ReadError
from litesam.io import is_napari_csv, read_napari_csv
from litesam.types import BoxPrompt, PointLabel, PointPrompt

if TYPE_CHECKING:
    from pathlib import Path

BESIDE = PointLabel.BACKGROUND
SHAPES = "index,shape-type,vertex-index,axis-0,axis-1\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "layer.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_points_of_a_stack_are_objects_of_their_planes(tmp_path: Path) -> None:
    path = write(
        tmp_path, "index,axis-0,axis-1,axis-2\n0.0,3.0,10.5,20.0\n1.0,3.4,1,2\n2.0,0.0,5,6\n"
    )
    assert is_napari_csv(path)
    found = read_napari_csv(path)
    assert {index: [d.points for d in drawings] for index, drawings in found.items()} == {
        (3,): [(PointPrompt(10.5, 20),), (PointPrompt(1, 2),)],
        (0,): [(PointPrompt(5, 6),)],
    }


def test_negative_points_make_one_object_of_a_plane(tmp_path: Path) -> None:
    rows = "0,1,2,{}\n1,3,4,{}\n2,5,6,{}\n"
    header = "index,axis-0,axis-1,label\n"
    path = write(tmp_path, header + rows.format("positive", "negative", "positive"))
    ((drawing,),) = read_napari_csv(path).values()
    assert drawing.points == (PointPrompt(1, 2), PointPrompt(3, 4, BESIDE), PointPrompt(5, 6))
    path = write(tmp_path, header + rows.format("positive", "positive", "positive"))
    assert len(read_napari_csv(path)[()]) == 3
    path = write(tmp_path, header + rows.format("positive", "perhaps", "positive"))
    with pytest.raises(PromptError, match="line 3: label is 'perhaps'"):
        read_napari_csv(path)


def test_column_object_groups_points(tmp_path: Path) -> None:
    path = write(tmp_path, "index,axis-0,axis-1,object,label\n0,1,2,a,1\n1,3,4,b,1\n2,5,6,a,0\n")
    first, second = read_napari_csv(path)[()]
    assert first.points == (PointPrompt(1, 2), PointPrompt(5, 6, BESIDE))
    assert second.points == (PointPrompt(3, 4),)


def test_shapes_become_boxes_outlines_and_scribbles(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SHAPES
        + "0,rectangle,0,9.5,19.5\n0,rectangle,1,9.5,29.5\n"
        + "0,rectangle,2,14.5,29.5\n0,rectangle,3,14.5,19.5\n"
        + "1,rectangle,0,0,5\n1,rectangle,1,5,10\n1,rectangle,2,10,5\n1,rectangle,3,5,0\n"
        + "2,ellipse,0,0,0\n2,ellipse,1,0,20\n2,ellipse,2,10,20\n2,ellipse,3,10,0\n"
        + "3,path,0,1,1\n3,path,1,2,2\n3,path,2,3,3\n4,line,0,1,1\n4,line,1,7,7\n",
    )
    box, diamond, ellipse, stroke, line = read_napari_csv(path)[()]
    assert box.box == BoxPrompt(10, 20, 15, 30)
    assert diamond.box is None
    assert diamond.polygons[0].path == ((0, 5), (5, 10), (10, 5), (5, 0))
    ys, xs = zip(*ellipse.polygons[0].path, strict=True)
    assert (min(ys), max(ys)) == pytest.approx((0, 10))
    assert (min(xs), max(xs)) == pytest.approx((0, 20))
    assert stroke.scribbles[0].path == ((1, 1), (2, 2), (3, 3))
    assert line.scribbles[0].path == ((1, 1), (7, 7))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("y,x\n1,2\n", ReadError, "no Points or Shapes layer"),
        ("index,axis-0,axis-1\n", PromptError, "no rows"),
        ("index,axis-0,axis-1\n0,1,left\n", PromptError, "line 2: 'left' is no number"),
        ("index,axis-0,axis-1\n0,1\n", PromptError, "line 2: 2 cells for 3"),
        (SHAPES + "0,star,0,1,2\n", PromptError, "line 2: the shape-type is 'star'"),
        (SHAPES + "0,polygon,0,1,2\n", PromptError, "line 2: A polygon of 1 vertices"),
        (
            "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n0,path,0,0,1,2\n0,path,1,1,1,2\n",
            PromptError,
            "lies in 2 planes",
        ),
    ],
)
def test_wrong_files_say_where(
    tmp_path: Path, text: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        read_napari_csv(write(tmp_path, text))


def test_our_own_prompts_file_is_none(tmp_path: Path) -> None:
    assert not is_napari_csv(write(tmp_path, "object,kind,y,x\na,point,1,2\n"))
    assert not is_napari_csv(tmp_path / "missing.csv")
