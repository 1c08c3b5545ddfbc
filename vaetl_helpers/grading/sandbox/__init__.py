"""Kernels in a sandbox, and the processes around them.

`inside` runs in the sandbox, `watch` and `runner` beside it, `kernel` in whoever starts one.
"""

from vaetl_helpers.grading.sandbox.job import Limits
from vaetl_helpers.grading.sandbox.kernel import SandboxedKernel, why_unavailable

__all__ = ["Limits", "SandboxedKernel", "why_unavailable"]
