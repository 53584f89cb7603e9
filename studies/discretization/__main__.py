"""python -m studies.discretization."""

import sys

from studies.discretization import STUDY

if __name__ == "__main__":
    sys.exit(STUDY.main())
