"""`python -m cde_app` is `cde`."""

import sys

from cde_app.cli import main

if __name__ == "__main__":
    sys.exit(main())
