"""Comparisons: several models on the same data, measured alike, and a line under each claim that is made of them."""

from vaekit.comparison.comparing import carry_out, compare
from vaekit.comparison.folder import Folder, open_folder, read_plan
from vaekit.comparison.page import write_page
from vaekit.comparison.plan import Plan, make_plan, seconds_of

__all__ = [
    "Folder",
    "Plan",
    "carry_out",
    "compare",
    "make_plan",
    "open_folder",
    "read_plan",
    "seconds_of",
    "write_page",
]
