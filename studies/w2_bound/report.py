"""temporary."""

from gflow.study import Report


def report(config, rows, arrays):
    return Report("rows: %d" % len(rows))
