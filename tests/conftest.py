"""The hooks and fixtures of all tests; what they do stands in helpers/suite.py."""

from suite import (
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_setup,
    pytest_xdist_make_scheduler,
    warm_kernels,
)

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_setup",
    "pytest_xdist_make_scheduler",
    "warm_kernels",
]
