"""A run directory as a whole: open, watch and read it (`session.py`), and which policy wrote what (`lineage.py`)."""
