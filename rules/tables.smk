localrules:
    table,
    summary,
    claims,


rule table:
    input:
        table_inputs,
    output:
        ensure(layout.table("{table}"), non_empty=True),
    log:
        log_of("table", "table"),
    benchmark:
        benchmark_of("table", "table")
    wildcard_constraints:
        table="|".join(tables()),
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=lambda wildcards: specs.spec(wildcards.table, study),
        code=code("tables"),
    shell:
        "python -m workflow_scripts.tables --study {params.study} --table {wildcards.table} "
        "--output {output} &> {log}"


rule summary:
    input:
        [layout.table(name) for name in tables()],
    output:
        json=report(
            layout.root / "summary.json",
            category="Tables",
            caption="captions/summary.rst",
            labels={"table": "summary, as JSON"},
        ),
        text=layout.root / "summary.txt",
        page=report(
            layout.root / "summary.html",
            category="Tables",
            caption="captions/summary.rst",
            labels={"table": "summary"},
        ),
    log:
        log_of("summary"),
    benchmark:
        benchmark_of("summary")
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("summary"),
        code=code("summary"),
    shell:
        "python -m workflow_scripts.summary --study {params.study} --tables {input} &> {log}"


rule claims:
    input:
        layout.root / "summary.json",
    output:
        json=layout.root / "claims.json",
        text=layout.root / "claims.txt",
        page=report(
            layout.root / "claims.html",
            category="Claims",
            caption="captions/claims.rst",
            labels={"table": "claims of the paper, held against this study"},
        ),
    log:
        log_of("claims"),
    benchmark:
        benchmark_of("claims")
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("claims"),
        code=code("claims"),
    shell:
        "python -m workflow_scripts.claims --study {params.study} &> {log}"
