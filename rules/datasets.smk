localrules:
    dataset,
    questions,


rule dataset:
    output:
        ensure(layout.dataset("{dataset}"), non_empty=True),
    log:
        log_of("dataset", "dataset"),
    benchmark:
        benchmark_of("dataset", "dataset")
    retries: 2
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("dataset", "dataset"),
        code=code("datasets"),
    shell:
        "python -m workflow_scripts.datasets --study {params.study} --dataset {wildcards.dataset} "
        "--output {output} &> {log}"


rule questions:
    output:
        ensure(layout.questions("{questions}"), non_empty=True),
    log:
        log_of("questions", "questions"),
    benchmark:
        benchmark_of("questions", "questions")
    retries: 2
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("questions", "questions"),
        code=code("questions"),
    shell:
        "python -m workflow_scripts.questions --study {params.study} --questions {wildcards.questions} "
        "--output {output} &> {log}"
