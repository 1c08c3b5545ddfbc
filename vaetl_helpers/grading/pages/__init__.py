"""What people read of a grading: a student's feedback, the instructor's report, sentences."""

from vaetl_helpers.grading.pages.pages import (
    claims_page,
    class_page,
    feedback_page,
    report_page,
)
from vaetl_helpers.grading.pages.sentences import (
    problem_sentence,
    problem_sentences,
    unknown_cells_sentences,
)

__all__ = [
    "claims_page",
    "class_page",
    "feedback_page",
    "problem_sentence",
    "problem_sentences",
    "report_page",
    "unknown_cells_sentences",
]
