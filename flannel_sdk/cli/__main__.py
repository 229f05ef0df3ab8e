"""``python -m flannel_sdk.cli``: the same program without the installed script."""

import sys

from flannel_sdk.cli.frame import main

if __name__ == "__main__":
    sys.exit(main())
