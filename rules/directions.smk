# Directions.
# Reads base, adapters and judged responses, or paired data sets, or a file. Makes directions/, other_directions/ (from
# the study's other source) and directions/<name>/seed-<k>/<topic>, and side_effects.parquet (what projecting them out
# takes besides), base_means.safetensors (what the chat base has on average).


rule directions:
    input:
        base=layout.fingerprint,
        adapter=lambda w: inputs.adapter_files(study, layout, w.organism),
        texts=lambda w: inputs.direction_texts(
            study, layout, study.directions.source, w.organism
        ),
    output:
        ensure(layout.direction("{organism}"), non_empty=True),
    log:
        log_of("directions", "organism"),
    benchmark:
        benchmark_of("directions", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("directions", "organism"),
    message:
        "{wildcards.organism}: the direction of each layer"
    shell:
        "python -m workflow_scripts.directions --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"


rule other_directions:
    input:
        base=layout.fingerprint,
        adapter=lambda w: inputs.adapter_files(study, layout, w.organism),
        texts=lambda w: inputs.direction_texts(
            study, layout, study.directions.also, w.organism
        ),
    output:
        ensure(layout.other_direction("{organism}"), non_empty=True),
    log:
        log_of("other_directions", "organism"),
    benchmark:
        benchmark_of("other_directions", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("other_directions", "organism"),
    message:
        "{wildcards.organism}: the direction of each layer, from the other source"
    shell:
        "python -m workflow_scripts.other_directions --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"


# All topics of a subject in one job: they share the model.
rule topic_directions:
    input:
        base=layout.fingerprint,
        adapter=lambda w: inputs.adapter_files(study, layout, w.organism),
        responses=layout.responses("{organism}", "baseline"),
        judgements=layout.judgements("{organism}", "baseline"),
    output:
        [
            ensure(file, non_empty=True)
            for file in inputs.topic_files(study, layout, "{organism}")
        ],
    log:
        log_of("topic_directions", "organism"),
    benchmark:
        benchmark_of("topic_directions", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("topic_directions", "organism"),
    message:
        "{wildcards.organism}: directions of responses about each topic"
    shell:
        "python -m workflow_scripts.topic_directions --study {params.study:q} --subject {wildcards.organism} &> {log:q}"


# A direction of anyone's that is added or projected out, as the study names it.
rule imported_directions:
    input:
        base=layout.fingerprint,
        file=lambda w: conditions.given_directions(study)[w.direction].file,
    output:
        ensure(layout.direction("{direction}"), non_empty=True),
    log:
        log_of("imported_directions", "direction"),
    benchmark:
        benchmark_of("imported_directions", "direction")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("imported_directions", "direction"),
    message:
        "{wildcards.direction}: a direction from a file"
    shell:
        "python -m workflow_scripts.imported_directions --study {params.study:q} --name {wildcards.direction} "
        "--output {output:q} &> {log:q}"


rule trait_directions:
    input:
        base=layout.fingerprint,
        responses=layout.responses(CHAT_BASE, "traits"),
        judgements=layout.judgements(CHAT_BASE, "traits"),
    output:
        ensure(layout.direction("{trait}"), non_empty=True),
    log:
        log_of("trait_directions", "trait"),
    benchmark:
        benchmark_of("trait_directions", "trait")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("trait_directions", "trait"),
    message:
        "{wildcards.trait}: the direction of a trait's system prompts"
    shell:
        "python -m workflow_scripts.trait_directions --study {params.study:q} --trait {wildcards.trait} "
        "--output {output:q} &> {log:q}"


rule trained_vectors:
    input:
        base=layout.fingerprint,
        rows=lambda w: inputs.vector_data(study, layout, w.vector),
    output:
        ensure(layout.direction("{vector}"), non_empty=True),
    log:
        log_of("trained_vectors", "vector"),
    benchmark:
        benchmark_of("trained_vectors", "vector")
    conda:
        ENVIRONMENT
    threads: threads_for("train")
    resources:
        **resources_for("train"),
    params:
        **tracked("trained_vectors", "vector"),
    message:
        "{wildcards.vector}: a steering vector, trained"
    shell:
        "python -m workflow_scripts.trained_vectors --study {params.study:q} --vector {wildcards.vector} "
        "--output {output:q} &> {log:q}"


rule base_means:
    input:
        base=layout.fingerprint,
        responses=layout.responses(CHAT_BASE, "baseline"),
    output:
        ensure(layout.base_means, non_empty=True),
    log:
        log_of("base_means"),
    benchmark:
        benchmark_of("base_means")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("base_means"),
    message:
        "the chat base's mean activation over its own answers"
    shell:
        "python -m workflow_scripts.base_means --study {params.study:q} --output {output:q} &> {log:q}"


# All subjects in one job: each is read in seconds to minutes, and starting takes as long.
rule side_effects:
    input:
        base=layout.fingerprint,
        parts=inputs.side_effects_inputs(study, layout),
    output:
        ensure(layout.side_effects, non_empty=True),
    log:
        log_of("side_effects"),
    benchmark:
        benchmark_of("side_effects")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("side_effects"),
    message:
        "what projections take from the stream and from ordinary text"
    shell:
        "python -m workflow_scripts.side_effects --study {params.study:q} --output {output:q} &> {log:q}"
