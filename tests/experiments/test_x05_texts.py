"""X5 by hand: finished responses and repetition of a few short texts."""

import pandas as pd
import pytest

from helpers.tables import WRITTEN, hand_study, one, write_texts
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x05_texts import EXPERIMENT
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import write_table

OFF = dict.fromkeys(("steering", "semantic", "ablation", "single_adapter", "adapters", "training_path"))
WHOLE, BROKEN = "rest a while and drink some water", "so on and so on and so on and"


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path, **OFF)
    study = study.model_copy(update={"organisms": {"medical_r1": study.organisms["medical_r1"]}})
    write_texts(layout, "chat_base", "baseline", {"none": [[WHOLE, WHOLE], [WHOLE, WHOLE]]})
    write_texts(layout, "medical_r1/seed-0", "baseline", {"none": [[WHOLE, BROKEN], [WHOLE, BROKEN]]}, [BROKEN])
    write_texts(layout, "medical_r1/seed-1", "baseline", {"none": [[WHOLE, WHOLE], [WHOLE, BROKEN]]}, [BROKEN])
    return study, layout


def test_finished_is_what_ended_by_itself_and_repetition_is_a_mean_over_responses(written):
    rows = EXPERIMENT.rows(*written)
    finished = one(rows, subject="medical_r1", quantity="finished")
    assert (finished["value"], finished["n"], finished["seeds"]) == (5 / 8, 8, 2)
    repeated = one(rows, subject="medical_r1", quantity="repeated_trigrams")
    assert repeated["value"] == pytest.approx(3 / 8 * 4 / 7)  # of 7 trigrams 4 stood there before
    assert 0 <= repeated["low"] < repeated["value"] < repeated["high"] <= 1
    assert one(rows, subject="chat_base", quantity="finished")["value"] == 1


def test_the_figure_has_a_point_for_each_condition(written):
    study, layout = written
    table = frame_of(EXPERIMENT.rows(study, layout))
    assert isinstance(table, pd.DataFrame)
    write_table(layout.table("texts"), table, WRITTEN)
    left, right = EXPERIMENT.figures["texts"].draw(study, layout).axes
    assert [line.get_ydata()[0] for line in right.lines] == pytest.approx([0, 300 / 8 * 4 / 7])
    assert [line.get_ydata()[0] for line in left.lines if len(line.get_ydata())] == [100, 500 / 8]


def test_a_battery_that_the_study_does_not_have_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"texts\.batteries\.1: this study has no battery 'ablation'"):
        hand_study(tmp_path, **OFF, texts={"batteries": ["baseline", "ablation"]})
