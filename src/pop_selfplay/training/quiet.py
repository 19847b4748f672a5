"""Keep the libraries' progress bars off the terminal while we train: the run's observer draws its own."""

import contextlib
import os
from collections.abc import Iterator

import datasets
from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Switch off the bars of transformers, datasets and TRL, and put everything back as it was."""
    datasets_bars, transformers_bars = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    tqdm_disable = os.environ.get("TQDM_DISABLE")
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"  # the only switch TRL has for the bar of the reference log-probabilities
    try:
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
