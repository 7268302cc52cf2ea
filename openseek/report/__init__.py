"""The report of a run: one HTML file without external requests, and its charts alone.

`record.py` is the input (plain data), `collect.py` fills it from artifacts, `page.py` renders it;
`sections/` holds one file for each part of the page, `plots.py` the SVG charts, `markdown.py` the
short form for terminals and for Prefect, `steps.py` the tables and plots of one step for its UI.
"""

from openseek.report.collect import collect
from openseek.report.markdown import run_markdown
from openseek.report.page import render_report
from openseek.report.plots import svg_data_uri
from openseek.report.record import RunRecord, StepRecord
from openseek.report.steps import step_markdown, step_plots

__all__ = [
    "RunRecord",
    "StepRecord",
    "collect",
    "render_report",
    "run_markdown",
    "step_markdown",
    "step_plots",
    "svg_data_uri",
]
