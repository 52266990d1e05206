"""The paper's experiments, one file each; this is their list, in the order of the paper.

A new one: a section in workflow_scripts/study, a file here, a line below, claims in reporting/claims.yaml
(docs/adding_an_experiment.md).
"""

from workflow_scripts.experiments import (
    e01_misalign_at_k,
    e01_organisms,
    e01_question_rates,
    e02_directions,
    e03_steering,
    e04_semantic,
    e05_ablation,
    e05_side_effects,
    e07_single_adapter,
    e09_adapter_probes,
    e10_adapter_steering,
    e11_patching,
    x01_training_path,
    x02_narrow,
    x03_judges,
    x04_calibrated,
    x05_texts,
    x06_prevention,
    x07_specificity,
    x08_dynamics,
    x09_without_training,
    x10_conditional,
    x11_vectors,
    x12_held_out,
)
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.study.schema import Study

EXPERIMENTS: tuple[Experiment, ...] = (
    e01_organisms.EXPERIMENT,
    e01_question_rates.EXPERIMENT,
    e01_misalign_at_k.EXPERIMENT,
    e02_directions.NORMS,
    e03_steering.EXPERIMENT,
    e04_semantic.EXPERIMENT,
    e05_ablation.EXPERIMENT,
    e05_side_effects.EXPERIMENT,
    e02_directions.CONVERGENCE,
    e07_single_adapter.ALIGNMENT,
    e07_single_adapter.EXPERIMENT,
    e09_adapter_probes.EXPERIMENT,
    e10_adapter_steering.EXPERIMENT,
    e11_patching.EXPERIMENT,
    x01_training_path.EXPERIMENT,
    x02_narrow.EXPERIMENT,
    x03_judges.EXPERIMENT,
    x04_calibrated.EXPERIMENT,
    x05_texts.EXPERIMENT,
    x06_prevention.EXPERIMENT,
    x07_specificity.EXPERIMENT,
    x08_dynamics.EXPERIMENT,
    x09_without_training.EXPERIMENT,
    x10_conditional.EXPERIMENT,
    x11_vectors.EXPERIMENT,
    x12_held_out.EXPERIMENT,
)


def asked(study: Study) -> dict[str, Experiment]:
    """Experiments that a study asks for, by table."""
    return {made.table: made for made in EXPERIMENTS if made.asked(study)}


def figures(study: Study) -> dict[str, Figure]:
    """Figures of a study, by name."""
    found = [part for made in asked(study).values() for part in made.figures.items()]
    return {name: figure for name, figure in found if figure.asked(study)}
