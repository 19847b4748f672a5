"""Pure statistics: intervals, bootstraps, agreement, comparisons. No I/O, no async, no torch."""
