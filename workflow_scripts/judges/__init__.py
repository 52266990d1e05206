"""Judges behind one interface. Imports `engines`, `miniature` and what those import.

| module | holds |
|---|---|
| `interface` | what a judge does |
| `identity`, `opening` | which judge a study asks: its name, and the judge itself |
| `exact`, `local`, `remote`, `batches` | a program, a model here, one behind an API, at once or in batches |
| `phrases` | a program that looks for phrases |
| `simulated` | a rehearsal's: scores drawn from a scenario |
| `rubrics`, `number_tree`, `written_numbers`, `parsing` | what a model is asked, and how its reply becomes a score |
| `run`, `store` | asking for what is missing; every raw answer |
| `cost`, `bill`, `concurrency`, `failures` | money before and after, calls in flight, what went wrong |
| `imported`, `given` | judged responses of others; given ones of an organism, by the study's questions |
| `paired` | two judges' responses, one by one |
"""
