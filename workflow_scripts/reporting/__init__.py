"""What people read: text, pages, figures, the ledger of claims. Imports `study` and what that imports.

| module | holds |
|---|---|
| `text`, `records` | estimates as text; tables as JSON data |
| `pages`, `report.html.jinja` | self-contained HTML pages: the report's, and searchable tables |
| `response_page`, `responses.html.jinja`, `responses.js`, `responses.css` | the response browser |
| `overview` | what a study came to, for the report's first page |
| `style` | one style for all figures |
| `claims.yaml`, `claim` | the paper's claims, and what a claim is |
| `claim_rows` | who stands for whom in the paper, and which rows a claim is about |
| `verdicts` | what rows say about a test, and the smallest effect that they decide |
| `power` | the smallest effect that a study could decide, from its design alone |
| `ledger` | a verdict for each claim |
"""
