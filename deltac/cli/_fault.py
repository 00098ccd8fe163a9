"""What is reported where deltac itself fails."""

from __future__ import annotations

import os
import traceback

from deltac.diagnostics import DeltacError


def fault_of(error: Exception, where: str = "") -> DeltacError:
    """DLT901 for an exception that nobody foresaw; with DELTAC_DEBUG=1 its traceback is printed.

    Args:
        error: the exception, inside of its `except`.
        where: the file that deltac was at, if that is known.
    """
    if os.environ.get("DELTAC_DEBUG") == "1":
        traceback.print_exc()
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    at = f" at {where}" if where else ""
    return DeltacError.of(
        "DLT901",
        f"deltac itself is at fault{at} ({what})",
        notes=["the spec and the call are not to blame"],
        fix="please report it with the traceback that DELTAC_DEBUG=1 prints",
    )
