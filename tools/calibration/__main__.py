"""`python -m tools.calibration`."""

import sys

from tools.calibration.command import main

sys.exit(main())
