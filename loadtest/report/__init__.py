"""Reports of runs, for people: Markdown, HTML and pictures."""

from __future__ import annotations

from loadtest.report.write import Report, write_report

__all__ = ["Report", "write_report"]
