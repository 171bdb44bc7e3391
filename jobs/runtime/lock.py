"""The lock that a run holds on its warehouse; see jobs/warehouse/lock.py."""

from jobs.warehouse.lock import lock

__all__ = ["lock"]
