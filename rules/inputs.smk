def training_data(wildcards):
    settings = study.organisms[organism_of(wildcards.organism)[0]]
    names = [settings.dataset, settings.test_dataset]
    return [layout.dataset(name) for name in names if name]


def adapter_source(wildcards):
    """Files of an adapter in a folder of the user's own, so that an exchanged one counts."""
    adapter = study.organisms[organism_of(wildcards.organism)[0]].adapter
    if not adapter or not adapter.path:
        return []
    return [Path(adapter.path) / name for name in (CONFIG, WEIGHTS)]


def adapter_files(subject):
    return (
        [] if subject == CHAT_BASE else [layout.adapter(subject), layout.gate(subject)]
    )


def direction_files(battery, subject):
    return [
        layout.direction(source)
        for source in conditions.direction_sources(study, battery, subject)
    ]


def edited_files(battery, subject):
    wanted = conditions.conditions(study, battery, subject)
    return [layout.edits(subject)] if any(c.edit for c in wanted) else []


def edit_inputs(wildcards):
    """What the edits of a subject are made of, beside its adapter."""
    modes = {
        c.edit.mode for c in conditions.conditions(study, "surgery", wildcards.organism)
    }
    return [
        *([layout.adapter_names(wildcards.organism)] if "scaled" in modes else []),
        *([layout.checkpoints(wildcards.organism)] if "checkpoint" in modes else []),
        *downstream_directions(wildcards),
    ]


def downstream_directions(wildcards):
    return [
        layout.direction(source)
        for source in conditions.edit_sources(study, wildcards.organism)
    ]


def topic_names():
    return list(study.semantic.topics) if study.semantic else []


def topic_files():
    subject = conditions.topic_subject(study)
    return [layout.direction(f"{subject}/{topic}") for topic in topic_names()]


def question_files(battery, subject):
    return [
        layout.questions(use.questions)
        for use in conditions.question_uses(study, battery, subject)
    ]


def distinct(paths):
    return list(dict.fromkeys(paths))


def sampling_inputs(wildcards):
    subjects = shard_subjects(
        conditions.battery_subjects(study, wildcards.battery),
        int(wildcards.shard),
        SHARDS,
    )
    return distinct(
        path
        for subject in subjects
        for path in [
            *adapter_files(subject),
            *edited_files(wildcards.battery, subject),
            *direction_files(wildcards.battery, subject),
            *question_files(wildcards.battery, subject),
        ]
    )


def response_inputs(wildcards):
    return distinct(
        [
            *adapter_files(wildcards.subject),
            *edited_files(wildcards.battery, wildcards.subject),
            *direction_files(wildcards.battery, wildcards.subject),
            *question_files(wildcards.battery, wildcards.subject),
        ]
    )


def rubric_files():
    """Rubrics of the user's own, so that an edit of the file counts."""
    rubrics = getattr(study.judge, "rubrics", None)
    return [rubrics.path] if rubrics and rubrics.path else []


def judge_files():
    """A local judge that is the study's own base waits for it."""
    own = getattr(study.judge, "model", "none") is None
    return rubric_files() + ([layout.fingerprint] if own else [])


def direction_texts(source):
    """What a subject's direction is taken from, by the source of directions."""
    if source == "datasets":
        return [
            layout.dataset(study.directions.bad),
            layout.dataset(study.directions.good),
        ]
    return [
        layout.responses("{organism}", "baseline"),
        layout.judgements("{organism}", "baseline"),
    ]


def judgement_files(battery):
    return [
        layout.judgements(subject, battery)
        for subject in conditions.battery_subjects(study, battery)
    ]


def all_directions():
    return [
        layout.direction(subject) for subject in conditions.direction_subjects(study)
    ]


def other_directions():
    subjects = conditions.direction_subjects(study) if study.directions.also else []
    return [layout.other_direction(subject) for subject in subjects]


def battery_judgements(battery):
    """Judgements of a battery, and of its subjects' baseline, which they are held against."""
    return judgement_files(battery) + [
        layout.judgements(subject, "baseline")
        for subject in conditions.battery_subjects(study, battery)
    ]


def steering_inputs():
    return battery_judgements("steering") + all_directions()


def single_adapter_inputs():
    subjects = conditions.single_adapter_subjects(study)
    return battery_judgements("surgery") + [layout.downstream(s) for s in subjects]


def training_path_inputs():
    subject = conditions.subject_of(study.training_path, study)
    return [
        layout.checkpoints(subject),
        layout.training(subject),
        layout.judgements(subject, "surgery"),
    ]


def semantic_inputs():
    source = conditions.topic_subject(study)
    return [
        *judgement_files("semantic"),
        *topic_files(),
        layout.direction(source),
        layout.judgements(source, "baseline"),
    ]


def adapter_inputs():
    return [layout.adapter(subject) for subject in conditions.direction_subjects(study)]


