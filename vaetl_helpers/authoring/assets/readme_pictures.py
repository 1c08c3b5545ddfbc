"""Draws the README's two pictures anew: `python -m vaetl_helpers.authoring.assets.readme_pictures`.

The latent plane comes from the packaged VAE, the verdicts from the recorded results.
"""

from __future__ import annotations

from pathlib import Path

from vaetl_helpers.authoring.assets.facts import PACKAGE
from vaetl_helpers.authoring.preview import latent_plane_png, ledger_png
from vaetl_helpers.claims import ledger
from vaetl_helpers.output import say, write_whole

FOLDER = PACKAGE.parent / "docs" / "pictures"


def draw(folder: Path = FOLDER) -> list[Path]:
    """Writes the pictures and returns their paths."""
    pictures = {"latent_plane.png": latent_plane_png(), "ledger.png": ledger_png(ledger())}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        write_whole(folder / name, content)
    return [folder / name for name in pictures]


if __name__ == "__main__":
    for path in draw():
        say(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
