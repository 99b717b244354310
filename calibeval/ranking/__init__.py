"""Rank methods by score tables: orders, tests, their stability, and a verdict that claims no more than they allow.

`rank_tables` is the entry. The modules in the order of the data's flow: `inputs` (files to one long frame),
`empty_rules`, `scores` (one array), `design` (ranks, blocks, clusters), `schemes` (orders), `friedman` and `posthoc`
(tests), `stability`, `verdict`, `result`; then `formats` and `plots`.
"""

from __future__ import annotations

from calibeval.ranking.analysis import rank_tables
from calibeval.ranking.result import Ranking, RankSettings

__all__ = ["RankSettings", "Ranking", "rank_tables"]
