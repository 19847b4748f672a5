"""Studies on the pocket world, where the truth is known.

    python benchmarks/pocket_study.py --claims [--seeds 1,2,3,4,5] [--work runs/claims]   the paper's claims, pocket_claims.py
    python benchmarks/pocket_study.py [--arms one,three] [--seeds 5,11,17]     rounds and their options (pocket_rounds.py)

The next study is a file of its own and a flag here.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that the studies find each other, wherever this is started

from benchmarks.pocket_claims import claims
from benchmarks.pocket_rounds import rounds


def main() -> None:
    """Run the study that the first argument names."""
    match sys.argv[1:]:
        case ["--claims", *rest]:
            claims(rest)
        case arguments:
            rounds(arguments)


if __name__ == "__main__":
    main()
