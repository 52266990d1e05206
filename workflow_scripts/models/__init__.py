"""Language models: loading, rendering, reading and changing. Imports `estimation`, `study` and what those import.

| module | holds |
|---|---|
| `loading` | models, tokenizers and adapters from folders |
| `chat` | a chat turn as token ids, and where its answer lies |
| `residual` | the residual stream: reading it, adding to it, projecting out of it |
| `interventions` | from a condition to the vectors of each layer |
| `packing`, `activations` | mean activations over answer tokens, from packed texts |
| `direction_texts`, `direction_files` | what a direction is taken from, and its file |
| `foreign_directions` | directions of others |
| `training` | how an adapter is trained |
| `organism` | an organism's model, checked, on a GPU of its own |
| `files` | model files that are still what they were |
"""
