"""Pure functions of the method: no I/O, no async, no torch. Parsing, scoring, pairing, filtering, statistics, fencing."""
