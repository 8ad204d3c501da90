"""``python -m isocalc``."""

from isocalc.cli import main

if __name__ == "__main__":
    main()
