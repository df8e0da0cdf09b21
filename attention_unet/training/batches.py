"""The batches of a training: endless, and repeatable from any step."""

from collections.abc import Iterator

from lightning_fabric import Fabric

from attention_unet.preparation.loading import Batch, load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.training.prepared_cases import PreparedCases
from attention_unet.training.resolved_settings import ResolvedSettings


class Batches:
    """Batches of patches, with or without those of late cases.

    Most patches are drawn from the structures and ``margin`` voxels around them; if it is None, all from whole scans.
    """

    def __init__(
        self, prepared: PreparedCases, settings: ResolvedSettings, margin: tuple[int, int, int] | None, fabric: Fabric
    ) -> None:
        data, self.batch = settings.config.data, settings.plan.batch
        self.fabric, self.workers = fabric, data.workers
        self.early, self.all = (
            PatchDataset(
                PatchSampler(
                    cases,
                    settings.plan.patch,
                    data.foreground_share,
                    settings.config.training.seed,
                    margin,
                    prepared.cases_of_class(cases) if data.balance_classes else None,
                ),
                settings.plan,
                settings.config.augmentation,
            )
            for cases in (prepared.early, prepared.training)
        )

    def open(self, step: int, with_late: bool) -> Iterator[Batch]:
        """Return endless batches on the device, from a step on."""
        fabric = self.fabric
        numbers = patch_numbers(step, self.batch, fabric.global_rank, fabric.world_size)
        return load_patches(self.all if with_late else self.early, numbers, self.workers, fabric.device)

    def cases_of(self, step: int, with_late: bool) -> list[str]:
        """Return the case ids of the patches of a step."""
        patches = self.all if with_late else self.early
        return [patches.case_of(step * self.batch + i) for i in range(self.batch)]
