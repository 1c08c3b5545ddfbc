"""Grading for instructors: submissions are run in a sandbox, judged outside, and handed over.

`course` is one call of `vaetl grade`. From the files to the pages it goes through `submissions`
(whose notebooks), `notebooks` (what they hold), `judge` (hidden tests), `sandbox` (where the
submissions run), `flags` (what a person should look at), `result` (the one schema), `gradebook`
(nbgrader's side) and `pages` (what people read).
"""
