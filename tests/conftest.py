"""What every test needs, done before gflow is imported: shape and type checks, one thread, fixed examples."""

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  the hook below looks it up by name

# Every annotation of gflow, shapes included, is checked at each call in tests and nowhere else.
install_import_hook("gflow", "tests.typecheck.checked")

torch.set_num_threads(1)

settings.register_profile("gflow", derandomize=True, deadline=None, max_examples=25, database=None)
settings.load_profile("gflow")
