"""Grading for instructors: submissions are run in a sandbox, judged outside, and handed over.

`course` is one call of `vaetl grade`. From the files to the pages it goes through `submissions`
(whose notebooks), `notebooks` (what they hold), `judge` (hidden tests), `sandbox` (where the
submissions run), `kept_runs` (what came back from there), `flags` (what a person should look at),
`result` (the one schema), `gradebook` (nbgrader's side), `class_view` (a class as a whole) and
`pages` (what people read). `class_claims` pools what the capstones of a class have found.
"""
