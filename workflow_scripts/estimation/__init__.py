"""Numbers from judge scores, each with an interval that knows its clusters. Imports nothing else of the package.

| module | holds |
|---|---|
| `labels` | scores to classes: coherent, misaligned, aligned, self-correcting |
| `response_classes` | the classes of the adapter experiments, by domain |
| `intervals` | means and ratios with cluster-robust intervals |
| `shares` | shares, their differences and ratios: one family of intervals |
| `rates` | EM and coherence |
| `changes`, `score_changes` | before and after, paired by question: of shares, of scores |
| `selection` | the best of many conditions, without the winner's luck |
| `shuffles` | labels that say nothing, with the questions as they are |
| `agreement` | how far two judges agree |
| `calibration` | one judge's scores mapped to another's labels, with the error of that |
| `repetition` | how much a text repeats itself |
| `columns` | columns of responses as checked arrays |
"""
