"""Write skew at serializable (optimistic)."""

from docs.pictures import told


def draw() -> str:
    return told.draw("write skew", "serializable (optimistic)")
