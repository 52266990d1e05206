"""Every figure on tables written by hand: what it shows, and that it stands where parts of its table are absent."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from helpers.tables import (
    CUED,
    USUAL,
    VECTORS,
    WRITTEN,
    hand_study,
    laid_over,
    relative_interval,
    share_interval,
    write_everything,
    write_tables,
)
from workflow_scripts import experiments
from workflow_scripts.experiments.e05_ablation import transfer
from workflow_scripts.experiments.rows import frame_of, point, row
from workflow_scripts.store.artefacts import write_table
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study

ONE_LAYER: dict[str, Any] = {
    "base": {"layers": 1},
    "organisms": {name: {"layers": [0]} for name in ("medical_r1", "medical_single", "good_r1", "hidden", "recovered")},
    "vectors": {"named": {"push": {"layer": 0}}},
    "steering": {"layers": [0], "random_layers": [0]},
    "semantic": {"layer": 0},
    "ablation": {"single_layer": 0, "only_layers": [0]},
    "training_path": {"steps": [5]},
}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "complete": ({}, {}),
    "one layer": (ONE_LAYER, {}),
    "nobody misaligned": ({}, {"misaligned": False}),
    "eight questions": ({}, {"questions": 8}),
    "one question": ({}, {"questions": 1}),
}
"""Name -> what is changed of the study, and of what was answered."""
FIGURES = {name: (made.table, figure) for made in experiments.EXPERIMENTS for name, figure in made.figures.items()}
Drawn = tuple[Study, Layout]
BEFORE = (1, 1 / 2, 1 / 2, 1 / 2)
"""Shares of the questions of every organism before anything is done to it."""


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawn]:
    """Every variant with all of its tables."""
    made = {}
    for name, (changed, answered) in VARIANTS.items():
        sections = laid_over(CUED, VECTORS, changed)
        study, layout = hand_study(tmp_path_factory.mktemp(name.replace(" ", "_")), **sections)
        write_everything(study, layout, **answered)
        write_tables(study, layout)
        made[name] = (study, layout)
    return made


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def drawn(name: str, study: Study, layout: Layout) -> list[Axes]:
    """The axes of a figure, without its colour bars; what matplotlib warns of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name][1].draw(study, layout)
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>" and axis.get_visible()]


def labels(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.get_xticklabels() if text.get_text()]


def named(axis: Axes) -> list[str]:
    found = axis.get_legend()
    return [text.get_text() for text in found.get_texts()] if found else []


def heights(axis: Axes) -> list[float]:
    return [round(float(part.get_height()), 6) for part in axis.patches if part.get_width() < 1]


def upright(axis: Axes) -> list[tuple[float, float]]:
    """Ends of the intervals that stand on a figure, in the order in which they were drawn."""
    lines = [part for part in axis.collections if isinstance(part, LineCollection)]
    return [(float(ends[0][1]), float(ends[1][1])) for part in lines for ends in part.get_segments() if len(ends)]


