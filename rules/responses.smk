localrules:
    responses,


# One engine for all subjects and conditions of a battery; it fills the store with what is missing there.
rule sample:
    input:
        base=layout.fingerprint,
        parts=sampling_inputs,
    output:
        ensure(layout.manifest("{battery}", "{shard}"), non_empty=True),
    log:
        log_of("sample", "battery", "shard"),
    benchmark:
        benchmark_of("sample", "battery", "shard")
    conda:
        ENVIRONMENT
    threads: ENGINE_THREADS
    resources:
        **resources_for("sample"),
    params:
        study=str(layout.study),
        spec=spec("sample", "battery"),
        code=code("sampling"),
        shards=SHARDS,
    shell:
        "python -m workflow_scripts.sampling --study {params.study} --battery {wildcards.battery} "
        "--shard {wildcards.shard} --shards {params.shards} --output {output} &> {log}"


# The manifests only say that the store is filled: another subject's change must not touch this one's table.
rule responses:
    input:
        base=layout.fingerprint,
        parts=response_inputs,
        manifests=sampling_manifests,
    output:
        ensure(layout.responses("{subject}", "{battery}"), non_empty=True),
    log:
        log_of("responses", "subject", "battery"),
    benchmark:
        benchmark_of("responses", "subject", "battery")
    wildcard_constraints:
        battery="|".join(conditions.sampled_batteries(study)),
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("responses", "battery", "subject"),
        code=code("responses"),
    shell:
        "python -m workflow_scripts.responses --study {params.study} --subject {wildcards.subject} "
        "--battery {wildcards.battery} --output {output} &> {log}"
