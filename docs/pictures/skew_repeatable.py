"""Write skew at repeatable read."""

from docs.pictures import told


def draw() -> str:
    return told.draw("write skew", "repeatable read")
