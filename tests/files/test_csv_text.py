import csv

import pytest

from attention_unet.errors import DataError
from attention_unet.files.csv_text import csv_rows, csv_text, parse_table


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "'quoted", 'a,b"c', "é\n"])
def test_no_cell_is_a_formula_and_all_come_back(name):
    text = csv_text([["case", name], [name, "-0.25"]])
    cells = [cell for row in csv.reader(text.splitlines(keepends=True)) for cell in row]
    assert not any(cell.startswith(("=", "+", "@", "\t", "-2")) for cell in cells)
    assert list(csv_rows(text.splitlines(keepends=True))) == [{"case": name, name: "-0.25"}]


@pytest.mark.parametrize("name", ["=1+1", 'Hippo "x"', "a,b;c", "a\tb\r\nc"])
def test_quotes_have_no_meaning_between_tabs(name):
    text = csv_text([["index", "name"], [1, name]], "\t")
    (row,) = csv_rows(text.splitlines(keepends=True), "\t")
    assert row == {"index": "1", "name": name.replace("\t", " ").replace("\r\n", "  ")}


def test_numbers_stay_numbers():
    assert csv_text([["-1.5", -2, "nan", "-inf", "+3"]]) == "-1.5,-2,nan,-inf,+3\n"


def test_a_row_of_another_length_is_told():
    with pytest.raises(ValueError, match="line 2 has 1 cells for 2 headings"):
        list(csv_rows(["a,b\n", "1\n"]))


def test_line_ends_of_windows_and_empty_lines():
    assert list(csv_rows(["a,b\r\n", "1,2\r\n", "\r\n"])) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a\nx\n", "not a table of numbers .could not convert"),
        (b"b\n1\n", "not a table of numbers .no column 'a'"),
        (b"a\n1,2\n", "not a table of numbers .line 2 has 2 cells for 1 headings"),
        (b"a,b,a\n1,2,3\n", "not a table of numbers .the heading a is there twice; rename one"),
        (b"a\n\xff\n", "not a table of numbers"),
        (None, "cannot be read .No such file"),
    ],
)
def test_a_table_of_another_kind_is_an_error_that_names_the_file(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv: {problem}.*: write it again"):
        parse_table(tmp_path / "a.csv", lambda row: float(row["a"]), "numbers", "write it again")


def test_a_table_with_semicolons_is_read(tmp_path):
    """As Excel writes it where numbers have a decimal comma."""
    (tmp_path / "a.csv").write_bytes('case;name\r\n1;"x;y"\r\n'.encode("utf-8-sig"))
    assert parse_table(tmp_path / "a.csv", dict, "", "") == [{"case": "1", "name": "x;y"}]
    (tmp_path / "a.csv").write_text("a;b,c\n1;2,3\n")
    assert parse_table(tmp_path / "a.csv", dict, "", "") == [{"a;b": "1;2", "c": "3"}]


def test_values_are_built_from_rows(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,x\n2,y\n")
    assert parse_table(tmp_path / "a.csv", lambda row: (float(row["a"]), row["b"]), "", "") == [(1, "x"), (2, "y")]
