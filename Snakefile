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


rule all:
    default_target: True
    input:
        layout.root / "report.html",


rule results:
    input:
        report_inputs,


onstart:
    write_study()


onsuccess:
    print_summary()
