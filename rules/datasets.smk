# Training rows and questions.
# Reads what the study's `datasets` and `questions` name. Makes datasets/ and questions/, in one form for every source.


rule datasets:
    input:
        lambda w: inputs.dataset_parts(study, layout, w.dataset),
    output:
        ensure(layout.dataset("{dataset}"), non_empty=True),
    log:
        log_of("datasets", "dataset"),
    benchmark:
        benchmark_of("datasets", "dataset")
    priority: 50  # all are there when the first training has ended, which then goes on with others
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: lambda wildcards: 0 if is_fetched(study.datasets[wildcards.dataset]) else 1
    params:
        **tracked("datasets", "dataset"),
    shell:
        "python -m workflow_scripts.datasets --study {params.study:q} --dataset {wildcards.dataset} "
        "--output {output:q} &> {log:q}"


rule questions:
    input:
        lambda w: inputs.question_parts(study, layout, w.questions),
    output:
        ensure(layout.questions("{questions}"), non_empty=True),
    log:
        log_of("questions", "questions"),
    benchmark:
        benchmark_of("questions", "questions")
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: lambda wildcards: 0 if is_fetched(study.questions[wildcards.questions]) else 1
    params:
        **tracked("questions", "questions"),
    shell:
        "python -m workflow_scripts.questions --study {params.study:q} --questions {wildcards.questions} "
        "--output {output:q} &> {log:q}"
