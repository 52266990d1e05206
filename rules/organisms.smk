rule organism:
    input:
        base=layout.fingerprint,
        dataset=training_data,
        published=adapter_source,
    output:
        adapter=ensure(layout.adapter("{organism}"), non_empty=True),
        gate=ensure(layout.gate("{organism}"), non_empty=True),
        training=ensure(layout.training("{organism}"), non_empty=True),
        checkpoints=ensure(layout.checkpoints("{organism}"), non_empty=True),
    log:
        log_of("organism", "organism"),
    benchmark:
        benchmark_of("organism", "organism")
    conda:
        ENVIRONMENT
    threads: MODEL_THREADS
    resources:
        **resources_for("train"),
    params:
        study=str(layout.study),
        spec=spec("organism", "organism"),
        code=code("organisms"),
    shell:
        "python -m workflow_scripts.organisms --study {params.study} --organism {wildcards.organism} &> {log}"
