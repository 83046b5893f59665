"""The HTML report of a training run: how it went, what it makes, and with which settings."""

from autosing.training.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
