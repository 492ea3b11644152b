"""`python -m aigate` is `aigate`."""

import sys

from aigate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
