"""What the ablation's conditions take from a model's abilities: tasks of lm-eval, with and without them.

`python -m workflow_scripts.tools capabilities --study results/x/study.json --tasks arc_easy hellaswag --limit 200`
reads the tasks with each subject as it is and under each condition of the study's ablation: its own direction projected
out, another's, random ones. Rows are paired by document, as `change` says. lm-eval is no part of the environment
(`pip install lm-eval==0.4.13`), and fetches the data of its tasks itself; tasks of one's own are given by their folder.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workflow_scripts.engines.plan import lacking
from workflow_scripts.estimation.changes import paired_difference
from workflow_scripts.estimation.columns import is_share
from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.estimation.shares import clustered_share
from workflow_scripts.models.interventions import read_changes
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import each_model
from workflow_scripts.models.residual import LayerChange, intervened
from workflow_scripts.reporting.text import estimates
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.store.foreign import foreign
from workflow_scripts.study.conditions import Condition, battery_subjects, conditions
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

log = logging.getLogger(__name__)
PACKAGE = "lm-eval==0.4.13"


def asked_conditions(
    study: Study, layout: Layout, subjects: Sequence[str], names: Sequence[str] = ()
) -> dict[str, dict[str, list[LayerChange]]]:
    """By subject, its conditions and what they change, first the unchanged model; what could not be made is told.

    Args:
        subjects: of the ablation. The chat base is read as it is where the ablation leaves it out.
        names: of conditions, or of their kinds; all if empty. A subject without any of them is read as it is.

    Raises:
        UserError: if no subject has a condition that is named.
    """
    ablated = _ablated(study)
    own = {
        subject: [c for c in conditions(study, "ablation", subject) if c.intervention] if subject in ablated else []
        for subject in subjects
    }
    known = list(dict.fromkeys(name for found in own.values() for c in found for name in (c.kind, c.name)))
    for name in names:
        if name not in (*known, "none"):
            raise UserError(f"--conditions: {', '.join(subjects)} have no condition {name!r}{nearest(name, known)}")
    return {subject: _changes(study, layout, subject, found, names) for subject, found in own.items()}


def _changes(
    study: Study, layout: Layout, subject: str, own: Sequence[Condition], names: Sequence[str]
) -> dict[str, list[LayerChange]]:
    wanted = [condition for condition in own if not names or {condition.kind, condition.name} & set(names)]
    without = lacking(study, layout, "ablation", subject) if wanted else {}
    for condition in wanted:
        if condition in without:
            log.warning("%s %s: %s", subject, condition.name, without[condition].why)
    made = {
        condition.name: read_changes(layout, condition.intervention)
        for condition in wanted
        if condition.intervention and condition not in without
    }
    return {"none": [], **made}


def scores_of(samples: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """What lm-eval says of each document: task, metric, document, value, for metrics that are a number per document."""
    rows = [
        {
            "task": task,
            "metric": name if sample.get("filter", "none") == "none" else f"{name} ({sample['filter']})",
            "document": str(sample["doc_id"]),
            "value": float(sample[name]),
        }
        for task, answered in samples.items()
        for sample in answered
        for name in sample["metrics"]
        if isinstance(sample.get(name), int | float | np.number)
    ]
    return pd.DataFrame(rows, columns=["task", "metric", "document", "value"])


def compared(plain: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """Rows of one condition, value and change, by task and metric.

    Args:
        plain: scores of the unchanged model, as of `scores_of`.
        changed: those under the condition.
    """
    rows = []
    for (task, metric), after in changed.groupby(["task", "metric"], sort=False):
        before = plain[(plain.task == task) & (plain.metric == metric)]
        both = before.merge(after, on="document", suffixes=("_before", ""), validate="one_to_one")
        documents, share = both.document, is_share(np.concatenate([both.value_before, both.value]))
        value: Estimate = (clustered_share if share else clustered_mean)(both.value, documents)
        change = (
            paired_difference(both.value_before, documents, both.value, documents)
            if share
            else clustered_mean(both.value - both.value_before, documents)
        )
        rows += [
            {
                "task": task,
                "metric": metric,
                "quantity": quantity,
                "unit": "share" if share else "score",
                **found.__dict__,
            }
            for quantity, found in (("value", value), ("change", change))
        ]
    return pd.DataFrame(rows)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK", help="names of lm-eval's tasks or groups")
    parser.add_argument("--folder", type=Path, help="folder of further tasks, as lm-eval's YAML files")
    parser.add_argument("--subjects", nargs="+", default=[], metavar="SUBJECT",
                        help="of the ablation; if absent the chat base and its first organism")  # fmt: skip
    parser.add_argument(
        "--conditions", nargs="+", default=[], help="of the ablation, by kind (own, random) or name; all if absent"
    )
    parser.add_argument("--limit", type=command.whole_from(1), help="documents of each task, from the first")
    parser.add_argument("--shots", type=command.whole_from(0), help="worked examples before each; the task's if absent")
    parser.add_argument("--chat", action="store_true", help="ask in the model's chat template")
    parser.add_argument("--batch-size", type=command.whole_from(1), default=8)
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    given = parser.parse_args(arguments)
    command.check_output(given.output, [given.study])
    study, layout = load(given.study), Layout.of(given.study)
    subjects = given.subjects or _subjects(study)[:2]
    _check_subjects(study, subjects)
    asked = asked_conditions(study, layout, subjects, given.conditions)
    manager = task_manager(given.tasks, given.folder)
    tokenizer, parts = load_tokenizer(layout.base), []
    for subject, model in each_model(study, layout, subjects):
        plain = pd.DataFrame()
        for name, changes in asked[subject].items():
            log.info("%s %s", subject, name)
            with intervened(model, changes), foreign(f"lm-eval gives no result for {' '.join(given.tasks)}"):
                found = scores_of(evaluated(model, tokenizer, manager, given))
            plain = found if name == "none" else plain
            rows = compared(plain, found)
            parts.append(rows[(rows.quantity == "value") | (name != "none")].assign(subject=subject, condition=name))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise UserError("--tasks: none has a metric that is a number for each document; take others.")
    table = table[["subject", "condition", *(c for c in table.columns if c not in ("subject", "condition"))]]
    table.to_csv(given.output, index=False)
    print(estimates(table.to_dict("records"), ["subject", "condition", "task", "metric", "quantity"]))


def evaluated(model: Any, tokenizer: Any, manager: TaskManager, given: Any) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's samples, by task."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    found = simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=given.batch_size),
        tasks=given.tasks,
        task_manager=manager,
        limit=given.limit,
        num_fewshot=given.shots,
        apply_chat_template=given.chat,
        bootstrap_iters=0,
    )
    samples: dict[str, list[dict[str, Any]]] = found["samples"] if found else {}
    return samples


def task_manager(tasks: Sequence[str], folder: Path | None) -> TaskManager:
    """lm-eval's, which knows these tasks.

    Raises:
        UserError: if lm-eval is not installed, or does not know one of them.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(f"lm-eval is no part of this environment; install it with `pip install {PACKAGE}`.")
    if folder is not None and not folder.is_dir():
        raise UserError(f"--folder: {folder} is no folder.")
    from lm_eval.tasks import TaskManager

    with foreign("lm-eval does not read its tasks"):
        manager = TaskManager(include_path=folder)
    for task in tasks:
        if task not in manager.all_tasks:
            close = nearest(task, manager.all_tasks)
            hint = close if "did you mean" in close else "; `lm-eval ls tasks` lists them."
            raise UserError(f"--tasks: lm-eval knows no task {task!r}{hint}")
    return manager


def _ablated(study: Study) -> list[str]:
    return battery_subjects(study, "ablation") if study.ablation else []


def _subjects(study: Study) -> list[str]:
    return list(dict.fromkeys([CHAT_BASE, *_ablated(study)]))


def _check_subjects(study: Study, subjects: Sequence[str]) -> None:
    known = _subjects(study)
    for subject in subjects:
        if subject not in known:
            raise UserError(f"--subjects: the ablation has no subject {subject!r}{nearest(subject, known)}")


if __name__ == "__main__":
    command.run(main)
