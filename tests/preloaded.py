"""What the server of `tests.fresh_process` imports before it forks: all that is slow to import."""

import torch

import hf_polyglot.training.from_scratch  # noqa: F401
import hf_polyglot.training.recipe_encoders  # noqa: F401
import hf_polyglot.training.segment_trainer  # noqa: F401

torch.set_num_threads(1)
