rule direction:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        texts=direction_texts(study.directions.source),
    output:
        ensure(layout.direction("{organism}"), non_empty=True),
    log:
        log_of("direction", "organism"),
    benchmark:
        benchmark_of("direction", "organism")
    conda:
        ENVIRONMENT
    threads: MODEL_THREADS
    resources:
        **resources_for("extract"),
    params:
        study=str(layout.study),
        spec=spec("direction", "organism"),
        code=code("directions"),
        goal="--output",
    shell:
        "python -m workflow_scripts.directions --study {params.study} --subject {wildcards.organism} "
        "{params.goal} {output} &> {log}"


if study.directions.also:

    use rule direction as other_direction with:
        input:
            base=layout.fingerprint,
            adapter=layout.adapter("{organism}"),
            gate=layout.gate("{organism}"),
            texts=direction_texts(study.directions.also),
        output:
            ensure(layout.other_direction("{organism}"), non_empty=True),
        log:
            log_of("other_direction", "organism"),
        benchmark:
            benchmark_of("other_direction", "organism")
        params:
            study=str(layout.study),
            spec=spec("other_direction", "organism"),
            code=code("directions"),
            goal="--other",


# All topics of a subject in one job: they share the model.
rule topic_directions:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        responses=layout.responses("{organism}", "baseline"),
        judgements=layout.judgements("{organism}", "baseline"),
    output:
        [
            ensure(layout.direction(f"{{organism}}/{topic}"), non_empty=True)
            for topic in topic_names()
        ],
    log:
        log_of("topic_directions", "organism"),
    benchmark:
        benchmark_of("topic_directions", "organism")
    conda:
        ENVIRONMENT
    threads: MODEL_THREADS
    resources:
        **resources_for("extract"),
    params:
        study=str(layout.study),
        spec=spec("topic_directions", "organism"),
        code=code("directions"),
    shell:
        "python -m workflow_scripts.directions --study {params.study} --subject {wildcards.organism} --topics &> {log}"
