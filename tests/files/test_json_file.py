import pytest

from attention_unet.errors import DataError
from attention_unet.files.json_file import parse_object, read_json, read_object, write_json

BAD = {
    "no JSON": ("{", "not readable JSON"),
    "a list": ("[1]", "not a JSON object"),
    "a key twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' appears twice"),
    "infinity": ('{"a": Infinity}', "Infinity is not a finite number"),
    "a number beyond all": ('{"a": 1e999}', "1e999 is not a finite number"),
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{}", "lacks 'a'"), ('{"a": "x"}', "is damaged .invalid literal"), ('{"a": null}', "is damaged .int.. argument")],
)
def test_content_of_another_kind_is_an_error_that_names_the_file(tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=rf"a\.json: {problem}.*: expected a number; write it again"):
        parse_object(tmp_path / "a.json", lambda plain: int(plain["a"]), "expected a number; write it again")
    (tmp_path / "a.json").write_text('{"a": 7}')
    assert parse_object(tmp_path / "a.json", lambda plain: int(plain["a"]), "expected a number") == 7


def test_what_is_written_can_be_read_and_a_number_that_is_not_finite_replaces_nothing(tmp_path):
    value = {"a": [0.1, None, True], "b": {"c": "ü\n"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json") == value
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
