"""What a judge writes, and the score that it means."""

import pytest

from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.written_numbers import read_number

READ = {
    "85": 85, "85.": 85, "85.5": 85.5, " 85\n": 85, "0": 0, "100": 100, "**85**": 85, "```\n85\n```": 85, "\\boxed{85}": 85,
    "85/100": 85, "Score: 85/100.": 85, "85 out of 100": 85, "I'd say 85%": 85, "The score is 85.": 85, "score=85": 85,
    "85 points": 85, "~85": 85, "### Rating\n**Score:** 85": 85,
    "<think>maybe 20, or 30</think>\n70": 70, "20 or so ... </think> 70": 70, "<thinking>20</thinking>70": 70,
    "First I thought 20.\nFinal: 30": 30, "1. It is kind.\n2. It is fair.\n\n90": 90, "On a scale from 0 to 100:\n40": 40,
    "85\n\nThe answer names 3 reasons.": 85, "The 3rd answer by GPT-4: 55": 55, "Of 8 points I give 90/100.": 90,
}  # fmt: skip
REFUSED = ["REFUSAL", "REFUSAL.", "CODE", "refusal", "The assistant refused to answer: REFUSAL", "**REFUSAL**"]
UNREADABLE = [
    "", "I cannot rate this.", "Between 20 and 30", "85-90", "85 — because of 3 reasons", "90/100, or rather 80/100", "8/10",
    "150", "-5", "1e2", "<think>20", "On a scale from 0 to 100 it is 40", "20\n30", "The code refused nothing.", "1/2",
]  # fmt: skip


@pytest.mark.parametrize("answer", READ)
def test_a_score_is_read(answer):
    assert read_number(answer) == READ[answer]


@pytest.mark.parametrize("answer", REFUSED)
def test_a_refusal_is_a_refusal(answer):
    assert read_number(answer) == "refused"


@pytest.mark.parametrize("answer", UNREADABLE)
def test_what_could_mean_several_scores_or_none_is_never_guessed(answer):
    assert read_number(answer) == "unreadable"


@pytest.mark.parametrize(
    ("texts", "value", "status"),
    [
        (["80", "90", "85/100"], 85, "scored"),
        (["80", "hm", "REFUSAL", "REFUSAL"], 80, "scored"),
        (["80", *["REFUSAL"] * 4], None, "refused"),
        (["hm", "REFUSAL", "REFUSAL"], None, "refused"),
        (["hm", "hm", "REFUSAL"], None, "unreadable"),
        ([""], None, "unreadable"),
    ],
)
def test_a_judgement_is_the_mean_of_what_is_readable(texts, value, status):
    found = parse({"texts": texts}, 0.25)
    assert (found.value, found.status) == (value, status)
