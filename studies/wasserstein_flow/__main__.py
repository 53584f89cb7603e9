"""python -m studies.wasserstein_flow."""

import sys

from studies.wasserstein_flow import STUDY

if __name__ == "__main__":
    sys.exit(STUDY.main())
