"""Our own inverter, which spends evaluations where they are needed."""

from fpinv.inverters.auto.auto import Auto

__all__ = ["Auto"]
