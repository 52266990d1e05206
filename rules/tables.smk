# Numbers.
# Reads judgements, directions and what the adapters do, as each experiment names its inputs. Makes tables/, the summary of
# all of them, and the paper's claims held against it.


rule tables:
    input:
        lambda w: inputs.distinct(EXPERIMENTS[w.table].inputs(study, layout)),
    output:
        ensure(layout.table("{table}"), non_empty=True),
    log:
        log_of("tables", "table"),
    benchmark:
        benchmark_of("tables", "table")
    wildcard_constraints:
        table="|".join(EXPERIMENTS),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked_table(),
    shell:
        "python -m workflow_scripts.tables --study {params.study:q} --table {wildcards.table} "
        "--output {output:q} &> {log:q}"


rule summary:
    input:
        TABLES,
    output:
        json=report(
            layout.root / "summary.json",
            category="Tables",
            caption="captions/summary.rst",
            labels={"table": "summary, as JSON"},
        ),
        text=layout.root / "summary.txt",
        not_possible=layout.not_possible,
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
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked_figures("summary"),
    shell:
        "python -m workflow_scripts.summary --study {params.study:q} &> {log:q}"


rule claims:
    input:
        summary=layout.root / "summary.json",
        not_possible=layout.not_possible,
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
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("claims"),
        claims=file_digest(CLAIMS),  # data, which no digest of code notices
    shell:
        "python -m workflow_scripts.claims --study {params.study:q} &> {log:q}"
