"""Samplers behind one interface. Imports `models`, `adapters` and what those import.

| module | holds |
|---|---|
| `interface` | what an engine does |
| `vllm_engine`, `residual_worker` | vLLM, with residual hooks in its workers |
| `transformers_engine` | the reference |
| `opening` | which engine a study runs on |
| `plan` | which responses a battery asks for, and their names in the store |
| `gate` | an engine's predictions with an adapter, held against PEFT's |
| `probe` | vLLM's predictions with known changes, held against arithmetic |
"""
