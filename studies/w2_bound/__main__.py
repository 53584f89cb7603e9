"""python -m studies.w2_bound."""

import sys

from studies.w2_bound import STUDY

if __name__ == "__main__":
    sys.exit(STUDY.main())
