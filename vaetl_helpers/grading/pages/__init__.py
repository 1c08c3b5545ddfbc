"""A student's feedback and the instructor's report as pages that need no network."""

from vaetl_helpers.grading.pages.pages import STATUSES, feedback, report

__all__ = ["STATUSES", "feedback", "report"]
