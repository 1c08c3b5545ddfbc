"""The former name of `vaetl_helpers.data.tasks`, for notebooks that were handed out before 0.2."""

from vaetl_helpers.data.tasks import *  # noqa: F403
