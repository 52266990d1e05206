"""LoRA-scalar probes (PAPER 8.2 to 8.4), on this project's tables or anyone's.

  python -m workflow_scripts.tools probes probe --scalars scalars.parquet --classes NMM MM --threshold 0.5
  python -m workflow_scripts.tools probes name --scalars scalars.parquet --general NMA NMM --specialised NMM MM
  python -m workflow_scripts.tools probes import NMM.pt MM.pt --output scalars.parquet

A table (parquet or CSV) has a row per answer token: a column with the response's id, one with the token's index, one
with its class, one column of scalars per adapter and, where there is one, the token's significance. Columns are found
by their names: response_key, response_id, response, prompt or sample_id; token, token_index or position; class, label,
category or dataset; question or question_id; significance or token_significance; adapters by a layer in their name
(layer_15). The options name others. Without a class column each file is one class, named by its stem: --scalars
NMM.parquet MM.parquet.

`probe` prints scores under the paper's token split, which leaks, under a split by response and, where the table names
questions, one by question; and each adapter's coefficient. The intervals are the middle 95 % of the runs. p is the
share of tables with shuffled labels in which any adapter is as far from where shuffled labels put it; labels are
shuffled within questions, or over whole questions where class and question are one. `name` calls adapters general,
specialised, both or idle; the rule is in the docstring of workflow_scripts/adapters/probes.py. `import` makes such a
table of .pt files by prompt, token and layer, each of the class that its name says, so that a/MM.pt and b/MM.pt are
responses of one class; nothing in them is run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from workflow_scripts.adapters.foreign_scalars import Tokens, read_scalar_file
from workflow_scripts.adapters.probe_rows import name_rows, probe_rows
from workflow_scripts.adapters.probes import (
    DRAWS,
    METRICS,
    RUNS,
    Contrast,
    Interval,
    Probe,
    Samples,
    name_adapters,
    p_values,
    probe,
    shuffled_probe,
)
from workflow_scripts.adapters.tables import Columns, adapter_columns, check_names, contrast, read_scalars, resolved
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, file_digest, provenance, write_table


def report(probes: list[Probe], p: dict[str, float]) -> str:
    """Both tables of `probe` as text."""
    scores = [
        [made.split, made.tokens, made.responses, *(_shown(made.score(name), ".3f") for name in METRICS)]
        for made in probes
    ]
    header = ["split", "tokens", "responses", *METRICS]
    weights = [
        [adapter, *(_shown(made.coefficient(adapter), "+.3f") for made in probes), f"{p[adapter]:.3f}" if p else ""]
        for adapter in probes[0].adapters
    ]
    columns = ["adapter", *(f"coefficient, {made.split} split" for made in probes), "p"]
    return "\n\n".join(
        tabulate(rows, head, tablefmt="simple", disable_numparse=True)
        for rows, head in ((scores, header), (weights, columns))
    )


def bring_in(files: Sequence[Path], tokens: Tokens, output: Path) -> None:
    """Writes the scalars of .pt files as one table, and says what was read; files of one name are of one class.

    Raises:
        UserError: if a file cannot be read, is given twice or has a name that is not UTF-8, or two are of different
            adapters.
    """
    check_names(files)
    frames, following = [], Counter[str]()
    for file in files:
        frame = read_scalar_file(file, tokens, following[file.stem])
        frames.append(frame)
        following[file.stem] = int(frame.response.iloc[-1]) + 1
        if set(adapter_columns(frame)) != set(adapter_columns(frames[0])):
            raise UserError(f"{file}: has other adapters than {files[0]}.")
        asked = f"{frame.question.nunique()} questions" if "question" in frame else "questions unknown"
        print(f"{file}: {frame.response.nunique()} responses, {asked}, {len(frame)} tokens ({tokens}), "
              f"{len(adapter_columns(frame))} adapters; class {file.stem}")  # fmt: skip
    spec = canonical({"tokens": tokens, "files": [file.name for file in files]})
    source = ",".join(file_digest(file) for file in files)
    write_table(output, pd.concat(frames, ignore_index=True), provenance("scalars", spec, source=source))


def main(arguments: list[str]) -> None:
    given = _parser().parse_args(arguments)
    command.check_output(given.output, given.files if given.action == "import" else given.scalars)
    if given.action == "import":
        bring_in(given.files, given.tokens, given.output)
        return
    frame = read_scalars(given.scalars)
    columns = resolved(
        frame,
        Columns(
            given.response, given.token, given.class_column, given.significance, given.question,
            tuple(given.adapters) if given.adapters else None,
        ),
    )  # fmt: skip
    subject = given.subject or given.scalars[0].stem
    if given.action == "probe":
        negative, positive = given.classes
        taken = contrast(frame, columns, negative, positive, given.threshold)
        probes = [probe(taken, split, given.runs, given.seed) for split in taken.splits]
        null = shuffled_probe(taken, "token", given.draws, given.seed) if given.draws else None
        found = p_values(probes[0].coefficients, null.coefficients).tolist() if null else []
        p = dict(zip(taken.adapters, found, strict=False))
        print(f"{negative} (0) against {positive} (1), {given.runs} runs\n\n{report(probes, p)}\n\n{_shuffles(taken)}")
        nulls = [null, *(None for _ in probes[1:])]
        rows = [
            row
            for made, of in zip(probes, nulls, strict=True)
            for row in probe_rows(f"{negative}-{positive}", made, of)
        ]
    else:
        general, specialised = (
            _contrast(contrast(frame, columns, negative, positive, given.threshold), given)
            for negative, positive in (given.general, given.specialised)
        )
        named = name_adapters(general, specialised, given.level)
        print(tabulate(named.items(), ["adapter", "name"], tablefmt="simple"))
        rows = name_rows("|".join("-".join(pair) for pair in (given.general, given.specialised)), dict(named))
    if given.output:
        spec = {name: str(value) for name, value in vars(given).items() if name not in ("output", "debug")}
        write_table(given.output, pd.DataFrame(rows).assign(subject=subject), provenance("adapters", canonical(spec)))


def _contrast(taken: Samples, given: argparse.Namespace) -> Contrast:
    observed = probe(taken, "token", given.runs, given.seed)
    return Contrast(taken, observed, shuffled_probe(taken, "token", given.draws, given.seed))


def _shuffles(taken: Samples) -> str:
    """What p rests on."""
    how = taken.shuffle
    if "question" not in taken.splits:
        return f"p: labels of {how.units} responses shuffled; no column names their questions (--question)."
    what = f"responses shuffled within {how.mixed}" if how.manner == "within" else "whole questions shuffled"
    same = "; class and question are the same thing here" if how.mixed == 0 else ""
    return f"p: labels of {how.units} {what} of {how.questions} questions{same}."


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__, study=False)
    actions = parser.add_subparsers(dest="action", required=True)
    probing = actions.add_parser("probe", help="scores and coefficients of one contrast")
    probing.add_argument("--classes", nargs=2, metavar=("CLASS0", "CLASS1"), required=True)
    naming = actions.add_parser("name", help="general, specialised and idle adapters from two contrasts")
    naming.add_argument(
        "--general", nargs=2, metavar=("ALIGNED", "MISALIGNED"), required=True, help="outside the domain"
    )
    naming.add_argument("--specialised", nargs=2, metavar=("OUTSIDE", "DOMAIN"), required=True, help="both misaligned")
    naming.add_argument("--level", type=_level, default=0.05, help="of all names together (default .05)")
    bringing = actions.add_parser("import", help="a table of the .pt files of others")
    bringing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a class each, named by the file")
    bringing.add_argument("--tokens", choices=["answer", "all"], default="answer",
                          help="which are taken; answer asks for token texts in the file")  # fmt: skip
    bringing.add_argument("--output", type=Path, required=True)
    for action, fewest in ((probing, 0), (naming, 1)):
        action.add_argument("--scalars", type=Path, nargs="+", required=True, metavar="FILE", help="parquet or CSV")
        action.add_argument(
            "--threshold", type=float, metavar="LOGSIG", help="keep tokens with ln(significance) ≥ this"
        )
        action.add_argument("--runs", type=command.whole_from(1), default=RUNS, help=f"default {RUNS}")
        action.add_argument(
            "--draws",
            type=command.whole_from(fewest),
            default=DRAWS,
            help=f"tables with shuffled labels (default {DRAWS})",
        )
        action.add_argument("--seed", type=command.whole_from(0), default=0)
        action.add_argument("--response", metavar="COLUMN", help="response id")
        action.add_argument("--token", metavar="COLUMN", help="token index; only kept out of the adapters")
        action.add_argument("--class-column", metavar="COLUMN")
        action.add_argument("--significance", metavar="COLUMN")
        action.add_argument("--question", metavar="COLUMN", help="question of the response")
        action.add_argument("--adapters", nargs="+", metavar="COLUMN")
        action.add_argument("--subject", help="named in the output (default: the first file's stem)")
        action.add_argument("--output", type=Path, help="also write the rows as parquet")
        action.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return parser


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = 0
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no level between 0 and 1")
    return level


def _shown(found: Interval, form: str) -> str:
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


if __name__ == "__main__":
    command.run(main)
