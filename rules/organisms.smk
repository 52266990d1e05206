# Organisms: the base fine-tuned, or a published adapter in place of training.
# Reads the base and data sets, or the hub. Makes preflight.json, what was checked before; organisms/<name>/seed-<k>/: the
# adapter, its gate, the record of its training; and published_adapters/, what was fetched of the hub.


rule published_adapters:
    output:
        ensure(layout.fetched_adapter("{published}"), non_empty=True),
    log:
        log_of("published_adapters", "published"),
    benchmark:
        benchmark_of("published_adapters", "published")
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: 0
    params:
        **tracked("published_adapters", "published"),
    message:
        "{wildcards.published}: its adapter, from the hub"
    shell:
        "python -m workflow_scripts.published_adapters --study {params.study:q} --organism {wildcards.published} "
        "&> {log:q}"


# It starts first by its priority, on several cores beside a first organism. Were it an input of organisms, another check would train them anew; and what follows an
# ancient input that is made anew Snakemake passes by, whatever else has changed.
rule preflight:
    input:
        inputs.preflight_inputs(study, layout),
    output:
        ensure(layout.preflight, non_empty=True),
    log:
        log_of("preflight"),
    benchmark:
        benchmark_of("preflight")
    priority: 100
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("preflight"),
    message:
        "what can be checked before the first training"
    shell:
        "python -m workflow_scripts.preflight --study {params.study:q} --output {output:q} &> {log:q}"


rule organisms:
    input:
        base=layout.fingerprint,
        trained_with=lambda w: inputs.trained_with(study, layout, w.organism),
        published=lambda w: inputs.published_adapter(study, w.organism),
        fetched=lambda w: inputs.fetched_adapter(study, layout, w.organism),
    output:
        adapter=ensure(layout.adapter("{organism}"), non_empty=True),
        gate=ensure(layout.gate("{organism}"), non_empty=True),
        training=ensure(layout.training("{organism}"), non_empty=True),
        checkpoints=ensure(layout.checkpoints("{organism}"), non_empty=True),
    log:
        log_of("organisms", "organism"),
    benchmark:
        benchmark_of("organisms", "organism")
    conda:
        ENVIRONMENT
    threads: threads_for("train")
    resources:
        **resources_for("train"),
    params:
        **tracked("organisms", "organism"),
    message:
        "{wildcards.organism}: the adapter, trained or published"
    shell:
        "python -m workflow_scripts.organisms --study {params.study:q} --organism {wildcards.organism} &> {log:q}"
