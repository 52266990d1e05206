# What the adapters of an organism do.
# Reads base, adapters, directions and judged responses. Makes scalars/ and probes/ (what they say at each token),
# edits/ (scaled and projected copies), the responses of the patching battery, downstream/ (where they push), and
# adapter_losses/ (how well narrow and broad ones fit their rows).


rule scalars:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        responses=layout.responses("{organism}", "baseline"),
        judgements=layout.judgements("{organism}", "baseline"),
    output:
        ensure(layout.scalars("{organism}"), non_empty=True),
    log:
        log_of("scalars", "organism"),
    benchmark:
        benchmark_of("scalars", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("scalars", "organism"),
    message:
        "{wildcards.organism}: scalars of its adapters, token by token"
    shell:
        "python -m workflow_scripts.scalars --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"


rule probes:
    input:
        layout.scalars("{organism}"),
    output:
        table=ensure(layout.probes("{organism}"), non_empty=True),
        names=ensure(layout.adapter_names("{organism}"), non_empty=True),
    log:
        log_of("probes", "organism"),
    benchmark:
        benchmark_of("probes", "organism")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("probes", "organism"),
    message:
        "{wildcards.organism}: probes on the scalars, and the adapters' names"
    shell:
        "python -m workflow_scripts.probes --study {params.study:q} --subject {wildcards.organism} "
        "&> {log:q}"


rule edits:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        parts=lambda w: inputs.edit_inputs(study, layout, w.organism),
    output:
        ensure(layout.edits("{organism}"), non_empty=True),
    log:
        log_of("edits", "organism"),
    benchmark:
        benchmark_of("edits", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("edits", "organism"),
    message:
        "{wildcards.organism}: edited copies of its adapter"
    shell:
        "python -m workflow_scripts.edits --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"


rule patched_responses:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        questions=lambda w: inputs.question_files(study, layout, "patching", w.organism),
    output:
        ensure(layout.responses("{organism}", "patching"), non_empty=True),
    log:
        log_of("patched_responses", "organism"),
    benchmark:
        benchmark_of("patched_responses", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("patched_responses", "organism"),
    message:
        "{wildcards.organism}: responses with another prompt's scalars"
    shell:
        "python -m workflow_scripts.patched_responses --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"


rule downstream:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        directions=lambda w: inputs.downstream_directions(study, layout, w.organism),
        texts=lambda w: inputs.direction_texts(
            study, layout, study.directions.source, w.organism
        ),
    output:
        ensure(layout.downstream("{organism}"), non_empty=True),
    log:
        log_of("downstream", "organism"),
    benchmark:
        benchmark_of("downstream", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("downstream", "organism"),
    message:
        "{wildcards.organism}: where its adapter pushes later layers"
    shell:
        "python -m workflow_scripts.downstream --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"


rule adapter_losses:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        rows=lambda w: inputs.loss_data(study, layout, w.organism),
    output:
        ensure(layout.adapter_losses("{organism}"), non_empty=True),
    log:
        log_of("adapter_losses", "organism"),
    benchmark:
        benchmark_of("adapter_losses", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("extract")
    resources:
        **resources_for("extract"),
    params:
        **tracked("adapter_losses", "organism"),
    message:
        "{wildcards.organism}: its loss, scaled and turned aside by noise"
    shell:
        "python -m workflow_scripts.adapter_losses --study {params.study:q} --subject {wildcards.organism} "
        "--output {output:q} &> {log:q}"
