"""Whether the hub answers."""

from __future__ import annotations

from huggingface_hub import constants
from huggingface_hub.utils import get_session

#: How many seconds the hub has to answer.
PATIENCE = 5.0


def why_silent() -> str | None:
    """Why the hub can't be asked now; None where it answers, whatever it says.

    One request: transformers would ask again and again for half a minute, for each file.
    """
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except (
        Exception
    ) as error:  # the HTTP library, and so the class, differs between versions of the client
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
