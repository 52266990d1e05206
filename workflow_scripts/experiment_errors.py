"""What is wrong with the sections of single experiments (semantic, single_adapter, adapters, training_path).

As study_errors, on plain data: these are reported even where other parts of the study are malformed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workflow_scripts.spelling import nearest

Mistake = tuple[str, str]
Plain = dict[str, Any]


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
    semantic = _section(raw, "semantic")
    if not semantic:
        return
    if not _section(raw, "steering"):
        yield "semantic", "needs a section `steering`, whose source, questions and samples it shares."
    yield from _layer("semantic.layer", semantic.get("layer"), layers)
    yield from _distinct("semantic.scales", semantic.get("scales"))
    topics = semantic.get("topics")
    for name, topic in topics.items() if isinstance(topics, dict) else ():
        if isinstance(topic, dict):
            yield from _metric(raw, f"semantic.topics.{name}.metric", topic.get("metric"))


def _matrix(raw: Plain, layers: int | None) -> Iterator[Mistake]:
    ablation = _section(raw, "ablation")
    for key in ("only_layers", "matrix", "matrix_seeds"):
        yield from _distinct(f"ablation.{key}", ablation.get(key))
    for layer in _list(ablation.get("only_layers")):
        yield from _layer("ablation.only_layers", layer, layers)
    for position, name in enumerate(_list(ablation.get("matrix"))):
        yield from _with_direction(raw, f"ablation.matrix.{position}", name)


def _single_adapter(raw: Plain) -> Iterator[Mistake]:
    single = _section(raw, "single_adapter")
    if not single:
        return
    yield from _with_direction(raw, "single_adapter.organism", single.get("organism"))
    yield from _with_direction(raw, "single_adapter.source", single.get("source"))
    organism = _organism(raw, single.get("organism"))
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
    adapters = _section(raw, "adapters")
    if not adapters:
        return
    yield from _reference(raw, "organisms", "adapters.source", adapters.get("source"))
    yield from _seed(raw, "adapters", adapters.get("source"), adapters.get("seed"))
    yield from _reference(raw, "questions", "adapters.domain_questions", adapters.get("domain_questions"))
    yield from _metric(raw, "adapters.domain_metric", adapters.get("domain_metric"))
    organism = _organism(raw, adapters.get("source"))
    if organism is not None and organism.get("rank", 32) != 1:
        rank = organism.get("rank", 32)
        yield "adapters.source", f"organisms.{adapters['source']} has rank {rank}; scalars are of rank-1 adapters."
    asked = [_section(raw, "sampling").get("questions"), _section(raw, "directions").get("questions")]
    if isinstance(adapters.get("domain_questions"), str) and adapters["domain_questions"] in asked:
        yield "adapters.domain_questions", "is asked of every organism already; name questions of the trained domain."
    patching = adapters.get("patching")
    if isinstance(patching, dict):
        yield from _distinct("adapters.patching.modes", patching.get("modes"))


def _training_path(raw: Plain) -> Iterator[Mistake]:
    path = _section(raw, "training_path")
    if not path:
        return
    yield from _reference(raw, "organisms", "training_path.organism", path.get("organism"))
    yield from _seed(raw, "training_path", path.get("organism"), path.get("seed"))
    for key in ("steps", "scales", "windows"):
        yield from _distinct(f"training_path.{key}", path.get(key))
    organism = _organism(raw, path.get("organism"))
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
        for position, steps in enumerate(_list(path.get(key, [5, 10, 15] if key == "windows" else None))):
            if isinstance(steps, int) and isinstance(every, int) and every > 0 and steps % every:
                sentence = f"{steps} is no multiple of organisms.{path['organism']}.checkpoint_every, {every}."
                yield f"training_path.{key}.{position}", sentence


def _section(raw: Plain, name: str) -> Plain:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _organism(raw: Plain, name: Any) -> Plain | None:
    found = _section(raw, "organisms").get(str(name))
    return found if isinstance(found, dict) else None


def _reference(raw: Plain, kind: str, path: str, value: Any) -> Iterator[Mistake]:
    known = _section(raw, kind)
    if isinstance(value, str) and value not in known:
        yield path, f"no {kind.rstrip('s')} is named {value!r}{nearest(value, known)}"


def _with_direction(raw: Plain, path: str, name: Any) -> Iterator[Mistake]:
    yield from _reference(raw, "organisms", path, name)
    organism, listed = _organism(raw, name), _section(raw, "directions").get("organisms")
    if organism is None:
        return
    taken = name in listed if isinstance(listed, list) else organism.get("expect_misaligned", True)
    if not taken:
        yield path, f"no direction is taken of {name!r}; add it to directions.organisms."


def _seed(raw: Plain, section: str, organism: Any, seed: Any) -> Iterator[Mistake]:
    settings = _organism(raw, organism)
    trained = settings.get("seeds", [0]) if settings else None
    if isinstance(trained, list) and isinstance(seed, int) and seed not in trained:
        has = ", ".join(str(known) for known in trained)
        yield f"{section}.seed", f"organisms.{organism} has no seed {seed}; it has {has}."


def _asked_where_needed(raw: Plain) -> Iterator[Mistake]:
    """judge.only: metrics that are not asked for anywhere else, or not where an experiment reads them."""
    judge = _section(raw, "judge")
    only, metrics = judge.get("only"), judge.get("metrics", ["aligned", "coherent"])
    if not isinstance(only, dict) or not isinstance(metrics, list):
        return
    for metric, batteries in only.items():
        if metric in ("aligned", "coherent"):
            yield f"judge.only.{metric}", "is needed in every battery; leave it out here."
        elif isinstance(metric, str) and metric not in metrics:
            yield f"judge.only.{metric}", f"{metric!r} is not judged; add it to judge.metrics."
        for battery in _list(batteries):
            if _list(batteries).count(battery) > 1:
                yield f"judge.only.{metric}", f"{battery} stands there more than once."
                break
    needed = [(metric, where) for metric, where in _reads(raw) if isinstance(metric, str)]
    for metric, where in needed:
        for battery in where:
            if battery not in _list(only.get(metric, [battery])):
                yield f"judge.only.{metric}", f"lacks {battery!r}, where this study reads it."


def _reads(raw: Plain) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Metrics that the experiments read, and in which batteries."""
    topics = _section(raw, "semantic").get("topics")
    for topic in topics.values() if isinstance(topics, dict) else ():
        if isinstance(topic, dict):
            yield topic.get("metric"), ("baseline", "semantic")
    adapters = _section(raw, "adapters")
    if adapters:
        yield adapters.get("domain_metric"), ("baseline", *(("surgery",) if adapters.get("steering") else ()))


def _metric(raw: Plain, path: str, metric: Any) -> Iterator[Mistake]:
    metrics = _section(raw, "judge").get("metrics", ["aligned", "coherent"])
    if isinstance(metric, str) and isinstance(metrics, list) and metric not in metrics:
        yield path, f"{metric!r} is not judged; add it to judge.metrics."


def _layer(path: str, layer: Any, layers: int | None) -> Iterator[Mistake]:
    if layers is not None and isinstance(layer, int) and not isinstance(layer, bool) and layer >= layers:
        yield path, f"layer {layer} does not exist; the base model has layers 0 to {layers - 1}."


def _distinct(path: str, value: Any) -> Iterator[Mistake]:
    shown = [str(item) for item in _list(value)]
    for item in dict.fromkeys(shown):
        if shown.count(item) > 1:
            yield path, f"{item} stands there more than once."
