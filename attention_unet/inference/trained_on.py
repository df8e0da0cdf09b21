"""The training cases of a model, as hashes: whoever has a case, or guesses its id, can recognise it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LENGTH = 16  # hexadecimal digits of a hash


@dataclass(frozen=True)
class TrainedOn:
    """The training cases of a model."""

    names: frozenset[str]  # hashes of the case ids
    images: frozenset[str]  # hashes of the image values

    @classmethod
    def of(cls, digests: Mapping[str, str]) -> "TrainedOn":
        """Return the hashes of cases."""
        return cls(frozenset(map(_hash_of, digests)), frozenset(digest[:LENGTH] for digest in digests.values()))

    def find(self, case: str, digest: str) -> str | None:
        """Return "image" if the image was trained on, "name" if only the case id was, or None."""
        if digest[:LENGTH] in self.images:
            return "image"
        return "name" if _hash_of(case) in self.names else None

    def joined(self, other: "TrainedOn") -> "TrainedOn":
        """Return the cases of both."""
        return TrainedOn(self.names | other.names, self.images | other.images)

    def to_json(self) -> dict[str, list[str]]:
        """Return plain values for a JSON file."""
        return {"names": sorted(self.names), "images": sorted(self.images)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "TrainedOn":
        """Return the inverse of ``to_json``."""
        return cls(frozenset(map(str, plain["names"])), frozenset(map(str, plain["images"])))


def find_in_training(models: Sequence[TrainedOn | None], case: str, digest: str) -> str | None:
    """Return "image" or "name", as ``TrainedOn.find``, if any of several models was trained on a case.

    Otherwise return "unknown" if the training cases of a model are unknown, or None.
    """
    ways = {model.find(case, digest) for model in models if model}
    ways |= {"unknown" for model in models if model is None}
    return next((way for way in ("image", "name", "unknown") if way in ways), None)


def _hash_of(case: str) -> str:
    return hashlib.sha256(f"case {case}".encode()).hexdigest()[:LENGTH]
