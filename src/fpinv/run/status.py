"""The file that says how a run ended, and the exit codes."""

from __future__ import annotations

STATUS_FILE = "status.json"
FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: failed examples or a crash, a user error, and a run that was stopped."""
