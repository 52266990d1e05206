"""E7: the single rank-1 adapter against the direction at its layer (appendix D)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.experiments.e02_directions import WHOSE
from workflow_scripts.experiments.experiment import Experiment, Figure, always
from workflow_scripts.experiments.rows import (
    Row,
    change_rows,
    has_direction,
    headline,
    mean_cosine,
    point,
    rate_rows,
    read_direction,
    row,
    thresholds_of,
    with_baseline,
)
from workflow_scripts.reporting.style import (
    BELOW,
    GREY,
    PALETTE,
    band,
    bar,
    counted,
    legend,
    make_axes,
    panel,
    paper_value,
    patch,
    whole_numbers,
)
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import (
    NOTHING,
    direction_organisms,
    only_layer,
    single_adapter_subjects,
    source_for,
)
from workflow_scripts.study.layout import Layout, organism_of, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PROJECTIONS = {
    "b_projected": "direction\nout of B",
    "b_projected_renormalised": "out of B,\nnorm restored",
}
STREAM = {"single_layer": "one layer's,\neverywhere", "transferred": "per layer,\neverywhere"}


def single_organisms(study: Study) -> list[str]:
    """Organisms with a direction whose adapter is one of rank 1 at one layer."""
    settings = [(name, study.organisms[name]) for name in direction_organisms(study)]
    return [name for name, o in settings if o.responses is None and o.rank == 1 and len(o.layers or ()) == 1]


def compared_directions(study: Study, subject: str) -> list[str]:
    """Whose directions the B of a subject is held against: its own, and the source's."""
    others = [source_for(study, study.ablation.source, subject)] if study.ablation else []
    return list(dict.fromkeys([subject, *others]))


def alignment_inputs(study: Study, layout: Layout) -> list[Path]:
    subjects = [seed_subject(name, seed) for name in single_organisms(study) for seed in study.organisms[name].seeds]
    sources = dict.fromkeys(source for subject in subjects for source in compared_directions(study, subject))
    return [*map(layout.direction, sources), *map(layout.adapter, subjects)]


def inputs(study: Study, layout: Layout) -> list[Path]:
    pushes = [layout.downstream(subject) for subject in single_adapter_subjects(study)]
    return [*with_baseline(study, layout, "surgery"), *pushes]


