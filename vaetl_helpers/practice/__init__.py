"""What makes a learner think before and after: bets, recall, quizzes and challenges.

`curtain` withholds what would give a bet away, `panels` asks, and `vaetl_helpers.progress` keeps
what was answered. The questions stand in bets.yaml and recall.yaml.
"""

from vaetl_helpers.practice.bets import calibration, my_bets, predict, settle
from vaetl_helpers.practice.challenges import challenge
from vaetl_helpers.practice.repetition import quiz, recall

__all__ = ["calibration", "challenge", "my_bets", "predict", "quiz", "recall", "settle"]
