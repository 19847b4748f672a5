"""Keep the libraries off the terminal while we train: the run's observer draws the progress, and known noise is silenced.

A warning is added to `KNOWN_NOISE` only when it is about a library's own inside and no user can act on it; the reason stands
beside it.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Final

import datasets
from transformers.utils import logging as transformers_logging

KNOWN_NOISE: Final = (
    # TRL 1.16 uses transformers 5.23 by names it has just deprecated, at every pass over the reference answers.
    r"`is_gradient_checkpointing` is deprecated",
    r"`gradient_checkpointing_(en|dis)able` is deprecated",
)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Switch off the progress bars of transformers, datasets and TRL and the known noise, and put all back as it was."""
    datasets_bars, transformers_bars = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    tqdm_disable = os.environ.get("TQDM_DISABLE")
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"  # the only switch TRL has for the bar of the reference log-probabilities
    try:
        with warnings.catch_warnings():
            for message in KNOWN_NOISE:
                warnings.filterwarnings("ignore", message=message, category=FutureWarning)
            yield
    finally:
        if not datasets_bars:
            datasets.enable_progress_bars()
        if transformers_bars:
            transformers_logging.enable_progress_bar()
        if tqdm_disable is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm_disable
