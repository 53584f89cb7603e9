"""The studies: ``python -m studies`` lists them, ``python -m studies.NAME`` runs one."""
