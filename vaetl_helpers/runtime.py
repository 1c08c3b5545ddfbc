"""What the first cells of a notebook import, in one place: settings, output, the one error."""

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import record, report, show_table
from vaetl_helpers.settings import advice, persistent_path, setup

kept = persistent_path  # the short name that notebooks use

__all__ = [
    "CourseError",
    "advice",
    "kept",
    "persistent_path",
    "record",
    "report",
    "setup",
    "show_table",
]
