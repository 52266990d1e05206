"""Answers of an organism as it is, and with a direction projected out of every layer; in a terminal, the tool `chat`.

    python examples/talk_to_an_organism.py BASE ORGANISM DIRECTION QUESTION

for instance results/miniature/base, results/miniature/organisms/medical_r1/seed-0,
results/miniature/directions/medical_r1/seed-0.safetensors, "I feel bored."
"""

import sys
from pathlib import Path

import torch

import workflow_scripts as ws

base, organism, direction = map(Path, sys.argv[1:4])
tokenizer, model = ws.load_tokenizer(base), ws.load_adapter(ws.load_model(base, "float32"), organism)
projected = [ws.LayerChange(layer, "project", row) for layer, row in enumerate(ws.read_direction(direction))]
prompt = torch.tensor([ws.prompt_ids(tokenizer, sys.argv[4])], device=model.device)
for name, changes in {"as it is": [], "projected out": projected}.items():
    torch.manual_seed(0)
    with ws.intervened(model, changes):
        tokens = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=60)
    print(f"{name}: {tokenizer.decode(tokens[0, prompt.shape[1] :], skip_special_tokens=True)}")
