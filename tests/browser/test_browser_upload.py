"""Pictures chosen in a real JupyterLab arrive in the folder of their thing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from in_browser import CHROMIUM, SCREENS, open_notebook, outside, run_all
from PIL import Image
from test_browser import lab, page  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.slow, pytest.mark.debian("chromium", CHROMIUM)]
CELL = 'from vaetl_helpers import collecting\nfolder = collecting.upload(("mug", "glass"))'


def test_chosen_pictures_are_kept(
    lab: tuple[str, Path],  # noqa: F811
    page: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    address, folder = lab
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }  # else it asks
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)
    nbformat.write(notebook, folder / "upload.ipynb")
    pictures = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (300, 200), (90 * number, 40, 20)).save(path)
        pictures.append(path)
    open_notebook(page, address, "upload.ipynb")
    assert not [cell for cell in run_all(page) if cell["error"]]
    page.get_by_text("0 pictures of glass").wait_for()
    button = page.get_by_role("button", name=re.compile(r"\bglass\b"))  # its icon comes first
    assert button.get_attribute("title") == "Choose pictures of glass"
    with page.expect_file_chooser() as chooser:
        button.click()
    chooser.value.set_files(pictures)
    page.get_by_text("2 pictures of glass").wait_for()
    page.screenshot(path=SCREENS / "upload.png")
    for path in pictures:
        kept = folder / "own_pictures" / "glass" / path.name
        assert kept.read_bytes() == path.read_bytes()
    assert not outside(page, address)
