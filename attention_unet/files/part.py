"""A part of the cases of a command, so that several processes, on one machine or on many, share them."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from attention_unet.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """A part of the cases. The cases of a part stay the same when others are added."""

    number: int = 1  # from 1
    count: int = 1  # number of parts
    folder: Path = Path()  # of the cases in a tree, "." at its top, so that cases of one name are in several parts

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Return the part that ``K/N`` names. Raise ConfigError for another form, or if K is not from 1 to N."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count:
            raise ConfigError(f"--part is {text}: expected K/N with K from 1 to N, such as 2/4")
        return cls(number, count)

    def has(self, case: str) -> bool:
        """Return whether a case belongs to this part."""
        name = (self.folder / case).as_posix()
        return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") % self.count == self.number - 1


WHOLE = Part()
