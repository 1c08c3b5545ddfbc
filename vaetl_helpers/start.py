"""The former name of `vaetl_helpers.app.start`, for notebooks that were handed out before 0.2."""

from vaetl_helpers.app.start import *  # noqa: F403
