# What people look at.
# Reads tables, judged responses, summary and claims. Makes figures/, browser.html and report.html, which holds the other
# two and Snakemake's own report.


report: "captions/workflow.rst"


# What Snakemake's own report is gathered from.
REPORTED = [
    *inputs.preflight(study, layout),
    layout.not_possible,
    *(layout.root / name for name in ("summary.json", "claims.html", "browser.html")),
    *(layout.figure(name) for name in FIGURES),
    *([layout.panel.with_suffix(".html")] if study.judges else []),
]
# Pages and captions are data, which no digest of code notices.
PAGES = digest(
    *map(file_digest, [PAGE, *(CAPTIONS / f"{name}.rst" for name in FIGURES)])
)


rule figures:
    input:
        tables=TABLES,
        judgements=[
            layout.judgements(subject, "baseline")
            for subject in conditions.battery_subjects(study, "baseline")
        ],
    output:
        svg=[
            report(
                layout.figure(name),
                category="Figures",
                caption=f"captions/{name}.rst",
                labels={"figure": figure.title},
            )
            for name, figure in FIGURES.items()
        ],
        png=[layout.figure(name, "png") for name in FIGURES],
    log:
        log_of("figures"),
    benchmark:
        benchmark_of("figures")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked_figures("figures"),
    shell:
        "python -m workflow_scripts.figures --study {params.study:q} &> {log:q}"


rule browser:
    input:
        inputs.browsed(study, layout),
    output:
        layout.root / "browser.html",
    log:
        log_of("browser"),
    benchmark:
        benchmark_of("browser")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("browser"),
        page=digest(*map(file_digest, RESPONSES_PAGE)),
    shell:
        "python -m workflow_scripts.browser --study {params.study:q} --output {output:q} &> {log:q}"


rule report:
    input:
        REPORTED,
        TABLES,
        inputs.judged_answers(study, layout),
        claims=layout.root / "claims.json",
    output:
        ensure(layout.root / "report.html", non_empty=True),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked_figures("report"),
        pages=PAGES,
    shell:
        "python -m workflow_scripts.report --study {params.study:q} --output {output:q} &> {log:q}"