def alignment_rows(study: Study, layout: Layout) -> list[Row]:
    """|cos| of B of a single rank-1 adapter with its own direction, and the source's, at the adapter's layer.

    By seed, and the mean over seeds with an interval over them. `source` is the organism whose direction it is. (A, B)
    and (−A, −B) are the same adapter, so that the sign of a cosine says nothing, and signed ones of two seeds could
    cancel.
    """
    from torch.nn.functional import cosine_similarity

    from workflow_scripts.adapters.surgery import read_adapter

    made = []
    for organism in single_organisms(study):
        layer = only_layer(study.organisms[organism])
        cosines: dict[str, dict[object, list[float]]] = {}
        for seed in study.organisms[organism].seeds:
            subject = seed_subject(organism, seed)
            weights = read_adapter(layout.organism(subject))
            b = next(tensor for name, tensor in weights.items() if ".lora_B." in name)[:, 0].double()
            for other in compared_directions(study, subject):
                if not has_direction(layout, other):
                    continue
                vector = read_direction(layout, other)[0]["direction"][layer].double()
                if vector.shape == b.shape:
                    cosine, (source, _) = abs(float(cosine_similarity(b, vector, dim=0))), organism_of(other)
                    cosines.setdefault(source, {})[seed] = [cosine]
                    place, facts = f"{other}:layer-{layer}", {"layer": layer, "source": source}
                    made.append(row("E7", subject, "b_cosine", place, point(cosine, 1), "cosine", **facts))
        for source, by_seed in cosines.items():
            found, facts = mean_cosine(by_seed), {"layer": layer, "source": source, "seeds": len(by_seed)}
            made.append(row("E7", organism, "b_cosine", f"{source}:layer-{layer}", found, "cosine", **facts))
    return made


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM with the direction taken out of B, against before, and the downstream cosines, seeds pooled.

    `downstream_cosine` is the mean over seeds by layer, of `misaligned` or `aligned` responses (kind), with the
    `direction` or a `random` one (source) added; `downstream_cosine_max` is its largest value after the adapter's
    layer, with kind `random` for the largest of the random ones. Where the direction of a seed could not be made, its
    copies and pushes are missing, and its responses before do not count for the change.
    """
    assert study.single_adapter, "asked for only where the study has the section"
    limits, made = thresholds_of(study), []
    asked = study.sampling.questions
    organism, subjects = study.single_adapter.organism, single_adapter_subjects(study)
    before = pd.concat([headline(study, layout, subject).assign(seed=subject) for subject in subjects])
    after = pd.concat([read_scores(layout.judgements(s, "surgery")).assign(seed=s) for s in subjects])
    made += rate_rows("E7", organism, NOTHING.name, before, limits, kind=NOTHING.name, question_set=asked)
    for name in PROJECTIONS:
        part = after[after.condition == name]
        if part.empty:
            continue
        facts = {"kind": name, "source": study.single_adapter.source, "question_set": asked}
        same = before[before.seed.isin(part.seed.unique())]
        made += change_rows("E7", organism, name, same, part, limits, **facts)
    carrier = only_layer(study.organisms[organism])
    pushed = [read_frame(layout.downstream(s)) for s in subjects if not absent(layout.downstream(s))]
    if not pushed:
        return made
    found = pd.concat(pushed)
    mean = found.groupby(
        ["side", "comparison", "draw", "layer"], as_index=False, dropna=False, sort=False
    ).cosine.mean()
    responses = sum(int(part.responses.iloc[0]) for part in pushed)
    for line in mean.itertuples():
        draw = None if pd.isna(line.draw) else int(line.draw)
        with_what = line.comparison if draw is None else f"{line.comparison}:draw-{draw}"
        place, value = f"{line.side}:{with_what}:layer-{line.layer}", point(line.cosine, responses)
        made.append(
            row("E7", organism, "downstream_cosine", place, value, "cosine", layer=line.layer, kind=line.side,
                source=line.comparison, draw=draw)
        )  # fmt: skip
    later = mean[mean.layer > carrier]
    largest = [(str(side), part) for side, part in later[later.comparison == "direction"].groupby("side")]
    largest += [("random", part) for part in [later[later.comparison == "random"]] if len(part)]
    for kind, part in largest:
        top = point(part.cosine.max(), responses)
        made.append(row("E7", organism, "downstream_cosine_max", kind, top, "cosine", kind=kind))
    return made


def alignment_shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity == "b_cosine"


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_relative_change", "downstream_cosine_max"])


def single_adapter(study: Study, layout: Layout) -> Drawing:
    """Does the single adapter write the direction, and does it push later layers the same way?"""
    table = read_frame(layout.table("single_adapter"))
    assert study.single_adapter, "drawn only where the study has the section"
    organism = study.single_adapter.organism
    figure, axes = make_axes(1, 2, (10, 3.8))
    rates = table[table.quantity == "em"].set_index("kind")
    edited = {NOTHING.name: "before", **PROJECTIONS}
    bars = [(label, rates.loc[kind], PALETTE[0]) for kind, label in edited.items() if kind in rates.index]
    if study.ablation:
        ablated = read_frame(layout.table("ablation"))
        ablated = ablated[(ablated.subject == organism) & (ablated.quantity == "em") & ablated.seed.isna()]
        for found in ablated[ablated.kind == "only_layer"].itertuples():
            bars.append((f"one layer's, at\nlayer {found.layer} only", pd.Series(found._asdict()), PALETTE[1]))
        for kind, label in STREAM.items():
            bars += [(label, found, PALETTE[1]) for _, found in ablated[ablated.kind == kind].iterrows()]
    for position, (_, rates_row, colour) in enumerate(bars):
        bar(axes[0], position, rates_row, colour)
    axes[0].set_xticks(range(len(bars)), [label for label, _, _ in bars], fontsize=7)
    axes[0].set_ylabel("misaligned responses (%)")
    panel(
        axes[0],
        "The direction out of B, and out of the stream",
        f"n = {counted({int(r.n) for _, r, _ in bars})} per bar",
    )
    handles = [patch(PALETTE[0], "", "adapter edited"), patch(PALETTE[1], "", "residual stream ablated")]
    axes[0].legend(handles=handles, **BELOW, ncols=2)
    pushes = table[table.quantity == "downstream_cosine"]
    for side, colour in (("misaligned", PALETTE[1]), ("aligned", PALETTE[0])):
        part = pushes[(pushes.kind == side) & (pushes.source == "direction")]
        if len(part):
            axes[1].plot(part.layer, part.value, color=colour, marker="o", ms=3, label=f"{side} responses")
    drawn = pushes[pushes.source == "random"].groupby("layer").value
    if len(drawn):
        low, high = drawn.min(), drawn.max()
        band(axes[1], low.index, low, high, color=GREY, alpha=0.3, label="random directions, range")
    most = paper_value(study, organism, "downstream_cosine_max", "misaligned")
    if most is not None:
        axes[1].axhline(most, color="black", lw=0.8, ls=":", label=f"paper: at most {most:g}")
    axes[1].set_ylabel("cosine of the two pushes")
    whole_numbers(axes[1], "decoder layer")
    panel(axes[1], "Pushes of later layers", f"from {counted(set(pushes.n.astype(int)))} responses")
    legend(axes[1], pushes, fontsize=7)
    return figure


ALIGNMENT = Experiment(
    table="adapter_alignment",
    labels=("E7",),
    asked=always,
    reads=(*WHOSE, "organisms.rank", "organisms.layers", "ablation.source"),
    inputs=alignment_inputs,
    rows=alignment_rows,
    shown=alignment_shown,
    no_figure="its numbers stand in the end table: one cosine for each single adapter",
)
EXPERIMENT = Experiment(
    table="single_adapter",
    labels=("E7",),
    asked=lambda study: study.single_adapter is not None,
    reads=("single_adapter", "thresholds", "sampling.questions", "organisms.seeds", "organisms.layers"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    kinds=frozenset(PROJECTIONS),
    figures={"single_adapter": Figure("E7 The single adapter and the direction", single_adapter)},
)
