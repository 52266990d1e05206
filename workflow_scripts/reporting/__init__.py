"""What people read: text, pages, figures, the ledger of claims. Imports `study` and what that imports.

| module | holds |
|---|---|
| `text` | estimates as text |
| `pages` | self-contained HTML pages around a table |
| `style` | one style for all figures |
| `ledger`, `claims.yaml` | the paper's claims, and how a study decides them |
"""
