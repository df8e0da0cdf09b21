"""Plan what a training of an inspected dataset would do, also where it would refuse."""

from collections.abc import Mapping
from dataclasses import dataclass

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.inspection import Inspection, check_trainable
from attention_unet.errors import UserError
from attention_unet.preparation.fingerprint import Fingerprint, combine_measurements
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import make_plan
from attention_unet.training.resolved_settings import check_images, hold_out_cases
from attention_unet.training.starting_weights import starting_plan
from attention_unet.training.trial import measure_machine


@dataclass(frozen=True)
class Preview:
    """What a training would do: plan, measurements, warnings about classes, and why it would refuse (None if not)."""

    plan: Plan
    fingerprint: Fingerprint
    warnings: list[str]
    refusal: UserError | None


def preview(config: Config, dataset: Dataset, inspection: Inspection, subjects: Mapping[str, str]) -> Preview:
    """Plan a training on the readable cases of a dataset, of which there is at least one.

    Raise ConfigError if no plan fits, ModelError if the model to start from cannot be used.
    """
    cases = [case for case in dataset.cases if case.id not in inspection.problems]
    judged, warnings, refusal = True, [], None
    try:
        check_images(dataset, config.augmentation.synthesize)
        split, judged = hold_out_cases(config, [case.id for case in cases], subjects)
        used = {*split.training, *split.validation}  # a file of splits may leave cases out
        facts = [fact for fact in inspection.facts if fact.id in used]
        warnings = check_trainable(facts, split.validation, dataset.labels.names)
    except UserError as error:
        refusal = error
    machine, start = measure_machine(config.training), starting_plan(config)
    fingerprint = combine_measurements([fact.extent for fact in inspection.facts], cases, dataset.labels, start)
    plan = make_plan(config, dataset, fingerprint, machine, whole_scans=not judged, start=start)
    return Preview(plan, fingerprint, warnings, refusal)
