"""A study: what its file may say, and what follows from it. Imports `runtime` and `store`.

| module | holds |
|---|---|
| `schema` | the study, all sections |
| `sources`, `organisms`, `sampling`, `judge`, `experiments` | the sections; `fields`, the kinds of their values |
| `checks`, `reference_checks`, `experiment_checks` | what can be wrong between sections, as sentences |
| `reading` | from files to a checked study |
| `conditions` | subjects, batteries, conditions |
| `layout` | where every file lies |
| `inputs` | which files each stage reads |
| `specs`, `slices` | which part of the study each stage reads |
| `resources` | memory, time and GPUs of a stage |
"""
