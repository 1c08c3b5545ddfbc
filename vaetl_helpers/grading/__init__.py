"""Grading for instructors: collects submissions, runs them in a sandbox, judges outside, writes the gradebook.

What runs where: `inside` in the sandbox, `watch` and `runner` beside it, everything else in the instructor's process.
"""
