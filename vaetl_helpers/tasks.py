"""The former name of `vaetl_helpers.data.tasks`, for notebooks that were handed out earlier."""

from vaetl_helpers.data.tasks import *  # noqa: F403
