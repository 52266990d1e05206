"""Files: how they are written whole, read back checked, and found by what produced them. Imports `runtime`.

| module | holds |
|---|---|
| `artefacts` | tables and tensors with their provenance; digests |
| `lineage` | where an artefact belongs and what it was made from, compared by whoever reads it |
| `responses` | the store of sampled responses |
| `response_tables`, `judgement_tables` | their columns |
| `ahead` | work that a process does ahead of other jobs of its run |
| `absence` | what a study's answers did not allow, recorded in its place |
| `adapter_files` | the files of a PEFT adapter, and its identity |
| `downloads`, `hub`, `question_files` | inputs by path, URL, or from the Hugging Face hub; the form of question files |
| `yaml_files` | YAML 1.2 in which no key stands twice |
| `foreign` | files of others: what a library raises on one, as a sentence that names it |
| `text_tables` | anyone's tables, CSV or JSON or parquet, as texts |
| `inspect_logs` | judged responses as logs of inspect_ai |
| `code_digest` | digest of a stage's code |
"""
