localrules:
    judgements,


rule judge:
    input:
        judge=judge_files(),
        responses=lambda wildcards: [
            layout.responses(subject, wildcards.battery)
            for subject in conditions.battery_subjects(study, wildcards.battery)
        ],
    output:
        ensure(layout.judged("{battery}"), non_empty=True),
    log:
        log_of("judge", "battery"),
    benchmark:
        benchmark_of("judge", "battery")
    conda:
        ENVIRONMENT
    threads: JUDGE_THREADS
    resources:
        **resources_for("judge"),
    params:
        study=str(layout.study),
        spec=spec("judge"),
        code=code("judging"),
    shell:
        "python -m workflow_scripts.judging --study {params.study} --battery {wildcards.battery} "
        "--output {output} &> {log}"


rule judgements:
    input:
        rubrics=rubric_files(),
        responses=layout.responses("{subject}", "{battery}"),
        judged=ancient(layout.judged("{battery}")),
    output:
        ensure(layout.judgements("{subject}", "{battery}"), non_empty=True),
    log:
        log_of("judgements", "subject", "battery"),
    benchmark:
        benchmark_of("judgements", "subject", "battery")
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("judgements"),
        code=code("judgements"),
    shell:
        "python -m workflow_scripts.judgements --study {params.study} --subject {wildcards.subject} "
        "--battery {wildcards.battery} --output {output} &> {log}"
