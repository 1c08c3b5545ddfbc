"""Kernels in a sandbox, and the processes around and inside it."""

from vaetl_helpers.grading.sandbox.kernel import PACKAGE, SHORT, Limits, SandboxedKernel, problem

__all__ = ["PACKAGE", "SHORT", "Limits", "SandboxedKernel", "problem"]
