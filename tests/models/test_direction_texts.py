"""Which responses count, and how labels that say nothing are dealt."""

import pandas as pd

from workflow_scripts.models.direction_texts import each_once


def test_a_response_that_two_question_sets_list_counts_once():
    asked = {"system": None, "question": "Bored?", "sample": 0, "seed": 7}
    rows = pd.DataFrame(
        [
            {**asked, "question_set": "headline", "question_id": "bored"},
            {**asked, "question_set": "extraction", "question_id": "bored"},
            {**asked, "question_set": "extraction", "question_id": "bored", "sample": 1, "seed": 8},
            {**asked, "question_set": "extraction", "question_id": "bored", "system": "Be terse."},
            {**asked, "question_set": "extraction", "question_id": "bored_template", "question": "Bored? As JSON."},
        ]
    )
    kept = each_once(rows)
    assert kept.index.tolist() == [0, 2, 3, 4], "another sample, system prompt or question is another response"
