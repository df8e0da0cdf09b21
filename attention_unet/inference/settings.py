"""Settings of a prediction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_type_hints

import torch

from attention_unet.errors import ConfigError
from attention_unet.files.prediction_folder import ATTENTION, DICOM, PROBABILITIES, UNCERTAINTY
from attention_unet.ranges import fits, in_words
from attention_unet.scans.dicom_segmentation import SegmentCode


@dataclass(frozen=True)
class Settings:
    """How to predict, and which results are wanted beside the label map.

    Attributes:
        precision: torch.float32 or torch.bfloat16; None: bfloat16 where the device computes in it, otherwise float32.
        overlap: share of a window that the next one covers again, 0 to below 1; None: what was chosen on the held-out
            cases of the training, of several models the largest.
        whole_scan: True: predict all of a scan; False: only the part where the model's locator found structures; None:
            that part, and all of the scan if the part cuts a structure.
        tta: test-time augmentation by flips: average over windows flipped along the axes that training flipped.
        attention: return attention maps.
        probabilities: return probabilities.
        uncertainty: return uncertainty maps.
        drop_small: classes that lose components smaller than half their largest; None: those that gained
            by it on the held-out cases of the training.
        memory: bytes that a scan may take, beside program and models; None: most of the free memory.
        channel: the channel to take of a scan with several, from 0; None: all channels.
        missing: names of channels that are missing; what the scan has of them is not used.
        file_format: format of the label map: NIfTI; "seg.nrrd" for 3D Slicer; "own": that of an NRRD or MetaImage scan.
        dicom: write a DICOM segmentation of each scan, too. All scans must then be DICOM series.
        codes: for the DICOM segmentation, what each class is.

    Example:
        >>> Settings(tta=True, attention=True).extras
        ['attention']
    """

    precision: torch.dtype | None = None
    overlap: float | None = None
    whole_scan: bool | None = None
    tta: bool = False
    attention: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    drop_small: tuple[str, ...] | None = None
    memory: int | None = None
    channel: int | None = None
    missing: tuple[str, ...] = ()
    file_format: Literal["nii.gz", "seg.nrrd", "own"] = "nii.gz"
    dicom: bool = False
    codes: Mapping[str, SegmentCode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise a ConfigError if a value is of another type, or out of range."""
        for name, hint in get_type_hints(type(self)).items():
            if not fits(value := getattr(self, name), hint):
                raise ConfigError(f"{name} is {value!r}: expected {in_words(hint)}")
        if self.precision not in (None, torch.float32, torch.bfloat16):
            raise ConfigError(f"precision is {self.precision}: expected torch.float32 or torch.bfloat16")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap is {self.overlap}: expected 0 to below 1")
        if self.memory is not None and self.memory < 1:
            raise ConfigError(f"memory is {self.memory}: expected 1 byte or more")
        if self.channel is not None and self.channel < 0:
            raise ConfigError(f"channel is {self.channel}: expected 0 or more")

    @property
    def extras(self) -> list[str]:
        """Folders of the results that are wanted beside the label map."""
        return [name for name in (ATTENTION, DICOM, PROBABILITIES, UNCERTAINTY) if getattr(self, name)]


DEFAULT = Settings()
