rule base:
    output:
        ensure(layout.fingerprint, non_empty=True),
    log:
        log_of("base"),
    benchmark:
        benchmark_of("base")
    conda:
        ENVIRONMENT
    resources:
        **resources_for("base"),
    params:
        **tracked("base"),
    shell:
        "python -m workflow_scripts.base --study {params.study} &> {log}"
