"""Keeps the log lines and progress bars of transformers and the hub client out of a command's output."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from logging import getLogger

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging


@contextlib.contextmanager
def quiet(*, bar: bool = False) -> Iterator[None]:
    """No log line below errors and no Python warning inside; everything as before after it.

    Args:
        bar: whether progress bars stay as they are; else there are none.
    """
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    if not bar:
        logging.disable_progress_bar()
    # A run on shapes that fails is reported, or tried again on other inputs.
    fake_tensors = getLogger("torch._subclasses.fake_tensor")
    disabled, fake_tensors.disabled = fake_tensors.disabled, True
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        fake_tensors.disabled = disabled
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if shown:
            logging.enable_progress_bar()
