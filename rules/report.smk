localrules:
    figures,
    browser,
    html_report,


report: "captions/workflow.rst"


FIGURE_TITLES = {
    "em_by_organism": "E1 Misalignment and coherence by organism",
    "alignment_coherence": "E1 Alignment and coherence of responses",
    "direction_norms": "E2 Norms of the directions",
    "convergence": "E6 Cosines of the directions",
    "steering": "E3 Steering by layer and scale",
    "ablation": "E5 Ablation",
}


def figure_names():
    absent = {"steering", "ablation"} - set(conditions.batteries(study))
    return [name for name in FIGURE_TITLES if name not in absent]


def report_inputs(wildcards):
    return [
        layout.root / "summary.json",
        layout.root / "browser.html",
        *(layout.figure(name) for name in figure_names()),
    ]


rule figures:
    input:
        tables=[layout.table(name) for name in tables()],
        judgements=judgement_files("baseline"),
    output:
        svg=[
            report(
                layout.figure(name),
                category="Figures",
                caption=f"captions/{name}.rst",
                labels={"figure": FIGURE_TITLES[name]},
            )
            for name in figure_names()
        ],
        png=[layout.figure(name, "png") for name in figure_names()],
    log:
        log_of("figures"),
    benchmark:
        benchmark_of("figures")
    params:
        spec=spec("figures"),
        code=code("figures"),
        names=figure_names(),
    shell:
        "python -m workflow_scripts.figures --study {layout.study} --figures {params.names} &> {log}"


rule browser:
    input:
        [
            part(subject, battery)
            for battery in conditions.batteries(study)
            for subject in conditions.battery_subjects(study, battery)
            for part in (layout.responses, layout.judgements)
        ],
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
    params:
        spec=spec("browser"),
        code=code("browser"),
    shell:
        "python -m workflow_scripts.browser --study {layout.study} --output {output} &> {log}"


# Snakemake itself gathers the report, from what the jobs before have recorded.
rule html_report:
    input:
        report_inputs,
    output:
        ensure(layout.root / "report.html", non_empty=True),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    shell:
        "snakemake results --snakefile {workflow.main_snakefile} --configfile {layout.study} "
        "--workflow-profile none --nolock --cores 1 --report {output} &> {log}"
