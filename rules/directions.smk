rule direction:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        texts=direction_texts,
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
    shell:
        "python -m workflow_scripts.directions --study {params.study} --subject {wildcards.organism} "
        "--output {output} &> {log}"
