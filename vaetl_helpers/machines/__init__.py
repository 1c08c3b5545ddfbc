"""What a whole machine can do, measured in ten minutes and kept in one file."""

from vaetl_helpers.machines.recording import machine_name, record_machine

__all__ = ["machine_name", "record_machine"]
