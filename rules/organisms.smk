# Organisms: the base fine-tuned, or a published adapter in place of training.
# Reads the base and data sets. Makes preflight.json, what was checked before; and organisms/<name>/seed-<k>/: the adapter,
# its gate, the record of its training.


rule preflight:
    input:
        inputs.preflight_inputs(study, layout),
    output:
        ensure(layout.preflight, non_empty=True),
    log:
        log_of("preflight"),
    benchmark:
        benchmark_of("preflight")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("preflight"),
    message:
        "what can be checked before the first training"
    shell:
        "python -m workflow_scripts.preflight --study {params.study:q} --output {output:q} &> {log:q}"


# The checks only have to come first: what they find makes no organism anew.
rule organisms:
    input:
        checked=[ancient(file) for file in inputs.preflight(study, layout)],
        base=layout.fingerprint,
        dataset=lambda w: inputs.training_data(study, layout, w.organism),
        published=lambda w: inputs.published_adapter(study, w.organism),
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
    threads: MODEL_THREADS
    resources:
        **resources_for("train"),
    params:
        **tracked("organisms", "organism"),
    message:
        "{wildcards.organism}: the adapter, trained or published"
    shell:
        "python -m workflow_scripts.organisms --study {params.study:q} --organism {wildcards.organism} &> {log:q}"
