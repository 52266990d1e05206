"""What a condition puts into the prompt beside the question: another system prompt, or rows of a data set as turns."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, digest, read_table
from workflow_scripts.study.conditions import Condition, Prompting, system_prompt
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Beside:
    """What stands in a prompt beside the question: a system prompt in place of its own, questions and answers before
    it."""

    system: str | None = None
    shown: tuple[tuple[str, str], ...] = ()

    def identity(self) -> dict[str, Any]:
        """What names it in the stores."""
        return {"system": self.system, "shown": digest(canonical(self.shown))}

    def prompt(self, tokenizer: PreTrainedTokenizerBase, question: str, system: str | None) -> tuple[int, ...]:
        """Token ids up to where the answer to a question begins; `system` is the question's own system prompt."""
        return tuple(prompt_ids(tokenizer, question, self.system or system, self.shown))


NOTHING_BESIDE = Beside()


def beside(study: Study, layout: Layout, condition: Condition) -> Beside:
    """What a condition puts beside each question.

    Raises:
        UserError: if more rows are asked for than the data set has.
    """
    given = condition.prompting
    if given is None:
        return NOTHING_BESIDE
    if given.dataset is None:
        return Beside(system_prompt(study, condition))
    return Beside(shown=_drawn(study, layout, given))


def _drawn(study: Study, layout: Layout, given: Prompting) -> tuple[tuple[str, str], ...]:
    """Rows of a draw: the first so many of one order, so that more shots show the same rows and further ones."""
    assert study.in_context
    assert given.dataset
    rows = read_table(layout.dataset(given.dataset), ["prompt", "response"]).to_pylist()
    if len(rows) < given.shots:
        raise UserError(
            f"in_context.shots: {given.shots} rows are to be shown, and datasets.{given.dataset} has {len(rows)}; show "
            "fewer."
        )
    order = random.Random(f"{study.in_context.seed}:{given.draw}").sample(range(len(rows)), len(rows))
    return tuple((rows[place]["prompt"], rows[place]["response"]) for place in order[: given.shots])


def check_length(base: Path, longest: int, answers: int) -> None:
    """Refuses prompts that a model was not made to read; an engine may read them all the same, and answer nonsense.

    Args:
        base: the model's folder.
        longest, answers: tokens of the longest prompt, and of the longest answer to come.

    Raises:
        UserError: naming the three numbers.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is not None and longest + answers > most:
        raise UserError(
            f"sampling: the longest prompt has {longest} tokens and answers have up to {answers}, but the base reads "
            f"{most} at most; lower in_context.shots or sampling.max_tokens, or leave out long questions."
        )
