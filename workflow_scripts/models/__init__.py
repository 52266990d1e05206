"""Language models: loading, rendering, reading and changing. Imports `estimation`, `study` and what those import.

| module | holds |
|---|---|
| `loading` | models, tokenizers and adapters from folders |
| `drawing` | how a next token is drawn |
| `chat` | a chat turn as token ids, and where its answer lies |
| `residual` | the residual stream: reading it, adding to it, projecting out of it |
| `change_tables` | the changes of many conditions, for the tokens of one batch |
| `interventions` | from a condition to the vectors of each layer |
| `packing`, `activations` | mean activations over answer tokens, from packed texts |
| `side_effects` | what a projection takes beside what it is meant to |
| `prompting` | what a condition puts into the prompt beside the question |
| `direction_parts` | what directions share, what one has beside that, controls |
| `direction_texts`, `direction_files`, `direction_reading` | what a direction is taken from, its file, and reading it |
| `subject_direction` | how a subject's direction is taken |
| `lora_targets` | which modules carry an adapter |
| `foreign_directions` | directions of others |
| `updates`, `training` | which rows and how many updates; how an adapter is trained |
| `vector_training` | one steering vector in place of an adapter |
| `kl_term` | what keeps an organism at the base on other rows |
| `micro_batches` | how a training update is read: rows at once, padding, recomputed layers |
| `organism` | an organism's model, checked, on a GPU of its own |
| `files`, `linked` | model files that are still what they were; folders of links to them |
"""
