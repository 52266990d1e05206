localrules:
    figures,
    browser,
    html_report,


report: "captions/workflow.rst"


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
                labels={"figure": FIGURES[name][0]},
            )
            for name in figure_names()
        ],
        png=[layout.figure(name, "png") for name in figure_names()],
    log:
        log_of("figures"),
    benchmark:
        benchmark_of("figures")
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("figures"),
        code=code("figures"),
        names=figure_names(),
    shell:
        "python -m workflow_scripts.figures --study {params.study} --figures {params.names} &> {log}"


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
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        spec=spec("browser"),
        code=code("browser"),
    shell:
        "python -m workflow_scripts.browser --study {params.study} --output {output} &> {log}"


rule html_report:
    input:
        report_inputs,
    output:
        ensure(layout.root / "report.html", non_empty=True),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    conda:
        ENVIRONMENT
    params:
        study=str(layout.study),
        code=code("html_report"),
    shell:
        "python -m workflow_scripts.html_report --study {params.study} --output {output} &> {log}"
