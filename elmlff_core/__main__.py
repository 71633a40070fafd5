"""``python -m elmlff_core`` and the console script ``elmlff``."""

from elmlff_core.cli.main import main

if __name__ == "__main__":
    main()
