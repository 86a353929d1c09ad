"""A report: from the files of a run folder to one page that needs nothing else.

`write_report(folder)` reads what `vaekit.runs` describes and writes `report.html`, with its pictures also as PNG files
in `figures/`. It computes nothing about the model: every number on the page stands in a file of the folder.
"""

from vaekit.report.page import write_report

__all__ = ["write_report"]
