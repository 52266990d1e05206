# Judgements.
# Reads responses. `judge_model` fetches a judge of the hub into judge_model/. `judging` asks the judge for what the store
# lacks and makes judging/; `judgements` gathers judgements/<subject>/<battery> from it.


rule judge_model:
    output:
        ensure(layout.judge_model / inputs.MODEL_CONFIG, non_empty=True),
    log:
        log_of("judge_model"),
    benchmark:
        benchmark_of("judge_model")
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: 0
    params:
        **tracked("judge_model"),
    message:
        "The judge's model, from the hub"
    shell:
        "python -m workflow_scripts.judge_model --study {params.study:q} &> {log:q}"


rule judging:
    input:
        judge=inputs.judge_files(study, layout),
        responses=lambda w: inputs.battery_responses(study, layout, w.battery),
    output:
        ensure(layout.judged("{battery}"), non_empty=True),
    log:
        log_of("judging", "battery"),
    benchmark:
        benchmark_of("judging", "battery")
    localrule: study.judge.source != "local"
    conda:
        ENVIRONMENT
    threads: threads_for("judge")
    resources:
        **resources_for("judge"),
    params:
        **tracked("judging"),
    message:
        "Battery {wildcards.battery}: scores that the store lacks"
    shell:
        "python -m workflow_scripts.judging --study {params.study:q} --battery {wildcards.battery} "
        "--output {output:q} &> {log:q}"


rule judgements:
    input:
        rubrics=inputs.rubric_files(study),
        responses=layout.responses("{subject}", "{battery}"),
        judged=judging_manifest,
    output:
        ensure(layout.judgements("{subject}", "{battery}"), non_empty=True),
    log:
        log_of("judgements", "subject", "battery"),
    benchmark:
        benchmark_of("judgements", "subject", "battery")
    priority: 50  # all are there when the first direction is taken, whose job then goes on with others
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("judgements"),
    message:
        "{wildcards.subject}: scores of battery {wildcards.battery}, from the store"
    shell:
        "python -m workflow_scripts.judgements --study {params.study:q} --subject {wildcards.subject} "
        "--battery {wildcards.battery} --output {output:q} &> {log:q}"
