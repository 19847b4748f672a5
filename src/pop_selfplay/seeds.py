"""Seeds that depend on what a call is for, never on when it is made."""

import hashlib


def derive_seed(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) that is a hash of `parts`, so order and concurrency of calls change nothing."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = str(part).encode("utf-8", "backslashreplace")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return int.from_bytes(digest.digest(), "little") >> 1
