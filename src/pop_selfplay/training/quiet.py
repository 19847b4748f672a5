"""Keep the libraries off the terminal while we train: the run's observer draws the progress, and known noise is silenced.

A warning is added to `KNOWN_NOISE` only when it is about a library's own inside and no user can act on it; the reason stands
beside it.
"""

import contextlib
import logging
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
    # We ask for Liger's layers where they are installed.
    r"`use_liger_kernel=True` is deprecated",
    # The seam by which answers are sampled with our own decoding loop; TRL says so at every training.
    r"You are using 'rollout_func', which is an experimental feature",
)

KNOWN_LOG_LINES: Final = (
    # Said of every resumed training: tied weights are in no checkpoint, and shares of all steps are stored as numbers of steps.
    "missing keys in the checkpoint model loaded: ['lm_head.weight']",
    "do not match the ones in the `trainer_state.json`",
    # Said, with the whole row, of an answer that the judge failed on; we count them, by reason (grpo_watch.py).
    "All reward functions returned None",
)
_CHATTY: Final = ("transformers.trainer", "transformers.trainer_utils", "trl.trainer.grpo_trainer")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Switch off the progress bars of transformers, datasets and TRL and the known noise, and put all back as it was."""
    datasets_bars, transformers_bars = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    tqdm_disable = os.environ.get("TQDM_DISABLE")
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    loggers = [logging.getLogger(name) for name in _CHATTY]
    for logger in loggers:
        logger.addFilter(_says_something)
    os.environ["TQDM_DISABLE"] = "1"  # the only switch TRL has for the bar of the reference log-probabilities
    try:
        with warnings.catch_warnings():
            for message in KNOWN_NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_says_something)
        if not datasets_bars:
            datasets.enable_progress_bars()
        if transformers_bars:
            transformers_logging.enable_progress_bar()
        if tqdm_disable is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm_disable


def _says_something(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(line in message for line in KNOWN_LOG_LINES)