def check_readable(axis: Axes) -> None:
    """Nothing is called nan, layers and steps are whole, no interval is without width, the legend names what is there."""
    figure = axis.get_figure()
    texts = [text.get_text() for text in (*figure.findobj(match=pyplot.Text),)]
    assert not [text for text in texts if re.search(r"\bnan\b|<NA>|None", text)]
    assert "n = 0 per" not in axis.get_title()
    twin = axis.get_ylabel() == "gradient norm"
    assert twin or re.match(r"[A-Z]\w|\w+ \(n = ", axis.get_title()), "a panel says what it shows"
    for bar in figure.axes:
        if bar.get_label() == "<colorbar>" and bar.get_ylabel() == "step":
            low, high = bar.get_ylim()
            assert all(float(tick).is_integer() for tick in bar.get_yticks() if low <= tick <= high)
    if axis.get_xlabel() in ("decoder layer", "step"):
        low, high = axis.get_xlim()
        places = [tick for tick in axis.get_xticks() if low <= tick <= high]
        assert places
        assert all(float(place).is_integer() for place in places)
        assert max(places) <= axis.dataLim.x1 + 0.5, "no layer or step is named beyond the last"
    assert all(high > low for low, high in upright(axis))
    for part in axis.collections:
        if isinstance(part, PolyCollection):
            assert all(np.ptp(path.vertices[:, 0]) > 0 for path in part.get_paths())
    handles, names = axis.get_legend_handles_labels()
    assert len(set(names)) == len(names)
    for line in (handle for handle in handles if isinstance(handle, pyplot.Line2D)):
        assert np.isfinite(np.asarray(line.get_ydata(), dtype=float)).any(), line.get_label()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_read(variants, name, variant):
    axes = drawn(name, *variants[variant])
    assert axes
    for axis in axes:
        check_readable(axis)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_how_much_is_behind_it(variants, name):
    axes = drawn(name, *variants["complete"])
    axes[0].get_figure().canvas.draw()
    said = " ".join(text.get_text() for text in axes[0].get_figure().findobj(match=pyplot.Text))
    assert re.search(r"n = \d|\d+ (?:to \d+ )?(?:responses|tokens|steps)|\d+ seed pair", said)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_stands_without_any_one_kind_source_or_draw(variants, name, tmp_path):
    study, layout = variants["complete"]
    table, figure = FIGURES[name]
    for other in layout.root.iterdir():  # all but the tables, which change
        if other.name != "tables":
            (tmp_path / other.name).symlink_to(other)
    there = {made.table: pd.read_parquet(layout.table(made.table)) for made in experiments.EXPERIMENTS}
    for other, frame in there.items():
        write_table(Layout(tmp_path).table(other), frame, WRITTEN)
    whole = there[table]
    for column in ("kind", "source", "draw", "split", "adapter", "subject", "scale", "layer"):
        for value in whole[column].dropna().unique():
            write_table(Layout(tmp_path).table(table), whole[~(whole[column] == value).fillna(False)], WRITTEN)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                axes = figure.draw(study, Layout(tmp_path)).axes
            for axis in axes:
                assert not [label for label in named(axis) if "nan" in label]
            pyplot.close("all")


@pytest.fixture(scope="module", params=[0, 1], ids=["a third", "another third"])
def holed(request, variants, tmp_path_factory) -> Drawn:
    """The complete study with a third of its tables' values and intervals missing."""
    study, layout = variants["complete"]
    folder = tmp_path_factory.mktemp("holed")
    for other in layout.root.iterdir():
        if other.name != "tables":
            (folder / other.name).symlink_to(other)
    for made in experiments.EXPERIMENTS:
        frame = pd.read_parquet(layout.table(made.table))
        empty = frame.index % 3 == request.param
        frame.loc[empty, ["value", "low", "high", "fixed_low", "fixed_high"]] = math.nan
        write_table(Layout(folder).table(made.table), frame, WRITTEN)
    return study, Layout(folder)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_stands_with_a_third_of_its_cells_missing(holed, name):
    for axis in drawn(name, *holed):
        check_readable(axis)


def test_bars_of_organisms_have_the_pooled_rates_and_intervals(variants):
    em, coherence = drawn("em_by_organism", *variants["complete"])
    named = ["medical_r1", "sport_r8", "medical_single", "medical_r8", "good_r1", "hidden", "recovered"]
    assert labels(em) == ["chat_base", *named]
    # "MM MA MA MA" by every seed: 5 of 8
    assert heights(em) == [0, *[62.5] * 4, 0, *[62.5] * 2]
    assert heights(coherence) == [100] * 8
    low, high = share_interval(*[USUAL["none"]] * 2)
    assert upright(em)[1] == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert em.get_title() == "Emergent misalignment\nn = 8 to 16 per bar"


def test_each_response_is_one_point_between_alignment_and_coherence(variants):
    axes = drawn("alignment_coherence", *variants["complete"])
    assert [axis.get_title() for axis in axes[:2]] == ["chat_base (n = 8)", "medical_r1 (n = 16)"]
    places = axes[1].collections[0].get_offsets()
    assert len(places) == 16
    assert (places[:, 0] < 30).sum() == 10, "MM MA MA MA, twice"


