# What people look at.
# Reads tables, judged responses, summary and claims. Makes figures/, browser.html and report.html.


report: "captions/workflow.rst"


# For the report's first page: the Snakemake that gathers the report starts when the summary is there.
config["not_possible"] = not_possible_as_rst(layout.not_possible)

REPORTED = [
    *inputs.preflight(study, layout),
    layout.not_possible,
    *(layout.root / name for name in ("summary.json", "claims.html", "browser.html")),
    *(layout.figure(name) for name in FIGURES),
    *([layout.panel.with_suffix(".html")] if study.judges else []),
]


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
        inputs.judged_answers(study, layout),
    output:
        report(
            layout.root / "browser.html",
            category="Responses",
            caption="captions/browser.rst",
            labels={"page": "response browser"},
        ),
    log:
        log_of("browser"),
    benchmark:
        benchmark_of("browser")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        **tracked("browser"),
    shell:
        "python -m workflow_scripts.browser --study {params.study:q} --output {output:q} &> {log:q}"


rule report:
    input:
        REPORTED,
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
        **tracked("report"),
    shell:
        "python -m workflow_scripts.report --study {params.study:q} --output {output:q} &> {log:q}"
