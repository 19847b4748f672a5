"""Pure functions on texts: words, fencing, overlap, diversity. No I/O, no async, no torch."""
