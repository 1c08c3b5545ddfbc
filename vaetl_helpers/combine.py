"""The former name of `vae_transfer`, for notebooks that were handed out earlier."""

from vaetl_helpers.vae_transfer import *  # noqa: F403
