"""The HTML report: what a data set holds, what its songs look and sound like, and what a training run learnt."""

from autosing.pipeline.report.page import write_report
from autosing.pipeline.report.summary import Example, RunSummary

__all__ = ["Example", "RunSummary", "write_report"]
