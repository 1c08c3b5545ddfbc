"""Right answers in many forms: a module for each chapter, each with RIGHT: id -> functions.

`ways` has what can be done to any answer; `uses` does with an answer what later cells do.
"""
