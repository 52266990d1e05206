def training_data(wildcards):
    name, _ = organism_of(wildcards.organism)
    return layout.dataset(study.organisms[name].dataset)


rule organism:
    input:
        base=layout.fingerprint,
        dataset=training_data,
    output:
        adapter=ensure(layout.adapter("{organism}"), non_empty=True),
        gate=ensure(layout.gate("{organism}"), non_empty=True),
        training=ensure(layout.training("{organism}"), non_empty=True),
    log:
        log_of("organism", "organism"),
    benchmark:
        benchmark_of("organism", "organism")
    resources:
        **resources_for("train"),
    params:
        spec=spec("organism", "organism"),
        code=code("organisms"),
    shell:
        "python -m workflow_scripts.organisms --study {layout.study} --organism {wildcards.organism} &> {log}"
