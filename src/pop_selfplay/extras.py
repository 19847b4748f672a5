"""What an installation may lack: the extras of the package, what each brings, and the line that installs it.

`pip install pop-selfplay` alone makes and exports pairs with models behind servers. Everything else is an extra: whoever needs
one says so with `need`, before work is done for nothing; `missing_extra` is for imports that fail all the same. A new extra is
a line in `EXTRAS` and one in pyproject.toml; a room that imports what it brings is a line in tests/unit/test_extras.py.
"""

import importlib.util
from collections.abc import Iterable
from pkgutil import resolve_name
from typing import Final

from pop_selfplay.errors import MissingExtra

DISTRIBUTION: Final = "pop-selfplay"
EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "local": ("torch", "transformers", "tokenizers", "safetensors"),
    "hub": ("datasets", "huggingface_hub"),
    "train": ("trl", "peft", "accelerate"),
    "eval": ("inspect_ai", "inspect_evals", "langdetect", "httpx"),
    "report": ("matplotlib",),
    "view": ("starlette", "uvicorn", "markdown_it", "mdit_py_plugins", "latex2mathml"),
    "ray": ("ray",),
    "track": ("trackio", "tensorboard"),
    "constrain": ("llguidance",),
}
"""Extra → the modules that it adds to those of the extras it includes (`INCLUDED`)."""
INCLUDED: Final[dict[str, tuple[str, ...]]] = {"train": ("local", "hub")}


def install_line(*extras: str) -> str:
    """Return the command that adds `extras` to an installation."""
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def absent(extra: str) -> list[str]:
    """Return the modules of `extra` that are not installed, the ones it includes first. Nothing is imported."""
    modules = [module for part in (*INCLUDED.get(extra, ()), extra) for module in EXTRAS[part]]
    return [module for module in modules if not _installed(module)]


def need(extra: str, what: str) -> None:
    """Raise MissingExtra where `what`, such as "model.type local", needs an extra that is not there."""
    modules = absent(extra)
    if modules:
        raise MissingExtra(_said(what, modules, extra))


def hub_errors() -> tuple[type[Exception], ...]:
    """Return what the hub's client raises where the hub cannot be reached, refuses, or a name makes no sense.

    Errors of the connection are those of its HTTP library, which `HfHubHTTPError` is one of, too, whichever that is.
    """
    http, name = (resolve_name(f"huggingface_hub.errors:{error}") for error in ("HfHubHTTPError", "HFValidationError"))
    return OSError, name, *http.__bases__


def missing_extra(error: ModuleNotFoundError, what: str = "this") -> MissingExtra | None:
    """Return what to say where an import failed because an extra is missing; None where it failed for another reason.

    Only a module that an extra brings and that is not there at all counts: an installed one that is broken is no missing extra.
    """
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    if extra is None or _installed(module):
        return None
    return MissingExtra(_said(what, [module], extra))


def _said(what: str, modules: Iterable[str], extra: str) -> str:
    return f"{what} needs {', '.join(modules)}, not installed here: {install_line(extra)}"


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a module that is half there: not a missing one
        return True
