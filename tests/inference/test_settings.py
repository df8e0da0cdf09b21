import pytest
import torch

from attention_unet.errors import ConfigError
from attention_unet.inference.settings import Settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file_format": "nrrd"}, "file_format is 'nrrd': expected nii.gz or seg.nrrd or own"),
        ({"overlap": "0.5"}, "overlap is '0.5': expected a number"),
        ({"overlap": 1.0}, "overlap is 1.0: expected 0 to below 1"),
        ({"memory": -1}, "memory is -1: expected 1 byte or more"),
        ({"precision": "float32"}, "precision is 'float32': expected dtype"),
        ({"precision": torch.float64}, "precision is torch.float64: expected torch.float32 or torch.bfloat16"),
        ({"missing": "FLAIR"}, "missing is 'FLAIR': expected a tuple, each a text"),
        ({"drop_small": "bright"}, "drop_small is 'bright': expected a tuple, each a text"),
        ({"tta": 1}, "tta is 1: expected true or false"),
    ],
)
def test_values_of_another_type_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**values)


def test_values_of_the_right_type_are_taken():
    assert Settings(torch.float32, overlap=0, drop_small=("a",), missing=("FLAIR",), codes={}).overlap == 0
