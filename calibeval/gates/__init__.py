"""Gates: whether a model's outputs may pass.

`policy` says what is asked for (gates, margins, severities), `evaluate` decides gates on a results table, `baseline`
compares two tables case by case, `integrity` looks at prediction files alone. Each question becomes one
`report.Outcome`; what cannot be decided is an error, never a pass. `formats` and `junit` print the outcomes, `init`
writes a first policy from a table.
"""
