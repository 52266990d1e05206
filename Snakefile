from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/base.smk"
include: "rules/datasets.smk"
include: "rules/organisms.smk"
include: "rules/responses.smk"
include: "rules/judgements.smk"
include: "rules/directions.smk"
include: "rules/adapters.smk"
include: "rules/tables.smk"
include: "rules/report.smk"


localrules:
    all,
    results,


# Every artefact, not only the report: Snakemake remakes no missing file that only finished ones were made from.
rule all:
    default_target: True
    input:
        artefacts(),
        rules.summary.output,
        rules.claims.output,
        rules.figures.output,
        rules.browser.output,
        rules.html_report.output,


rule results:
    input:
        report_inputs,


onstart:
    write_study()


onsuccess:
    print_summary()
