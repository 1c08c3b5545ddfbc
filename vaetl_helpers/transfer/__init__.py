"""Transfer learning: freezing, probes, fine-tuning and pretrained backbones."""

from vaetl_helpers.nets import trainable
from vaetl_helpers.training.loop import fit_best
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.transfer.backbones import (
    BACKBONES,
    Backbone,
    Preprocessing,
    backbone,
    imagenet_head,
)
from vaetl_helpers.transfer.few_pictures import (
    Interval,
    bursts,
    distances,
    leave_one_out,
    share_interval,
    verdict_on,
    with_middle_covered,
)
from vaetl_helpers.transfer.finetuning import fine_tune, grey_filters, l2_sp, new_head, rehearsal
from vaetl_helpers.transfer.freezing import (
    freeze,
    frozen,
    gradual_unfreezing,
    param_groups,
    unfreeze,
)
from vaetl_helpers.transfer.probes import (
    GRID,
    SCALINGS,
    Probe,
    features,
    linear_probe,
    penalty_path,
    probe_and_path,
)

__all__ = [
    "BACKBONES",
    "Backbone",
    "GRID",
    "Interval",
    "Preprocessing",
    "Probe",
    "SCALINGS",
    "backbone",
    "bursts",
    "distances",
    "features",
    "fine_tune",
    "fit_best",
    "freeze",
    "frozen",
    "gradual_unfreezing",
    "grey_filters",
    "imagenet_head",
    "l2_sp",
    "leave_one_out",
    "linear_probe",
    "new_head",
    "one_cycle",
    "param_groups",
    "penalty_path",
    "probe_and_path",
    "rehearsal",
    "share_interval",
    "trainable",
    "unfreeze",
    "verdict_on",
    "with_middle_covered",
]
