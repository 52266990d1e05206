"""LoRA adapters as objects of study. Imports `models` and what that imports.

| module | holds |
|---|---|
| `fine_tuning`, `gate_record` | an organism's training; what PEFT says with and without its adapter |
| `layer_names` | the layer in a module's name |
| `rank_one` | the rank-1 adapters of a model: A, B and the scalar A·x |
| `scalars` | scalars of answers, token by token |
| `tables`, `foreign_scalars` | tables of scalars, ours or anyone's; .pt files of others |
| `probes`, `probe_rows` | L1 probes, the rule that names adapters, and both as rows |
| `prompt_pairs`, `patching` | prompts of equal token length; one answered with the scalars of another |
| `surgery`, `edited` | adapters scaled or projected, and their file |
| `perturbed` | a loaded adapter scaled or turned aside by noise, and the norm of its update |
| `published` | adapters that others trained |
"""
