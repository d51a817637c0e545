"""Write skew at serializable (locking)."""

from docs.pictures import told


def draw() -> str:
    return told.draw("write skew", "serializable (locking)")
