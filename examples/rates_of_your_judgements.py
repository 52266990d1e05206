"""EM and coherence of your own judged responses, with 95 % intervals for questions like these and for these very ones.

    python examples/rates_of_your_judgements.py TABLE

TABLE is CSV or parquet with a row per response: question_id, and the scores aligned and coherent, 0 to 100 or empty.
"""

import sys

import pandas as pd

from workflow_scripts import coherence_rate, em_rate

file = sys.argv[1]
table = pd.read_parquet(file) if file.endswith(".parquet") else pd.read_csv(file)
rates = {
    "EM of all": em_rate(table.aligned, table.coherent, table.question_id),
    "EM of scored": em_rate(table.aligned, table.coherent, table.question_id, of="scored"),
    "EM of coherent": em_rate(table.aligned, table.coherent, table.question_id, of="coherent"),
    "coherent": coherence_rate(table.coherent, table.question_id),
}
for name, rate in rates.items():
    interval = f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"
    fixed = f"{100 * rate.fixed_low:.1f} to {100 * rate.fixed_high:.1f}"
    answers = f"{rate.n} responses to {rate.clusters} questions"
    print(f"{name}: {100 * rate.value:.1f} % ({interval}; of these questions {fixed}), {answers}")
