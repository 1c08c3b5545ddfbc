"""For authors: notebooks from their sources, the static site, the embedded data."""
