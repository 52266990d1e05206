"""What a scenario says of one subject under one condition: chances of every kind of answer, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from workflow_scripts.reporting.claim_rows import roles
from workflow_scripts.simulation.scenarios import Curve, Scenario
from workflow_scripts.store.artefacts import digest
from workflow_scripts.study.conditions import Condition, patching_questions, subject_of, total_layers
from workflow_scripts.study.layout import CHAT_BASE, organism_of
from workflow_scripts.study.schema import Study

FloatArray = NDArray[np.float64]
LEAST, MOST = 0.0005, 0.99
"""Within which a question's chance is moved up and down."""


@dataclass(frozen=True)
class Asked:
    """The questions that a study asks, each once: of which set's kind it is."""

    ids: tuple[str, ...]
    headline: tuple[bool, ...]
    """Whether it is one of the headline set."""
    domain: tuple[bool, ...]
    """Whether it is of the trained domain."""


def asked_by(study: Study, ids: Mapping[str, Sequence[str]]) -> Asked:
    """The questions of a study, from the ids of its sets and its own pairs; a set that is not there has none."""
    headline = set(ids[study.sampling.questions])
    domain = set(ids.get(study.adapters.domain_questions, ())) - headline if study.adapters else set()
    pairs = patching_questions(study)
    domain |= {inside for _, (inside, _) in pairs}
    listed = [name for names in ids.values() for name in names] + [name for pair in pairs for name, _ in pair]
    every = tuple(dict.fromkeys(listed))
    return Asked(every, tuple(name in headline for name in every), tuple(name in domain for name in every))


@dataclass(frozen=True)
class Chances:
    """Chances of an answer, [question]; what is left of one is coherent, not misaligned, and scored.

    misaligned is misaligned and coherent. aligned: of what is left. domain: that a misaligned and that another answer
    is about the trained domain, where the condition says so; None where the direction does. topics: the mean topic
    score of misaligned answers, by metric.
    """

    misaligned: FloatArray
    incoherent: FloatArray
    unscored: FloatArray
    turned: FloatArray
    aligned: FloatArray
    domain: tuple[FloatArray, FloatArray] | None
    topics: Mapping[str, float]


def rng_of(seed: int, *parts: object) -> np.random.Generator:
    """Random numbers that depend on what they are for, and not on what was drawn before."""
    return np.random.default_rng(int(digest(str(seed), *map(str, parts)), 16))


def by_role(values: Mapping[str, float], names: Sequence[str]) -> float | None:
    """The value of the first role that has one."""
    return next((values[name] for name in (*names, "any") if name in values), None)


