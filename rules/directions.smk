def direction_texts(wildcards):
    settings = study.directions
    if settings.source == "datasets":
        return [layout.dataset(settings.bad), layout.dataset(settings.good)]
    return [
        layout.responses(wildcards.organism, "baseline"),
        layout.judgements(wildcards.organism, "baseline"),
    ]


rule direction:
    input:
        base=layout.fingerprint,
        adapter=layout.adapter("{organism}"),
        gate=layout.gate("{organism}"),
        texts=direction_texts,
    output:
        ensure(layout.direction("{organism}"), non_empty=True),
    log:
        log_of("direction", "organism"),
    benchmark:
        benchmark_of("direction", "organism")
    resources:
        **resources_for("extract"),
    params:
        spec=spec("direction", "organism"),
        code=code("directions"),
    shell:
        "python -m workflow_scripts.directions --study {layout.study} --subject {wildcards.organism} "
        "--output {output} &> {log}"
