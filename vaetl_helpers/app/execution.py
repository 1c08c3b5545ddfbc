"""Executes a notebook by papermill, and says in one line what went wrong where."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError

from vaetl_helpers.app.kernels import OwnKernel

NOT_WRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EFBIG,
}


def execute(
    source: Path, target: Path, parameters: dict[str, Any], seconds: int, bar: Any = False
) -> str | None:
    """Executes a notebook in the folder above `target`; returns None or what went wrong where.

    `seconds` limits each cell. Raises OSError where `target` cannot be written.
    """
    # papermill warns of each parameter `int | None`
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            papermill.iorw.load_notebook_node(str(source)),
            str(target).replace("{", "{{").replace("}", "}}"),  # papermill formats paths
            parameters,
            kernel_name="python3",
            language="python",
            progress_bar=bar,
            # not `cwd`: papermill would change this process's folder, which other chapters share
            resources={"metadata": {"path": str(target.parent.parent)}},
            start_timeout=180,
            execution_timeout=seconds,
            # a machine that is busy delivers late; papermill's 4 s would be called a cell's timeout
            iopub_timeout=120,
            coalesce_streams=True,
            kernel_manager_class=OwnKernel,
            # the kernel's own log would break the progress lines
            extra_arguments=["--log-level=CRITICAL"],
        )
        return None
    except papermill.PapermillExecutionError as error:
        return f"In [{error.exec_count}]: {error.ename}: {last_line(error.evalue)}"
    except CellTimeoutError:
        message = f"took longer than {seconds} s"
    except Exception as error:  # a kernel that died, or never started: the other chapters go on
        if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
            raise
        message = f"{type(error).__name__}: {last_line(error)}"
    return f"In [{cells_begun(target)}]: {message}"


def cells_begun(path: Path) -> int:
    """How many code cells of a notebook that papermill has left have begun, empty ones apart."""
    if not path.exists():
        return 0
    count = 0
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        started = cell["metadata"].get("papermill", {}).get("start_time")
        if cell["cell_type"] == "code" and started and "".join(cell["source"]).strip():
            count += 1
    return count


def last_line(text: Any) -> str:
    lines = str(text).strip().splitlines()
    return lines[-1] if lines else ""
