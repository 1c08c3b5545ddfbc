"""The former name of `m2` and `representations`, for notebooks that were handed out earlier."""

from vaetl_helpers.m2 import *  # noqa: F403
from vaetl_helpers.representations import *  # noqa: F403
