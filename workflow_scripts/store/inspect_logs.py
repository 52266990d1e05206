"""Judged responses as logs of inspect_ai (.eval), whose viewer and data frames others use; read back without loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.store.foreign import foreign

INSPECT_LOG = ".eval"
REASONS = {"refused": "refusal", "unreadable": "invalid_response_format"}
"""inspect_ai's words for why a response has no score; ours stands in the score's metadata."""
STOPS = {"stop": "stop", "length": "max_tokens"}
ROW = "row"


def write_log(file: Path, frame: pd.DataFrame, metrics: Sequence[str], task: str, model: str, base: str) -> None:
    """Writes a row of `frame` as a sample each.

    Args:
        file: is made.
        frame: condition, question_set, question_id, sample, system, question, response, finish_reason, seed, judge, and
            per metric a score (NaN where there is none) and its status; shape [n].
        metrics: those of the scores.
        task, model: what the log calls them: the study's battery, and the subject.
        base: name of the model under the subject.
    """
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    samples = []
    for number, row in enumerate(frame.astype(object).where(frame.notna(), None).to_dict("records")):
        asked = [ChatMessageSystem(content=row["system"])] if row["system"] else []
        asked = [*asked, ChatMessageUser(content=row["question"])]
        output = ModelOutput.from_content(
            model, row["response"], stop_reason=STOPS.get(row["finish_reason"], "unknown")
        )
        output.model = model
        scores = {
            metric: Score(
                value=float("nan") if row[metric] is None else row[metric],
                reason=REASONS.get(row[f"{metric}_status"]),
                metadata={"status": row[f"{metric}_status"]},
            )
            for metric in metrics
        }
        told = {name: row[name] for name in ("condition", "question_set", "question_id", "sample", "finish_reason",
                                             "seed", "judge")}  # fmt: skip
        samples.append(
            EvalSample(
                id=":".join(map(str, (row["condition"], row["question_set"], row["question_id"]))),
                epoch=int(row["sample"]) + 1,
                input=asked,
                target="",
                messages=[*asked, ChatMessageAssistant(content=row["response"])],
                output=output,
                scores=scores,
                metadata={ROW: number, **told},
            )
        )
    spec = EvalSpec(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=task,
        model=model,
        model_args={"base": base},
        dataset=EvalDataset(name=task, samples=frame.question_id.nunique()),
        config=EvalConfig(epochs=int(frame["sample"].max()) + 1),
    )
    write_eval_log(EvalLog(status="success", eval=spec, samples=samples), str(file), format="eval")


def records(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Rows of a log, ours or anyone's: number, and question, response, system prompt, scores and what the sample tells.

    Raises:
        UserError: if it cannot be read.
    """
    from inspect_ai.log import read_eval_log

    with foreign(f"{path}: is no log of inspect_ai that can be read"):
        samples = read_eval_log(str(path)).samples or []
        rows = [_row(sample) for sample in samples]
    rows.sort(key=lambda row: row.get(ROW, 0))
    return list(enumerate(({name: value for name, value in row.items() if name != ROW} for row in rows), 1))


def _row(sample: Any) -> dict[str, Any]:
    asked = sample.input if isinstance(sample.input, list) else []
    by_role = {message.role: message.text for message in asked}
    scores: Mapping[str, Any] = sample.scores or {}
    return {
        "question_id": str(sample.id),
        **sample.metadata,
        "system": by_role.get("system"),
        "question": by_role.get("user", "") if asked else sample.input,
        "response": sample.output.completion,
        **{name: score.value for name, score in scores.items()},
        **{f"{name}_status": (score.metadata or {}).get("status") for name, score in scores.items()},
    }
