"""List the studies, or run one by name."""

from gflow.study.catalogue import main

if __name__ == "__main__":
    raise SystemExit(main("studies"))
