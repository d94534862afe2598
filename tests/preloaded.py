"""What the server of `tests.fresh_process` imports before it forks: libraries, and nothing of the package itself."""

import datasets  # noqa: F401
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, Trainer, pipeline  # noqa: F401

torch.set_num_threads(1)
