# Responses.
# Reads base, adapters, directions and questions, as the battery's conditions need them. `sampling` fills the store
# (results/store) with what it lacks and makes sampling/; `responses` gathers responses/<subject>/<battery> from it.


# One engine for all subjects and conditions of a battery; it fills the store with what is missing there.
rule sampling:
    input:
        base=layout.fingerprint,
        parts=lambda w: inputs.sampling_inputs(study, layout, w.battery, int(w.shard)),
    output:
        ensure(layout.manifest("{battery}", "{shard}"), non_empty=True),
    log:
        log_of("sampling", "battery", "shard"),
    benchmark:
        benchmark_of("sampling", "battery", "shard")
    priority: 25  # the longest jobs: one that comes last leaves the other cores without work
    conda:
        ENVIRONMENT
    threads: threads_for("sample")
    resources:
        **resources_for("sample"),
    params:
        **tracked("sampling", "battery"),
        shards=study.execution.shards,
    message:
        "Battery {wildcards.battery}: responses that the store lacks"
    shell:
        "python -m workflow_scripts.sampling --study {params.study:q} --battery {wildcards.battery} "
        "--shard {wildcards.shard} --shards {params.shards} --output {output:q} &> {log:q}"


# The manifests only say that the store is filled: another subject's change must not touch this one's table.
rule responses:
    input:
        base=layout.fingerprint,
        parts=lambda w: inputs.response_inputs(study, layout, w.battery, w.subject),
        manifests=sampling_manifests,
    output:
        ensure(layout.responses("{subject}", "{battery}"), non_empty=True),
    log:
        log_of("responses", "subject", "battery"),
    benchmark:
        benchmark_of("responses", "subject", "battery")
    wildcard_constraints:
        battery="|".join(conditions.sampled_batteries(study)),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("responses", "battery", "subject"),
    message:
        "{wildcards.subject}: responses of battery {wildcards.battery}, from the store"
    shell:
        "python -m workflow_scripts.responses --study {params.study:q} --subject {wildcards.subject} "
        "--battery {wildcards.battery} --output {output:q} &> {log:q}"
