"""One answer of a chat model as it is, with a direction added at a layer, and with it projected out of all layers.

    python examples/steer_with_a_direction.py BASE DIRECTION LAYER SCALE QUESTION

for instance results/miniature/base, results/miniature/directions/medical_r1/seed-0.safetensors, 2, 1, "I feel bored."
"""

import sys
from pathlib import Path

import torch

from workflow_scripts import LayerChange, intervened, load_model, load_tokenizer, prompt_ids, read_direction

base, file, layer, scale, question = sys.argv[1:]
tokenizer = load_tokenizer(Path(base))
model = load_model(Path(base), "bfloat16" if torch.cuda.is_available() else "float32")
direction = read_direction(Path(file))  # [layer, d_model], not normalised: scale 1 adds one mean difference
prompt = torch.tensor([prompt_ids(tokenizer, question)], device=model.device)
ways = {
    "as it is": [],
    "added": [LayerChange(int(layer), "add", direction[int(layer)], float(scale))],
    "projected out": [LayerChange(index, "project", vector) for index, vector in enumerate(direction)],
}
for name, changes in ways.items():
    with intervened(model, changes):
        tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=60, do_sample=False)
    print(f"{name}: {tokenizer.decode(tokens[0, prompt.shape[1] :], skip_special_tokens=True)}")
