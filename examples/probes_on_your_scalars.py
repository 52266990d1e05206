"""How well the scalars of LoRA adapters tell two classes of answers apart, and which adapters do.

    python examples/probes_on_your_scalars.py TABLE CLASS0 CLASS1

TABLE is CSV or parquet with a row per answer token: a response id, its class, and a column of scalars per adapter
(`python -m workflow_scripts.tools probes probe --help` says how the columns are found).
"""

import sys
from pathlib import Path

from workflow_scripts import Columns, contrast, probe, read_scalars, resolved

file, negative, positive = sys.argv[1:]
frame = read_scalars([Path(file)])
tokens = contrast(frame, resolved(frame, Columns()), negative, positive)
for split in tokens.splits:  # by token as in the paper, which leaks; by response; by question, where a column names it
    found = probe(tokens, split, runs=20)
    print(f"split by {split}: accuracy {found.score('accuracy').value:.3f}, AUC {found.score('auc').value:.3f}")
    for adapter in found.adapters:
        weight = found.coefficient(adapter)
        print(f"  {adapter}: {weight.value:+.3f} ({weight.low:+.3f} to {weight.high:+.3f})")