def test_norms_are_lines_over_whole_layers(variants):
    norms, activations = drawn("direction_norms", *variants["complete"])
    first = norms.get_lines()[0]
    # medical_r1: (3, 4 + layer, 0, 1) and (3, 5 + layer, 0, 1), the mean of two seeds
    expected = [(math.hypot(3, 4 + layer, 1) + math.hypot(3, 5 + layer, 1)) / 2 for layer in range(3)]
    assert first.get_ydata() == pytest.approx(expected, abs=1e-6)
    assert list(first.get_xdata()) == [0, 1, 2]
    organisms = {"medical_r1", "sport_r8", "medical_single", "medical_r8"}
    assert set(named(norms)) == organisms | {"shuffled labels, central 95 %"}
    assert set(activations.get_lines()[0].get_ydata()) == {50}


def test_cosines_are_lines_by_pair_with_their_nulls(variants):
    (axis,) = drawn("convergence", *variants["complete"])
    assert named(axis)[:2] == ["medical_r1 – sport_r8", "medical_r1 – medical_single"]
    assert {"random directions, central 95 %", "shuffled labels, central 95 %"} <= set(named(axis))
    assert axis.get_title().splitlines()[1] == "mean of 2 seed pairs; band: their range"


def test_steering_has_a_line_for_every_scale_and_crosses_for_random_directions(variants):
    em, coherence = drawn("steering", *variants["complete"])
    assert named(em) == ["λ = 1", "λ = 2", "random, equal norm"]
    line = em.get_lines()[0]
    # "MM MA MA AA": 4 of 8
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1], [50, 50])
    assert [tick for tick in em.get_xticks() if -0.05 <= tick <= 1.05] == [0, 1], "layers, not 0.2 or 0.4"
    crosses = em.get_lines()[2]
    assert (list(crosses.get_xdata()), list(crosses.get_ydata())) == ([1, 1], [0, 0])
    assert coherence.get_lines()[0].get_ydata() == pytest.approx([100, 100])
    # of each scale: two seeds, 8 responses; two random draws of them
    assert em.get_title() == "Misaligned responses\nn = 16 to 32 per point"


def test_the_best_scale_of_each_layer_and_every_dose(variants):
    tops, doses = drawn("steering_by_layer", *variants["complete"])
    assert named(tops) == ["any coherence", "coherent in at least 80%", "paper: up to 50%"]
    assert list(tops.get_lines()[1].get_ydata()) == [50, 50]
    places = doses.collections[0].get_offsets()
    length = [(math.hypot(3, 4 + layer, 1) + math.hypot(3, 5 + layer, 1)) / 2 / 50 for layer in (0, 1)]
    expected = sorted([length[0], 2 * length[0], length[1], 2 * length[1]])
    assert sorted(places[:, 0]) == pytest.approx(expected, abs=1e-6)
    assert named(doses) == ["random, equal norm"]


def test_where_all_is_broken_there_is_no_line_of_the_coherent(variants, tmp_path):
    study, layout = variants["complete"]
    table = pd.read_parquet(layout.table("steering"))
    table.loc[table.quantity == "coherence", "value"] = 0.5
    write_table(Layout(tmp_path).table("steering"), table, WRITTEN)
    tops, _ = drawn("steering_by_layer", study, Layout(tmp_path))
    assert named(tops) == ["any coherence", "paper: up to 50%"]


def test_self_corrections_are_held_against_the_chat_base(variants):
    (axis,) = drawn("self_correction", *variants["complete"])
    assert named(axis) == ["λ = 1", "λ = 2", "chat base, not steered"]
    assert axis.get_ylim()[0] == 0


