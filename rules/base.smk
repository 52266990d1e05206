# The chat base.
# Reads the hub, a folder, a GGUF file, or nothing (the miniature is pre-trained). Makes base/ and the fingerprint of its
# weights.


rule base:
    output:
        ensure(layout.fingerprint, non_empty=True),
    log:
        log_of("base"),
    benchmark:
        benchmark_of("base")
    localrule: is_fetched(study.base)
    conda:
        ENVIRONMENT
    threads: threads_for("base")
    resources:
        **resources_for("base"),
    params:
        **tracked("base"),
    message:
        "The chat base, for all organisms"
    shell:
        "python -m workflow_scripts.base --study {params.study:q} &> {log:q}"
