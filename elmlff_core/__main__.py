"""``python -m elmlff_core`` and the console script ``elmlff``."""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):
    # `python -m` puts the current folder first: a downloaded folder could bring modules and plugins of its own.
    del sys.path[0]

from elmlff_core.cli.main import main

if __name__ == "__main__":
    main()
