"""Studies without a model: what a scenario says is true, drawn as scores and files that the real tables read.

Imports `reporting`, `adapters`, `models` and what those import.

| module | holds |
|---|---|
| `scenarios`, scenarios.yaml | what a scenario may say; the scenarios, each number with its source |
| `truth` | chances of every kind of answer under a condition, by question |
| `answers` | answers drawn from them, as scores; judgement and response tables |
| `vectors` | directions, adapters, pushes and a training path as files |
| `tokens` | scalars of rank-1 adapters, token by token |
"""