# Table -> what it reads; sections that a study lacks have none.
TABLE_INPUTS = {
    "em_rates": lambda: judgement_files("baseline"),
    "directions": all_directions,
    "convergence": lambda: all_directions() + other_directions(),
    "adapter_alignment": lambda: all_directions() + adapter_inputs(),
    **({"steering": steering_inputs} if study.steering else {}),
    **({"semantic": semantic_inputs} if study.semantic else {}),
    **({"ablation": lambda: battery_judgements("ablation")} if study.ablation else {}),
    **({"single_adapter": single_adapter_inputs} if study.single_adapter else {}),
}
if study.adapters:
    ADAPTERS = conditions.subject_of(study.adapters, study)
    TABLE_INPUTS["adapter_probes"] = lambda: [layout.probes(ADAPTERS)]
    if study.adapters.steering:
        TABLE_INPUTS["adapter_steering"] = lambda: battery_judgements("surgery")
    if study.adapters.patching:
        TABLE_INPUTS["patching"] = lambda: judgement_files("patching")
if study.training_path:
    TABLE_INPUTS["training_path"] = training_path_inputs


def artefacts():
    """Every file that the stages before the report make for this study."""
    organisms = conditions.organism_subjects(study)
    datasets = [
        name
        for organism in study.organisms.values()
        for name in (organism.dataset, organism.test_dataset)
        if name
    ]
    if conditions.directions_from(study, "datasets"):
        datasets += [study.directions.bad, study.directions.good]
    files = [layout.fingerprint, *map(layout.dataset, datasets)]
    files += [*all_directions(), *other_directions()]
    for part in (layout.adapter, layout.gate, layout.training, layout.checkpoints):
        files += map(part, organisms)
    files += topic_files()
    files += map(layout.edits, conditions.surgery_subjects(study))
    files += map(layout.downstream, conditions.single_adapter_subjects(study))
    if study.adapters:
        for part in (layout.scalars, layout.probes, layout.adapter_names):
            files.append(part(conditions.subject_of(study.adapters, study)))
    for battery in conditions.sampled_batteries(study):
        files += [layout.manifest(battery, shard) for shard in range(SHARDS)]
        for subject in conditions.battery_subjects(study, battery):
            files += question_files(battery, subject)
    for battery in conditions.batteries(study):
        files += [layout.judged(battery), *judgement_files(battery)]
        for subject in conditions.battery_subjects(study, battery):
            files += [layout.responses(subject, battery)]
    return distinct([*files, *map(layout.table, tables())])


def table_inputs(wildcards):
    return TABLE_INPUTS[wildcards.table]()


def tables():
    """Tables that this study has."""
    return list(TABLE_INPUTS)


# Figure -> its title in the report, and the table that it needs.
FIGURES = {
    "em_by_organism": ("E1 Misalignment and coherence by organism", "em_rates"),
    "alignment_coherence": ("E1 Alignment and coherence of responses", "em_rates"),
    "direction_norms": ("E2 Norms of the directions", "directions"),
    "steering": ("E3 Steering by layer and scale", "steering"),
    "steering_by_layer": ("E3 Most misalignment by layer", "steering"),
    "semantic": ("E4 Semantic directions", "semantic"),
    "ablation": ("E5 Ablation", "ablation"),
    "transfer": ("E5 Transfer from every organism to every other", "ablation"),
    "convergence": ("E6 Cosines of the directions", "convergence"),
    "single_adapter": ("E7 The single adapter and the direction", "single_adapter"),
    "self_correction": ("E8 Self-correction under steering", "steering"),
    "adapter_probes": ("E9 Probes on the adapters' scalars", "adapter_probes"),
    "adapter_steering": ("E10 Sets of adapters scaled", "adapter_steering"),
    "patching": ("E11 Scalar patching", "patching"),
    "training_path": ("X1 The adapter along its training", "training_path"),
}


def figure_names():
    missing = set()
    if "bad_stuff" not in study.judge.metrics:
        missing.add("self_correction")
    return [
        name
        for name, (_, table) in FIGURES.items()
        if table in TABLE_INPUTS and name not in missing
    ]


def report_inputs(wildcards):
    return [
        layout.root / "summary.json",
        layout.root / "claims.html",
        layout.root / "browser.html",
        *(layout.figure(name) for name in figure_names()),
    ]


def only_after(run, table, stage, names, reads):
    """A run's manifest as input of a table that is assembled from what the run stored.

    The run also serves other tables, so that its manifest must not make this one anew: it is ancient. But Snakemake
    asks no job that follows a rerun for changes of its own, and passes ancient files by. Where the table is there and was
    made from another slice of the study, by other code or before a file that it reads, its manifest therefore counts.
    """
    if not table.is_file():
        return ancient(run)
    made = table.stat().st_mtime
    if any(file.is_file() and file.stat().st_mtime > made for file in reads):
        return run
    facts = {"spec": specs.spec(stage, study, *names)}
    if study.execution.track_code:
        facts["code"] = code(stage)
    return ancient(run) if made_from(table, **facts) else run


def sampling_manifests(wildcards):
    table = layout.responses(wildcards.subject, wildcards.battery)
    names = (wildcards.battery, wildcards.subject)
    reads = response_inputs(wildcards)
    return [
        only_after(
            layout.manifest(wildcards.battery, shard), table, "responses", names, reads
        )
        for shard in range(SHARDS)
    ]


def judging_manifest(wildcards):
    table = layout.judgements(wildcards.subject, wildcards.battery)
    reads = [layout.responses(wildcards.subject, wildcards.battery)]
    return only_after(layout.judged(wildcards.battery), table, "judgements", (), reads)
