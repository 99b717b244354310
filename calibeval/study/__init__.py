"""Studies: a grid of training runs, and the tables and figures made from their folders.

The modules in the order of the data's flow: `plan` (a TOML file to runs), `execute` (what is not done yet), `collect`
(run folders to score tables, a method's value of a case being its mean over the seeds), `tables`, `figures`. A study is
nothing but its runs: what was made from them can be made again at any time.
"""
