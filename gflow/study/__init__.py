"""The study harness: from a question and a config to rows, a report and a page.

A study is one module with a constant ``STUDY``; the harness gives it seeds, a store, resume,
workers, a command line and publication. It knows nothing of flows. Importing it loads neither
torch, matplotlib, dask nor the command-line library.
"""

from gflow.study.context import Context as Context
from gflow.study.study import Case as Case
from gflow.study.study import Claim as Claim
from gflow.study.study import Record as Record
from gflow.study.study import Report as Report
from gflow.study.study import Study as Study
from gflow.study.study import UsageError as UsageError
from gflow.study.text import show as show
from gflow.study.text import table as table
