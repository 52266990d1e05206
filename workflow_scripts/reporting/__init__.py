"""What people read: text, pages, figures, the ledger of claims. Imports `study` and what that imports.

| module | holds |
|---|---|
| `text`, `records` | estimates as text; tables as JSON data |
| `pages` | self-contained HTML pages around a table |
| `style` | one style for all figures |
| `claims.yaml`, `claim` | the paper's claims, and what a claim is |
| `claim_rows` | who stands for whom in the paper, and which rows a claim is about |
| `verdicts` | what rows say about a test, and the smallest effect that they decide |
| `power` | the smallest effect that a study could decide, from its design alone |
| `ledger` | a verdict for each claim |
"""
