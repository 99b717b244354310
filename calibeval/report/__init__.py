"""The report: one HTML file that a clinician, a reviewer and an engineer can each read, made from results tables.

`build` is the entry. The modules in the order of the data's flow: `collect` (tables and side files), `words`, `means`,
`casewise`, `reliability`, `ranked`, `slices`, `training`, `gates` (parts of the page), `page` (the page as plain data),
`assemble` (all parts together), `render` (HTML, by the template `page.html.j2`).
"""

from __future__ import annotations

from calibeval.report.assemble import as_html, build

__all__ = ["as_html", "build"]
