"""``python -m fullyconv``: the same as the command ``fcn``."""

from fullyconv.cli import main

main()
