import pytest

from attention_unet.errors import ConfigError
from attention_unet.files.part import WHOLE, Part

CASES = [f"case {number}" for number in range(1000)]


def test_every_case_is_in_one_part_and_parts_are_about_equal():
    parts = [Part.parse(f"{number}/4") for number in (1, 2, 3, 4)]
    counts = [sum(part.has(case) for part in parts) for case in CASES]
    assert counts == [1] * 1000
    assert all(200 < sum(map(part.has, CASES)) < 300 for part in parts)
    assert all(map(WHOLE.has, [*CASES, "\udcff"]))


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "1/4/2", "a/b", "-1/4", "1 / 4", "1/1000000000000"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ConfigError, match="expected K/N with K from 1 to N, such as 2/4"):
        Part.parse(text)