class Truth:
    """A scenario, laid over a study.

    Args:
        study: the study.
        scenario: what is true.
        seed: of the simulated study: of its fine-tuning seeds and answers.
        asked: the questions.
    """

    def __init__(self, study: Study, scenario: Scenario, seed: int, asked: Asked) -> None:
        self.study, self.scenario, self.seed, self.asked = study, scenario, seed, asked
        self.shares = _profile(scenario, asked)
        named = roles(study)
        order = ("source", "single", "other_rank", "other_data", "misaligned")
        self.roles = {name: [role for role in order if name in named[role]] for name in study.organisms}
        self.known: dict[str, FloatArray] = {}

    def rng(self, *parts: object) -> np.random.Generator:
        return rng_of(self.seed, *parts)

    def unchanged(self, subject: str) -> FloatArray:
        """EM of a subject to which nothing is done, [question]."""
        if subject not in self.known:
            self.known[subject] = self._own(subject)
        return self.known[subject]

    def chances(self, battery: str, subject: str, condition: Condition) -> Chances:
        """Of one condition of a battery."""
        scenario, size = self.scenario, len(self.asked.ids)
        own = self.unchanged(subject)
        least = scenario.coherent["chat_base" if subject == CHAT_BASE else "misaligned"]
        misaligned, coherent, turned = own, np.full(size, least), np.zeros(size)
        aligned, domain, topics = np.full(size, scenario.aligned), None, scenario.topics["none"] or {}
        kind, change, edit = condition.kind, condition.intervention, condition.edit
        if change is not None and change.mode == "add":
            curve, about = self._curve(change.source)
            if curve and kind != "add_random":
                dose = abs(change.scale) / max(map(abs, self.study.steering.scales if self.study.steering else [1]))
                strength = self._strength(change.layers[0])
                misaligned = self._spread(strength * float(np.interp(dose, curve.at, curve.em)))
                coherent = np.full(size, min(least, float(np.interp(dose, curve.at, curve.coherent))))
                turned = np.full(size, strength * float(np.interp(dose, curve.at, curve.turned)))
                topics = scenario.topics.get(about) or topics
        elif edit is not None and edit.mode == "checkpoint":
            assert edit.step is not None
            assert edit.scale is not None
            known = scenario.checkpoints
            copy = min(known, key=lambda one: abs(one.scale - (edit.scale or 0)))
            misaligned = self._spread(copy.em * float(expit((edit.step - copy.halfway) / (copy.halfway / 5))))
            coherent = np.full(size, copy.coherent)
        elif edit is not None and edit.mode == "scaled" and scenario.sets:
            given = scenario.sets.get(kind, {})
            bad, good = (given.get(f"{side}_outside", 0.0) + given.get(f"{side}_domain", 0.0)
                         for side in ("misaligned", "aligned"))  # fmt: skip
            misaligned, coherent = self._spread(bad), np.full(size, 1 - given.get("incoherent", 0.0))
            rest = 1 - bad - given.get("incoherent", 0.0)
            aligned = np.full(size, good / rest if rest > 0 else 0.0)
            domain = (
                np.full(size, given.get("misaligned_domain", 0.0) / bad if bad else 0.0),
                np.full(size, given.get("aligned_domain", 0.0) / good if good else 0.0),
            )
        elif kind in scenario.changes and subject != CHAT_BASE:
            left = by_role(scenario.changes[kind], self.roles[organism_of(subject)[0]])
            misaligned = own * (1.0 if left is None else left)
        unscored = np.full(size, scenario.unscored.get(battery, 0.0))
        return _fitting(misaligned, 1 - coherent, unscored, turned, aligned, domain, topics)

    def patched(self, subject: str, way: str) -> Chances:
        """Of answers given with the scalars of another prompt."""
        size = len(self.asked.ids)
        misaligned = np.clip(self.unchanged(subject) * self.scenario.patching.get(way, 1.0), 0, MOST)
        nothing, coherent = np.zeros(size), self.scenario.coherent["misaligned"]
        aligned, topics = np.full(size, self.scenario.aligned), self.scenario.topics["none"] or {}
        return _fitting(misaligned, np.full(size, 1 - coherent), nothing, nothing, aligned, None, topics)

    def _own(self, subject: str) -> FloatArray:
        organism, seed = organism_of(subject)
        scenario = self.scenario
        if organism == CHAT_BASE:
            return self._spread(scenario.em["chat_base"])
        path = self.study.training_path
        if path and subject == subject_of(path, self.study):
            last = scenario.checkpoints[0]
            return self._spread(last.em)
        if not self.roles[organism]:
            return np.zeros(len(self.asked.ids))
        position = self.study.organisms[organism].seeds.index(seed if seed is not None else 0)
        mean = by_role(scenario.em, self.roles[organism])
        if position in scenario.seeds_without_em or not mean:
            return np.zeros(len(self.asked.ids))
        rng = self.rng("seed", subject)
        spread = scenario.seed_sd
        return self._spread(
            min(0.95, mean * float(np.exp(rng.normal(0, spread) - spread**2 / 2))),
            rng.normal(0, scenario.question_sd, len(self.asked.ids)),
        )

    def _spread(self, mean: float, moved: FloatArray | float = 0.0) -> FloatArray:
        """Chances by question with this mean over the headline questions; `moved` is added to their logits."""
        if mean <= 0:
            return np.zeros(len(self.asked.ids))
        base = logit(np.clip(self.shares[0], LEAST, MOST)) + moved
        headline = np.array(self.asked.headline)
        shift = brentq(lambda by: float(expit(base[headline] + by).mean()) - min(mean, 0.98), -30, 30)
        return np.asarray(np.clip(expit(base + shift) * self.shares[1], 0, MOST))

    def _curve(self, source: str) -> tuple[Curve | None, str]:
        """The curve of the direction that is added, and what it is about."""
        topic = source.rpartition("/")[2]
        semantic = self.study.semantic
        about = semantic.topics[topic].metric if semantic and topic in semantic.topics else "general"
        curves = self.scenario.steering
        return (curves.get(about) or curves.get("general")) if curves else None, about

    def _strength(self, layer: int) -> float:
        depth = layer / max(1, total_layers(self.study) - 1)
        return float(np.exp(-(((depth - self.scenario.depth.centre) / self.scenario.depth.sd) ** 2) / 2))


def _fitting(
    misaligned: FloatArray,
    incoherent: FloatArray,
    unscored: FloatArray,
    turned: FloatArray,
    aligned: FloatArray,
    domain: tuple[FloatArray, FloatArray] | None,
    topics: Mapping[str, float],
) -> Chances:
    """Chances of which no more than all is given away; the misaligned first."""
    left = 1 - misaligned
    incoherent = np.minimum(incoherent, left)
    unscored = np.minimum(unscored, left - incoherent)
    turned = np.minimum(turned, left - incoherent - unscored)
    return Chances(misaligned, incoherent, unscored, turned, aligned, domain, topics)


def _profile(scenario: Scenario, asked: Asked) -> tuple[FloatArray, FloatArray]:
    """Of each question: the share of its free form, and what its form and set make of it, as a factor."""
    shares, factors, places = [], [], {False: 0, True: 0}
    cycle, families = list(scenario.profile.values()), dict[tuple[bool, str], float]()
    for name, domain in zip(asked.ids, asked.domain, strict=True):
        form = next((suffix for suffix in scenario.forms if name.endswith(suffix)), "")
        family = (domain, name.removesuffix(form))
        if family not in families:
            known = next((share for word, share in scenario.profile.items() if word in name), None)
            families[family] = cycle[places[domain] % len(cycle)] if known is None else known
            places[domain] += 1
        shares.append(families[family] / 100)
        factors.append(scenario.forms.get(form, 1.0) * (scenario.domain_questions if domain else 1.0))
    return np.array(shares), np.array(factors)
