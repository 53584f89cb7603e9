"""python -m studies.density_ratio."""

import sys

from studies.density_ratio import STUDY

if __name__ == "__main__":
    sys.exit(STUDY.main())