def test_topic_scores_stand_by_direction_with_the_misaligned_responses_counted(variants):
    scores, cosines = drawn("semantic", *variants["complete"])
    assert [label.replace("\n", " ") for label in labels(scores)] == [
        "medical_r1 (not steered) n = 5",
        "general direction n = 4",
        "medical direction n = 4",
        "power direction n = 4",
    ]
    # misaligned: MM M M M by itself; "mm mA AA Am" under topics. Power of M is 80, medicine of m is 80
    medical, power = np.array(heights(scores)).reshape(2, 4)
    assert (list(medical), list(power)) == ([0, 0, 80, 80], [80, 80, 0, 0])
    assert named(scores) == ["medical", "power"]
    assert upright(scores) == [], "equal scores have no interval"
    assert named(cosines) == ["medical (from 20 responses)", "power (from 20 responses)"]


def test_ablation_has_a_bar_for_every_kind_and_counts_only_those(variants):
    em, _ = drawn("ablation", *variants["complete"])
    assert labels(em) == ["chat_base", "medical_r1", "sport_r8", "medical_single", "medical_r8"]
    # before; own, of the organisms; the source's, of the others; its layer's; random
    assert heights(em) == [0, *[62.5] * 4, *[0] * 4, *[12.5] * 4, *[12.5] * 5, *[37.5] * 5]
    assert em.get_title() == "Misaligned responses\nn = 8 to 32 per bar"


def test_the_key_of_the_ablation_names_what_there_is(variants, tmp_path):
    study, layout = variants["complete"]
    table = pd.read_parquet(layout.table("ablation"))
    write_table(Layout(tmp_path).table("ablation"), table[~table.kind.isin(["random", "random_draw"])], WRITTEN)
    axes = drawn("ablation", study, Layout(tmp_path))
    (key,) = axes[0].get_figure().legends
    assert "random directions" not in [text.get_text() for text in key.get_texts()]
    assert heights(axes[0])[-5:] == [12.5] * 5


def test_every_organism_s_directions_meet_every_organism(variants):
    (axis,) = drawn("transfer", *variants["complete"])
    assert labels(axis) == ["medical_r1", "sport_r8", "medical_single", "medical_r8"]
    said = {(round(t.get_position()[0]), round(t.get_position()[1])): t.get_text() for t in axis.texts}
    # its own directions, on the diagonal, leave nothing
    _, high = relative_interval([USUAL["none"]] * 2, [USUAL["own"]] * 2)
    assert high == math.inf
    assert said[0, 0] == "-100 %\n[-100, +∞]"
    # the first row's directions leave "MA AA AA AA", 1 of 8, of 5 of 8
    low, high = (100 * bound for bound in relative_interval([USUAL["none"]] * 2, [USUAL["transferred"]] * 2))
    assert said[1, 0] == f"-80 %\n[{low:+.0f}, {high:+.0f}]".replace("inf", "∞")
    # directions of medical_r8 are only its own
    assert [place for place in said if place[1] == 3] == [(3, 3)]
    assert axis.get_title().endswith("n = 16 to 32 per cell")


def test_transfer_counts_the_responses_of_the_change(variants, tmp_path):
    study, _ = variants["complete"]
    changes = [
        row("E5", subject, quantity, f"from:{source}", found, "ratio", kind="from", source=source)
        for subject in ("medical_r1", "sport_r8")
        for source in ("medical_r1", "sport_r8")
        for quantity, found in (("em", point(0.0, 16)), ("em_relative_change", point(-0.5, 32)))
    ]
    write_table(Layout(tmp_path).table("ablation"), frame_of(changes), WRITTEN)
    (axis,) = drawn("transfer", study, Layout(tmp_path))
    assert [text.get_text() for text in axis.texts] == ["-50 %"] * 4, "a change without an interval shows none"
    assert axis.get_title().endswith("n = 32 per cell")


def test_the_single_adapter_stands_beside_what_is_ablated(variants):
    bars, pushes = drawn("single_adapter", *variants["complete"])
    assert [label.replace("\n", " ") for label in labels(bars)] == [
        "before",
        "direction out of B",
        "out of B, norm restored",
        "one layer's, at layer 1 only",
        "one layer's, everywhere",
        "per layer, everywhere",
    ]
    assert heights(bars) == [62.5, 25, 37.5, 25, 12.5, 12.5]
    assert named(pushes) == ["misaligned responses", "aligned responses", "random directions, range"]
    assert list(pushes.get_lines()[0].get_ydata()) == pytest.approx([0.4, 0.4])
    assert pushes.get_title() == "Pushes of later layers\nfrom 20 responses"


