"""Helpers of the course: data, a training loop you could have written, exercises that check themselves.

Importing the package imports nothing else and touches no accelerator; import the module you need, for
example ``from vaetl_helpers.training import fit``.
"""

__version__ = "0.1.0"
