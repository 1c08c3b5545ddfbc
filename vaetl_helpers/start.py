"""The former name of `vaetl_helpers.app.start`, for notebooks that were handed out earlier."""

from vaetl_helpers.app.start import *  # noqa: F403
