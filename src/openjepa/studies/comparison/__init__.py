"""`openjepa compare`: latent prediction and its rivals, trained and judged under one budget on the same episodes.

Read `scale.py` (what is run), `rivals.py` (who takes part, and how each is built and sized), `worlds.py` and
`physics.py` (one cell of the experiment each), `runner.py` (all cells, resumable), `findings.py` (statistics) and
`page.py` (the report). The rules of the match are in `docs/rivals.md`.
"""
