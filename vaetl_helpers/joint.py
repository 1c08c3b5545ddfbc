"""The former name of `m2` and `representations`, for notebooks that were handed out before 0.2."""

from vaetl_helpers.m2 import *  # noqa: F403
from vaetl_helpers.representations import *  # noqa: F403
