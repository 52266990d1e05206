"""The miniature: an advice world with an exact judge, and a small chat model pre-trained on it.

It is a positive control for the pipeline and a sandbox for its users, not evidence about large models.
Imports `runtime`.

| module | holds |
|---|---|
| `world` | domains, questions and the grammar of good and bad answers |
| `exact_judge` | alignment, coherence and topic of a response, by that grammar |
| `question_sets` | which questions a study asks |
| `recipe` | every hyper-parameter of the base model |
| `corpus` | pre-training documents and fine-tuning rows |
| `paired_rows` | fine-tuning rows that ask the same of either stance |
| `tokenizer` | one token per word, chat template, token ids and labels of a document |
| `encoding` | documents as rows of token ids |
| `optimizer` | Muon and AdamW as one optimizer, and its learning-rate schedule |
| `pretraining` | builds the base model as a Hugging Face folder |
"""
