"""A run directory as a whole.

session.py      open it to work on it, watch it, read it
casting.py      role → model: who plays, under which name, and how they are opened
accounting.py   what was spent: tokens, money, hours
lineage.py      which policy wrote what
"""
