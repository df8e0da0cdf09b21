import pytest

from attention_unet.errors import DataError
from attention_unet.files.json_file import read_object

BAD = {
    "no JSON": ("{", "not readable JSON"),
    "a list": ("[1]", "no JSON object"),
    "a key twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
    "infinity": ('{"a": Infinity}', "Infinity is no number"),
    "a number beyond all": ('{"a": 1e999}', "1e999 is no number"),
    "too deep": ('{"a":' * 100_000 + "1" + "}" * 100_000, "not readable JSON"),
    "a number of many digits": ('{"a": ' + "9" * 5000 + "}", "not readable JSON"),
    "nothing": ("", "not readable JSON"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_what_is_told_of_a_file_that_is_none(tmp_path, text, told):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=rf"a\.json: .*{told}"):
        read_object(tmp_path / "a.json")


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not readable JSON"):
        read_object(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"b\.json: cannot be read \(No such file"):
        read_object(tmp_path / "b.json")


def test_a_mark_of_windows_is_passed_over(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_object(tmp_path / "a.json") == {"a": 1}
