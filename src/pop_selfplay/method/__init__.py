"""Pure functions of the method: parsing, scoring, rewards, stopping. No I/O, no async, no torch."""
