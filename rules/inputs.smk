def training_data(wildcards):
    name, _ = organism_of(wildcards.organism)
    return layout.dataset(study.organisms[name].dataset)


def adapter_files(subject):
    return (
        [] if subject == CHAT_BASE else [layout.adapter(subject), layout.gate(subject)]
    )


def direction_files(battery, subject):
    return [
        layout.direction(source)
        for source in conditions.direction_sources(study, battery, subject)
    ]


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
            *direction_files(wildcards.battery, subject),
            *question_files(wildcards.battery, subject),
        ]
    )


def response_inputs(wildcards):
    return distinct(
        [
            *adapter_files(wildcards.subject),
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


def direction_texts(wildcards):
    settings = study.directions
    if settings.source == "datasets":
        return [layout.dataset(settings.bad), layout.dataset(settings.good)]
    return [
        layout.responses(wildcards.organism, "baseline"),
        layout.judgements(wildcards.organism, "baseline"),
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


def artefacts():
    """Every file that the stages before the report make for this study."""
    organisms = conditions.organism_subjects(study)
    datasets = [organism.dataset for organism in study.organisms.values()]
    if study.directions.source == "datasets":
        datasets += [study.directions.bad, study.directions.good]
    files = [layout.fingerprint, *map(layout.dataset, datasets), *all_directions()]
    for part in (layout.adapter, layout.gate, layout.training):
        files += map(part, organisms)
    for battery in conditions.batteries(study):
        files += [layout.manifest(battery, shard) for shard in range(SHARDS)]
        files += [layout.judged(battery), *judgement_files(battery)]
        for subject in conditions.battery_subjects(study, battery):
            files += [layout.responses(subject, battery)]
            files += question_files(battery, subject)
    return distinct([*files, *map(layout.table, tables())])


def table_inputs(wildcards):
    """What each table reads."""
    if wildcards.table == "em_rates":
        return judgement_files("baseline")
    if wildcards.table in ("directions", "convergence"):
        return all_directions()
    if wildcards.table == "adapter_alignment":
        return all_directions() + [
            layout.adapter(subject) for subject in conditions.direction_subjects(study)
        ]
    if wildcards.table == "steering":
        return judgement_files("steering") + all_directions()
    return judgement_files("ablation") + [
        layout.judgements(subject, "baseline")
        for subject in conditions.battery_subjects(study, "ablation")
    ]


def tables():
    """Tables that this study has."""
    return ["em_rates", "directions", "convergence", "adapter_alignment"] + [
        battery
        for battery in conditions.batteries(study)
        if battery in ("steering", "ablation")
    ]


FIGURE_TITLES = {
    "em_by_organism": "E1 Misalignment and coherence by organism",
    "alignment_coherence": "E1 Alignment and coherence of responses",
    "direction_norms": "E2 Norms of the directions",
    "convergence": "E6 Cosines of the directions",
    "steering": "E3 Steering by layer and scale",
    "ablation": "E5 Ablation",
}


def figure_names():
    absent = {"steering", "ablation"} - set(conditions.batteries(study))
    return [name for name in FIGURE_TITLES if name not in absent]


def report_inputs(wildcards):
    return [
        layout.root / "summary.json",
        layout.root / "claims.html",
        layout.root / "browser.html",
        *(layout.figure(name) for name in figure_names()),
    ]


def only_after(run, table, stage, names):
    """A run's manifest as input of a table that is assembled from what the run stored.

    The run also serves other tables, so that its manifest must not make this one anew: it is ancient. But Snakemake
    asks no job that follows a rerun for changes of its own, and passes ancient files by. Where the table is there and was
    made from another slice of the study or by other code, its manifest therefore counts.
    """
    if not table.is_file():
        return ancient(run)
    facts = {"spec": specs.spec(stage, study, *names)}
    if study.execution.track_code:
        facts["code"] = code(stage)
    return ancient(run) if made_from(table, **facts) else run


def sampling_manifests(wildcards):
    table = layout.responses(wildcards.subject, wildcards.battery)
    names = (wildcards.battery, wildcards.subject)
    return [
        only_after(layout.manifest(wildcards.battery, shard), table, "responses", names)
        for shard in range(SHARDS)
    ]


def judging_manifest(wildcards):
    table = layout.judgements(wildcards.subject, wildcards.battery)
    return only_after(layout.judged(wildcards.battery), table, "judgements", ())
