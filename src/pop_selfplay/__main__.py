"""`python -m pop_selfplay` is the command `pop`."""

from pop_selfplay.cli import main

if __name__ == "__main__":
    main()
