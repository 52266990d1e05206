"""A study: what its file may say, and what follows from it. Imports `runtime` and `store`.

| module | holds |
|---|---|
| `schema` | the study, all sections |
| `sources`, `organisms`, `sampling`, `judge`, `experiments` | the sections; `fields`, the kinds of their values |
| `checks` | runs the checks of the sections, also where parts are malformed |
| `kinds` | what the schema lets stand where |
| `messages` | what the schema finds wrong, as sentences |
| `defaults` | every setting with its default, written out |
| `reading` | from files to a checked study |
| `conditions` | subjects, batteries, conditions |
| `panel` | the study as each of several judges reads it |
| `shards` | which job of a battery samples which of them |
| `layout` | where every file lies |
| `inputs` | which files each stage reads |
| `made_by` | provenance of artefacts; which of them are of another form of the study |
| `specs`, `slices` | which part of the study each stage reads |
| `resources` | memory, time and GPUs of a stage |
| `shapes`, `peak_memory` | the model's shape, and the GPU memory that follows from it |
| `workload`, `hours` | what a study asks for, and how long it takes |
| `costs` | the constants of both, from `costs.yaml`, with where each comes from |
| `plan` | all of this as people read it |
"""