def test_probes_have_a_point_for_each_split_and_a_bar_for_each_adapter(variants):
    accuracy, general, specialised = drawn("adapter_probes", *variants["complete"])
    points = [line.get_ydata()[0] for line in accuracy.get_lines() if line.get_marker() == "o"]
    assert points == pytest.approx([70, 60, 55] * 4)
    assert upright(accuracy)[0] == (pytest.approx(60), pytest.approx(80))
    assert labels(general) == ["0", "1", "2"]
    assert heights(general) == heights(specialised) == [-1, 0, 1]


def test_sets_of_adapters_are_stacked_to_all_responses_that_are_not_neutral(variants):
    shares, rates = drawn("adapter_steering", *variants["complete"])
    named_sets = ["not edited", "general up", "specialised up", "specialised up,\ngeneral down"]
    assert labels(rates) == named_sets
    assert labels(shares) == [f"{label}\nn = {n}" for label, n in zip(named_sets, (8, 8, 7, 8), strict=True)]
    stacks = np.array(heights(shares)).reshape(4, 4)
    # outside, in the domain; aligned in the domain, outside. "mM ma AA NA" has 7 that are not neutral
    assert stacks[0] == pytest.approx([62.5, 0, 0, 37.5])
    assert stacks[2] == pytest.approx([100 / 7, 200 / 7, 100 / 7, 300 / 7])
    assert stacks.sum(axis=1) == pytest.approx([100] * 4)
    assert heights(rates)[:2] == [62.5, 100]


def test_patching_has_a_bar_by_mode_and_way(variants):
    (axis,) = drawn("patching", *variants["complete"])
    assert len(labels(axis)) == 2
    assert heights(axis) == [75, 25, 50, 75] * 2
    assert named(axis) == ["clean", "tokens", "prompt", "own_prompt"]
    assert axis.get_title().splitlines()[1] == "n = 8 per bar, 4 prompt pairs"


def test_the_training_path_shows_its_turn_its_plane_and_its_misalignment(variants):
    turns, plane, rates, _ = drawn("training_path", *variants["complete"])
    assert named(turns) == ["B, k = 1", "B, k = 2"]
    assert list(turns.get_lines()[0].get_ydata()) == [-1, 0, -1]
    assert (plane.get_xlabel(), plane.get_ylabel()) == ("PC 1 (78% of variance)", "PC 2 (22%)")
    assert named(rates) == ["adapter × 1", "adapter × 5"]
    assert [tick for tick in rates.get_xticks() if 1 <= tick <= 5] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("changed", [True, False], ids=["one misaligned", "nobody misaligned"])
def test_the_transfer_figure_stands_and_says_where_there_is_nothing_to_be_changed(variants, tmp_path: Path, changed):
    study, _ = variants["complete"]
    organisms = ["medical_r1", "sport_r8"]
    kept = {"kind": "from", "seed": None, "n": 32, "low": -0.9, "high": -0.5}
    rows = [
        {"subject": subject, "source": origin, "quantity": quantity, "value": value, **kept}
        for subject in organisms
        for origin in organisms
        for quantity, value in (("em", 0.0), *((("em_relative_change", -0.7),) if changed else ()))
    ]
    layout = Layout(tmp_path)
    frame = pd.DataFrame(rows).astype({"seed": "Int64"})
    write_table(layout.table("ablation"), frame, WRITTEN)
    (matrix, _) = transfer(study, layout).axes
    said = [text.get_text() for text in matrix.texts]
    if changed:
        assert said == ["-70 %\n[-90, -50]"] * 4
    else:
        assert said == ["no organism is misaligned"]
    assert [label.get_text() for label in matrix.get_xticklabels()] == organisms
