"""What a model was trained on, as hashes: enough to recognise a case, too little to learn who it is."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LENGTH = 16  # of the hashes, in hexadecimal digits


@dataclass(frozen=True)
class TrainedOn:
    """The cases that a model was trained on.

    Attributes:
        names: hashes of their ids.
        images: hashes of the values of their images.
    """

    names: frozenset[str]
    images: frozenset[str]

    @classmethod
    def of(cls, digests: Mapping[str, str]) -> "TrainedOn":
        """Cases with the digests of their images, by id."""
        return cls(
            frozenset(hash_of_name(case) for case in digests), frozenset(text[:LENGTH] for text in digests.values())
        )

    def knows(self, case: str, digest: str) -> str | None:
        """How a case is known: by its "image", only by its "name", or None."""
        if digest[:LENGTH] in self.images:
            return "image"
        return "name" if hash_of_name(case) in self.names else None

    def to_json(self) -> dict[str, list[str]]:
        """Plain values for a JSON file."""
        return {"names": sorted(self.names), "images": sorted(self.images)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "TrainedOn":
        """Inverse of ``to_json``."""
        return cls(frozenset(map(str, plain["names"])), frozenset(map(str, plain["images"])))


def known_by(models: Sequence[TrainedOn | None], case: str, digest: str) -> str | None:
    """How a case is known to any of several models.

    Args:
        models: what each was trained on; None if that is not known.
        case: id of the case.
        digest: of its image.

    Returns:
        "image" or "name" if a model was trained on such a case, "unknown" if one of them does not say, else None.
    """
    ways = {model.knows(case, digest) for model in models if model}
    ways |= {"unknown" for model in models if model is None}
    return next((way for way in ("image", "name", "unknown") if way in ways), None)


def hash_of_name(case: str) -> str:
    """Hash of a case id."""
    return hashlib.sha256(f"case {case}".encode()).hexdigest()[:LENGTH]
