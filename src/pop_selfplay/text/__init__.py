"""Pure functions on texts: words, style, fencing, overlap and diversity. No I/O, no async, no torch."""
