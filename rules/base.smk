rule base:
    output:
        ensure(layout.fingerprint, non_empty=True),
    log:
        log_of("base"),
    benchmark:
        benchmark_of("base")
    threads: ENGINE_THREADS
    resources:
        **resources_for("base"),
    params:
        spec=spec("base"),
        code=code("base"),
    shell:
        "python -m workflow_scripts.base --study {layout.study} --threads {threads} &> {log}"
