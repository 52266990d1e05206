"""E9 by hand: what the probes' stage wrote becomes rows, with what the intervals are over."""

import pandas as pd

from helpers.tables import WRITTEN, hand_study, known, numbers, one, probe_lines
from workflow_scripts.experiments.e09_adapter_probes import EXPERIMENT, GENERAL, SPECIALISED
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.store.artefacts import write_table

ADAPTERS = ("layer_0", "layer_1", "layer_2", "layer_3")


def rows_of(tmp_path, adapters=ADAPTERS):
    study, layout = hand_study(tmp_path)
    write_table(layout.probes("medical_r1/seed-0"), pd.DataFrame(probe_lines(adapters)), WRITTEN)
    return EXPERIMENT.rows(study, layout)


def test_a_score_has_the_spread_of_the_runs_and_counts_tokens(tmp_path):
    row = one(rows_of(tmp_path), quantity="accuracy", kind=GENERAL, split="token")
    assert numbers(row) == known(0.7, (0.6, 0.8), 400, 20, "runs")
    assert (row["condition"], row["adapter"], row["unit"]) == (f"{GENERAL}:token", None, "share")
    assert (row["subject"], row["seed"]) == ("medical_r1", None)


def test_a_score_of_shuffled_labels_has_the_spread_of_the_draws(tmp_path):
    row = one(rows_of(tmp_path), quantity="accuracy_shuffled", kind=GENERAL, split="question")
    assert numbers(row) == known(0.5, (0.4, 0.52), 400, 199, "draws")


def test_a_coefficient_is_of_an_adapter_a_contrast_and_a_split(tmp_path):
    row = one(rows_of(tmp_path), quantity="coefficient", kind=SPECIALISED, split="response", adapter="layer_2")
    assert numbers(row) == known(1, (0.5, 1.5), 400, 20, "runs")
    assert row["condition"] == f"{SPECIALISED}:response:layer_2"


def test_names_of_adapters_are_counts_of_adapters_without_an_interval(tmp_path):
    # layer_0 general, layer_1 specialised, layer_2 idle; layer_3 is not named
    rows = rows_of(tmp_path)
    both = f"{GENERAL}|{SPECIALISED}"
    assert numbers(one(rows, quantity="general_adapters", kind=both)) == known(1, None, 3, 0)
    assert numbers(one(rows, quantity="both_adapters", kind=both)) == known(0, None, 3, 0)
    assert numbers(one(rows, quantity="is_specialised", adapter="layer_1")) == known(1, None, 1, 0)
    assert one(rows, quantity="is_specialised", adapter="layer_0")["value"] == 0
    assert one(rows, quantity="is_general", adapter="layer_0")["split"] is None


def test_every_line_of_the_probes_is_one_row(tmp_path):
    rows = rows_of(tmp_path, ADAPTERS[:1])
    # 4 contrasts by 3 splits, each two scores and a coefficient, two with nulls; 4 names, each a count and a flag
    assert len(rows) == 4 * (3 * 3 + 2 * 2) + 4 * 2
    table = frame_of(rows)
    shown = table[EXPERIMENT.shown(table)]
    assert shown.quantity.value_counts().to_dict() == {
        "accuracy": 8,
        "auc": 8,
        "auc_shuffled": 8,
        "general_adapters": 1,
        "specialised_adapters": 1,
    }
