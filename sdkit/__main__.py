"""``python -m sdkit``: the same as ``sdkit``."""

from sdkit.cli.start import main

if __name__ == "__main__":
    main()
