"""What the authors make once and keep in the package: images, trained models, recorded runs.

Each module is a command, `python -m vaetl_helpers.authoring.assets.NAME`, and says how it is used.
"""
