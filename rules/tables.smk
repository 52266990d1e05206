localrules:
    table,
    summary,


def judgement_files(battery):
    return [
        layout.judgements(subject, battery)
        for subject in conditions.battery_subjects(study, battery)
    ]


def all_directions():
    return [
        layout.direction(subject) for subject in conditions.direction_subjects(study)
    ]


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


rule table:
    input:
        table_inputs,
    output:
        ensure(layout.table("{table}"), non_empty=True),
    log:
        log_of("table", "table"),
    benchmark:
        benchmark_of("table", "table")
    wildcard_constraints:
        table="|".join(tables()),
    params:
        spec=lambda wildcards: specs.spec(wildcards.table, study),
        code=code("tables"),
    shell:
        "python -m workflow_scripts.tables --study {layout.study} --table {wildcards.table} "
        "--output {output} &> {log}"


rule summary:
    input:
        [layout.table(name) for name in tables()],
    output:
        json=report(
            layout.root / "summary.json",
            category="Tables",
            caption="captions/summary.rst",
            labels={"table": "summary, as JSON"},
        ),
        text=layout.root / "summary.txt",
        page=report(
            layout.root / "summary.html",
            category="Tables",
            caption="captions/summary.rst",
            labels={"table": "summary"},
        ),
    log:
        log_of("summary"),
    benchmark:
        benchmark_of("summary")
    params:
        spec=spec("summary"),
        code=code("summary"),
    shell:
        "python -m workflow_scripts.summary --study {layout.study} --tables {input} &> {log}"
