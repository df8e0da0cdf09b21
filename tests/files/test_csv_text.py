import csv

import pytest

from attention_unet.files.csv_text import csv_rows, csv_text


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "'quoted", 'a,b"c', "é\n"])
def test_no_cell_is_a_formula_and_all_come_back(name):
    text = csv_text([["case", name], [name, "-0.25"]])
    cells = [cell for row in csv.reader(text.splitlines(keepends=True)) for cell in row]
    assert not any(cell.startswith(("=", "+", "@", "\t", "-2")) for cell in cells)
    assert list(csv_rows(text.splitlines(keepends=True))) == [{"case": name, name: "-0.25"}]


def test_numbers_stay_numbers():
    assert csv_text([["-1.5", -2, "nan", "-inf", "+3"]]) == "-1.5,-2,nan,-inf,+3\n"


def test_a_row_of_another_length_is_told():
    with pytest.raises(ValueError, match="line 2 has 1 cells for 2 headings"):
        list(csv_rows(["a,b\n", "1\n"]))


def test_line_ends_of_windows_and_empty_lines():
    assert list(csv_rows(["a,b\r\n", "1,2\r\n", "\r\n"])) == [{"a": "1", "b": "2"}]
