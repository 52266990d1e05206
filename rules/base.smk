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
        # Threads of the pre-training wait a moment before they sleep: most operations of so small a model are shorter
        # than it takes to wake one.
        "GOMP_SPINCOUNT=${{GOMP_SPINCOUNT:-1000}} python -m workflow_scripts.base --study {params.study:q} &> {log:q}"
