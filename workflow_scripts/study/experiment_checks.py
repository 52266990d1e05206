"""What is wrong with the sections of single experiments (semantic, single_adapter, adapters, training_path).

As study_errors, on plain data: these are reported even where other parts of the study are malformed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workflow_scripts.study.checks import (
    Mistake,
    Plain,
    direction_taken,
    distinct,
    layers_exist,
    listed,
    organism_settings,
    reference,
    section,
    seed_trained,
)


def experiment_errors(raw: Plain, layers: int | None) -> list[Mistake]:
    """Mistakes of these sections, in the order of the file.

    Args:
        raw: the study.
        layers: decoder layers of its base, where they are known.
    """
    return [
        *_semantic(raw, layers),
        *_matrix(raw, layers),
        *_single_adapter(raw),
        *_adapters(raw),
        *_training_path(raw),
        *_asked_where_needed(raw),
    ]


def _semantic(raw: Plain, layers: int | None) -> Iterator[Mistake]:
    semantic = section(raw, "semantic")
    if not semantic:
        return
    if not section(raw, "steering"):
        yield "semantic", "needs a section `steering`, whose source, questions and samples it shares."
    yield from layers_exist("semantic.layer", semantic.get("layer"), layers)
    yield from distinct("semantic.scales", semantic.get("scales"))
    topics = semantic.get("topics")
    for name, topic in topics.items() if isinstance(topics, dict) else ():
        if isinstance(topic, dict):
            yield from _metric(raw, f"semantic.topics.{name}.metric", topic.get("metric"))


def _matrix(raw: Plain, layers: int | None) -> Iterator[Mistake]:
    ablation = section(raw, "ablation")
    for key in ("only_layers", "matrix", "matrix_seeds"):
        yield from distinct(f"ablation.{key}", ablation.get(key))
    yield from layers_exist("ablation.only_layers", ablation.get("only_layers"), layers)
    for position, name in enumerate(listed(ablation.get("matrix"))):
        yield from reference(raw, "organisms", f"ablation.matrix.{position}", name)
        yield from direction_taken(raw, f"ablation.matrix.{position}", name)


def _single_adapter(raw: Plain) -> Iterator[Mistake]:
    single = section(raw, "single_adapter")
    if not single:
        return
    yield from reference(raw, "organisms", "single_adapter.organism", single.get("organism"))
    yield from direction_taken(raw, "single_adapter.organism", single.get("organism"))
    yield from reference(raw, "organisms", "single_adapter.source", single.get("source"))
    yield from direction_taken(raw, "single_adapter.source", single.get("source"))
    organism = organism_settings(raw, single.get("organism"))
    if organism is None:
        return
    carried, modules = organism.get("layers"), organism.get("modules")
    one = organism.get("rank") == 1 and all(isinstance(part, list) and len(part) == 1 for part in (carried, modules))
    if not one:
        name = single["organism"]
        yield "single_adapter.organism", f"organisms.{name} is not one adapter of rank 1 at one module of one layer."
    elif isinstance(modules, list) and modules not in (["down_proj"], ["o_proj"]):
        yield (
            "single_adapter.organism",
            f"{modules[0]} does not write into the residual stream; use down_proj or o_proj.",
        )


def _adapters(raw: Plain) -> Iterator[Mistake]:
    adapters = section(raw, "adapters")
    if not adapters:
        return
    yield from reference(raw, "organisms", "adapters.source", adapters.get("source"))
    yield from seed_trained(raw, "adapters.seed", adapters.get("source"), adapters.get("seed"))
    yield from reference(raw, "questions", "adapters.domain_questions", adapters.get("domain_questions"))
    yield from _metric(raw, "adapters.domain_metric", adapters.get("domain_metric"))
    organism = organism_settings(raw, adapters.get("source"))
    if organism is not None and organism.get("rank", 32) != 1:
        rank = organism.get("rank", 32)
        yield "adapters.source", f"organisms.{adapters['source']} has rank {rank}; scalars are of rank-1 adapters."
    asked = [section(raw, "sampling").get("questions"), section(raw, "directions").get("questions")]
    if isinstance(adapters.get("domain_questions"), str) and adapters["domain_questions"] in asked:
        yield "adapters.domain_questions", "is asked of every organism already; name questions of the trained domain."
    patching = adapters.get("patching")
    if isinstance(patching, dict):
        yield from distinct("adapters.patching.modes", patching.get("modes"))


def _training_path(raw: Plain) -> Iterator[Mistake]:
    path = section(raw, "training_path")
    if not path:
        return
    yield from reference(raw, "organisms", "training_path.organism", path.get("organism"))
    yield from seed_trained(raw, "training_path.seed", path.get("organism"), path.get("seed"))
    for key in ("steps", "scales", "windows"):
        yield from distinct(f"training_path.{key}", path.get(key))
    organism = organism_settings(raw, path.get("organism"))
    if organism is None:
        return
    every = organism.get("checkpoint_every")
    if every is None:
        name = path["organism"]
        yield (
            "training_path.organism",
            f"organisms.{name} keeps no checkpoints; give it checkpoint_every, for instance 5.",
        )
        return
    for key in ("steps", "windows"):
        for position, steps in enumerate(listed(path.get(key, [5, 10, 15] if key == "windows" else None))):
            if isinstance(steps, int) and isinstance(every, int) and every > 0 and steps % every:
                sentence = f"{steps} is no multiple of organisms.{path['organism']}.checkpoint_every, {every}."
                yield f"training_path.{key}.{position}", sentence


def _asked_where_needed(raw: Plain) -> Iterator[Mistake]:
    """judge.only: metrics that are not asked for anywhere else, or not where an experiment reads them."""
    judge = section(raw, "judge")
    only, metrics = judge.get("only"), judge.get("metrics", ["aligned", "coherent"])
    if not isinstance(only, dict) or not isinstance(metrics, list):
        return
    for metric, batteries in only.items():
        if metric in ("aligned", "coherent"):
            yield f"judge.only.{metric}", "is needed in every battery; leave it out here."
        elif isinstance(metric, str) and metric not in metrics:
            yield f"judge.only.{metric}", f"{metric!r} is not judged; add it to judge.metrics."
        for battery in listed(batteries):
            if listed(batteries).count(battery) > 1:
                yield f"judge.only.{metric}", f"{battery} stands there more than once."
                break
    needed = [(metric, where) for metric, where in _reads(raw) if isinstance(metric, str)]
    for metric, where in needed:
        for battery in where:
            if battery not in listed(only.get(metric, [battery])):
                yield f"judge.only.{metric}", f"lacks {battery!r}, where this study reads it."


def _reads(raw: Plain) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Metrics that the experiments read, and in which batteries."""
    topics = section(raw, "semantic").get("topics")
    for topic in topics.values() if isinstance(topics, dict) else ():
        if isinstance(topic, dict):
            yield topic.get("metric"), ("baseline", "semantic")
    adapters = section(raw, "adapters")
    if adapters:
        yield adapters.get("domain_metric"), ("baseline", *(("surgery",) if adapters.get("steering") else ()))


def _metric(raw: Plain, path: str, metric: Any) -> Iterator[Mistake]:
    metrics = section(raw, "judge").get("metrics", ["aligned", "coherent"])
    if isinstance(metric, str) and isinstance(metrics, list) and metric not in metrics:
        yield path, f"{metric!r} is not judged; add it to judge.metrics."
