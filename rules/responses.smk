localrules:
    responses,


def adapter_files(subject):
    return (
        [] if subject == CHAT_BASE else [layout.adapter(subject), layout.gate(subject)]
    )


def direction_files(battery, subject):
    return [
        layout.direction(source)
        for source in conditions.direction_sources(study, battery, subject)
    ]


def question_files(battery, subject):
    return [
        layout.questions(use.questions)
        for use in conditions.question_uses(study, battery, subject)
    ]


def distinct(paths):
    return list(dict.fromkeys(paths))


def sampling_inputs(wildcards):
    subjects = shard_subjects(
        conditions.battery_subjects(study, wildcards.battery),
        int(wildcards.shard),
        SHARDS,
    )
    return distinct(
        path
        for subject in subjects
        for path in [
            *adapter_files(subject),
            *direction_files(wildcards.battery, subject),
            *question_files(wildcards.battery, subject),
        ]
    )


def response_inputs(wildcards):
    return distinct(
        [
            *adapter_files(wildcards.subject),
            *direction_files(wildcards.battery, wildcards.subject),
            *question_files(wildcards.battery, wildcards.subject),
        ]
    )


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
    threads: ENGINE_THREADS
    resources:
        **resources_for("sample"),
    params:
        spec=spec("sample", "battery"),
        code=code("sampling"),
    shell:
        "python -m workflow_scripts.sampling --study {layout.study} --battery {wildcards.battery} "
        "--shard {wildcards.shard} --shards {SHARDS} --output {output} &> {log}"


# The manifests only say that the store is filled: another subject's change must not touch this one's table.
rule responses:
    input:
        base=layout.fingerprint,
        parts=response_inputs,
        manifests=lambda wildcards: [
            ancient(layout.manifest(wildcards.battery, shard))
            for shard in range(SHARDS)
        ],
    output:
        ensure(layout.responses("{subject}", "{battery}"), non_empty=True),
    log:
        log_of("responses", "subject", "battery"),
    benchmark:
        benchmark_of("responses", "subject", "battery")
    params:
        spec=spec("responses", "battery", "subject"),
        code=code("responses"),
    shell:
        "python -m workflow_scripts.responses --study {layout.study} --subject {wildcards.subject} "
        "--battery {wildcards.battery} --output {output} &> {log}"
