"""The registry: every experiment is whole, and every claim of the ledger finds its rows in the tables."""

import pytest

from helpers.tables import EVERYTHING, hand_study, write_everything, write_tables
from helpers.workflow import REPOSITORY
from workflow_scripts import experiments
from workflow_scripts.experiments import EXPERIMENTS
from workflow_scripts.experiments.experiment import Experiment
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.reporting.ledger import ledger
from workflow_scripts.reporting.records import plain
from workflow_scripts.study.experiments import PaperValue
from workflow_scripts.summary import collect

CAPTIONS = REPOSITORY / "rules" / "captions"
TABLES = [made.table for made in EXPERIMENTS]
each = pytest.mark.parametrize("made", EXPERIMENTS, ids=TABLES)


def test_no_two_experiments_share_a_table_or_a_figure():
    figures = [name for made in EXPERIMENTS for name in made.figures]
    assert len(set(TABLES)) == len(TABLES)
    assert len(set(figures)) == len(figures)


@each
def test_it_has_a_figure_with_a_caption_or_says_why_not(made: Experiment):
    assert bool(made.figures) != bool(made.no_figure)
    for name, figure in made.figures.items():
        assert (CAPTIONS / f"{name}.rst").read_text().strip(), f"rules/captions/{name}.rst"
        assert figure.title.split()[0] in made.labels, "a title begins with the paper's number"
        assert figure.draw.__doc__, "the question that it answers"
        assert figure.draw.__doc__.strip().endswith("?")


@each
def test_it_has_a_claim_or_says_why_not(made: Experiment):
    claimed = {claim.experiment for claim in read_claims()}
    assert bool(claimed & set(made.labels)) != bool(made.no_claim)


@each
def test_its_arithmetic_has_a_test_of_its_own(made: Experiment):
    file = REPOSITORY / "tests" / "experiments" / f"test_{made.module.rpartition('.')[2]}.py"
    assert f"from workflow_scripts.{made.module} import" in file.read_text()


@each
def test_its_labels_are_the_paper_s(made: Experiment):
    known = PaperValue.model_fields["experiment"].annotation.__args__
    assert set(made.labels) <= set(known)
    assert made.rows.__doc__, "what its rows are"


def test_every_caption_belongs_to_a_figure_or_a_page():
    figures = {name for made in EXPERIMENTS for name in made.figures}
    pages = {"claims", "panel", "summary", "workflow"}
    assert {file.stem for file in CAPTIONS.glob("*.rst")} == figures | pages


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    study, layout = hand_study(tmp_path_factory.mktemp("whole"), **EVERYTHING)
    write_everything(study, layout)
    return study, layout, write_tables(study, layout)


def test_a_study_that_asks_for_all_has_every_table_and_figure(tables):
    study, _, made = tables
    assert list(experiments.asked(study)) == list(made) == TABLES
    assert set(experiments.figures(study)) == {name for made in EXPERIMENTS for name in made.figures}


@pytest.mark.parametrize("made", EXPERIMENTS, ids=TABLES)
def test_its_rows_bear_its_labels_and_only_real_columns_vary(tables, made: Experiment):
    table = tables[2][made.table]
    assert set(table.experiment) == set(made.labels)
    assert table[["subject", "quantity", "condition", "unit"]].notna().all().all()
    bounded = table.low.notna() & table.high.notna()
    assert (table.interval.notna() == bounded).all(), "an interval says what it is over, and only an interval"
    assert (table[bounded].low <= table[bounded].high).all()
    assert (table[bounded].clusters >= 2).all()
    names = ["experiment", "subject", "seed", "quantity", "condition"]
    assert not table.duplicated(names).any(), "a row is told by these"


@pytest.mark.parametrize("made", EXPERIMENTS, ids=TABLES)
def test_what_it_reads_is_what_it_says_it_reads(tables, made: Experiment):
    study, layout, _ = tables
    assert all(file.is_file() for file in made.inputs(study, layout))
    assert made.slice(study)


def test_every_claim_finds_its_rows(tables):
    study, _, made = tables
    rows = plain(collect(study, list(made.values())))
    claims = [claim for claim in read_claims() if claim.where.get("samples", 0) <= study.sampling.samples]
    assert [entry.id for entry in ledger(claims, rows, study) if not entry.rows] == []
