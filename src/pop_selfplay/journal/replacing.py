"""Write a file whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pop_selfplay.journal.trouble import explain


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends well; readers see the old file or the whole new one.

    Raises JournalError when it cannot be written; whatever was at `path` before then stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise explain(error, path, "write") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
