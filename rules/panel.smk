# A panel of judges.
# The further judges of a study read the same responses: each makes panel/<judge>/judging and panel/<judge>/judgements, as
# the rules of judgements.smk do for the first. `panel` makes the ledger of each of them from these, and panel.json, which
# says what depends on who judges. `calibration` holds a judge's scores against a reference judge's.


for judge in study.judges:
    read, place = panel.read_by(study, judge), layout.read_by(judge)

    rule:
        name:
            f"judge_model_{judge}"
        output:
            ensure(place.judge_model / inputs.MODEL_CONFIG, non_empty=True),
        log:
            log_of(f"judge_model-{judge}"),
        benchmark:
            benchmark_of(f"judge_model-{judge}")
        retries: 2
        localrule: True
        conda:
            ENVIRONMENT
        threads: 0
        params:
            **tracked("judge_model", read=read),
            judge=judge,
        message:
            "The model of judge {params.judge}, from the hub"
        shell:
            "python -m workflow_scripts.judge_model --study {params.study:q} --judge {params.judge} &> {log:q}"

    rule:
        name:
            f"judging_{judge}"
        input:
            judge=inputs.judge_files(read, place),
            responses=lambda w, read=read: inputs.battery_responses(
                read, layout, w.battery
            ),
        output:
            ensure(place.judged("{battery}"), non_empty=True),
        log:
            log_of(f"judging-{judge}", "battery"),
        benchmark:
            benchmark_of(f"judging-{judge}", "battery")
        localrule: read.judge.source != "local"
        conda:
            ENVIRONMENT
        threads: threads_for("judge", read)
        resources:
            **resources_for("judge", read),
        params:
            **tracked("judging", read=read),
            judge=judge,
        message:
            "Battery {wildcards.battery}: scores by judge {params.judge} that the store lacks"
        shell:
            "python -m workflow_scripts.judging --study {params.study:q} --battery {wildcards.battery} "
            "--judge {params.judge} --output {output:q} &> {log:q}"

    rule:
        name:
            f"judgements_{judge}"
        input:
            rubrics=inputs.rubric_files(read),
            responses=layout.responses("{subject}", "{battery}"),
            judged=lambda w, read=read, place=place: judging_manifest(w, read, place),
        output:
            ensure(place.judgements("{subject}", "{battery}"), non_empty=True),
        log:
            log_of(f"judgements-{judge}", "subject", "battery"),
        benchmark:
            benchmark_of(f"judgements-{judge}", "subject", "battery")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            **tracked("judgements", read=read),
            judge=judge,
        message:
            "{wildcards.subject}: scores of battery {wildcards.battery} by judge {params.judge}, from the store"
        shell:
            "python -m workflow_scripts.judgements --study {params.study:q} --subject {wildcards.subject} "
            "--battery {wildcards.battery} --judge {params.judge} --output {output:q} &> {log:q}"


rule calibration:
    input:
        inputs.calibration_files(study, layout) if study.calibration else [],
    output:
        ensure(layout.calibration, non_empty=True),
    log:
        log_of("calibration"),
    benchmark:
        benchmark_of("calibration")
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("calibration"),
    message:
        "A judge's scores against a reference judge's"
    shell:
        "python -m workflow_scripts.calibration --study {params.study:q} --output {output:q} &> {log:q}"


rule panel:
    input:
        judgements=inputs.judged_by_others(study, layout),
        tables=TABLES,
        claims=layout.root / "claims.json",
        not_possible=layout.not_possible,
    output:
        json=layout.panel,
        text=layout.panel.with_suffix(".txt"),
        page=report(
            layout.panel.with_suffix(".html"),
            category="Claims",
            caption="captions/panel.rst",
            labels={"table": "claims, by each judge"},
        ),
    log:
        log_of("panel"),
    benchmark:
        benchmark_of("panel")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked_figures("panel"),
        claims=file_digest(CLAIMS),
    shell:
        "python -m workflow_scripts.panel --study {params.study:q} &> {log:q}"
