localrules:
    judgements,


def rubric_files():
    """Rubrics of the user's own, so that an edit of the file counts."""
    rubrics = getattr(study.judge, "rubrics", None)
    return [rubrics.path] if rubrics and rubrics.path else []


def judge_files():
    """A local judge that is the study's own base waits for it."""
    own = getattr(study.judge, "model", "none") is None
    return rubric_files() + ([layout.fingerprint] if own else [])


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
    threads: JUDGE_THREADS
    resources:
        **resources_for("judge"),
    params:
        spec=spec("judge"),
        code=code("judging"),
    shell:
        "python -m workflow_scripts.judging --study {layout.study} --battery {wildcards.battery} "
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
    params:
        spec=spec("judgements"),
        code=code("judgements"),
    shell:
        "python -m workflow_scripts.judgements --study {layout.study} --subject {wildcards.subject} "
        "--battery {wildcards.battery} --output {output} &> {log}"
