from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/base.smk"
include: "rules/datasets.smk"
include: "rules/organisms.smk"
include: "rules/responses.smk"
include: "rules/judgements.smk"
include: "rules/directions.smk"
include: "rules/adapters.smk"
include: "rules/tables.smk"
include: "rules/panel.smk"
include: "rules/report.smk"


# Every artefact, not only the report: Snakemake remakes no missing file that only finished ones were made from.
rule all:
    default_target: True
    input:
        make_anew,
        inputs.artefacts(study, layout),
        TABLES,
        rules.summary.output,
        rules.claims.output,
        rules.panel.output if study.judges else [],
        rules.figures.output,
        rules.browser.output,
        rules.report.output,


# Parts of the way:  snakemake --cores 2 all_organisms. What can be known before the first GPU job is checked for each.
rule all_organisms:
    input:
        inputs.organism_artefacts(study, layout),


rule all_answers:
    input:
        inputs.preflight(study, layout),
        inputs.judged_answers(study, layout),
        inputs.judged_by_others(study, layout),


rule all_directions:
    input:
        inputs.preflight(study, layout),
        inputs.direction_artefacts(study, layout),


rule all_tables:
    input:
        inputs.preflight(study, layout),
        TABLES,


# What the report is gathered from.
rule results:
    input:
        REPORTED,


# Where a site asks for its GPUs by `gres`, `gpu` would ask for them once more.
for asked in workflow.rules:
    if "gres" in asked.resources:
        asked.resources["gpu"] = 0


# Snakemake does not call the hooks of a module.
if IMPORTED and workflow.is_main_process:
    write_study()


onstart:
    write_study()
    announce_jobs()


onsuccess:
    print_summary()


onerror:
    print_reason()
