"""What is published of a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_polyglot.training import publishing
from tests.hub_server import FakeHub
from tests.test_results import zero_shot_results

from .test_trainer import training_arguments

ROOT = Path(__file__).parents[2]

PUSH = """
import sys
sys.path.insert(0, sys.argv[2])
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.training.continuation import results_of
from hf_polyglot.training.optimizer_state import adam_state_by_name, load_adam_state
from tests.models.tiny_models import TINY_MODELS
from tests.training.test_trainer import trainer_of
from transformers import AutoModelForTokenClassification, AutoTokenizer
settings = {"push_to_hub": True, "hub_model_id": "me/tiny", "num_train_epochs": 1}
trainer = trainer_of(TINY_MODELS[sys.argv[3]], sys.argv[1], **settings)
trainer.train()
trainer.push_to_hub()
model, tokenizer = (
    auto.from_pretrained("me/tiny") for auto in (AutoModelForTokenClassification, AutoTokenizer)
)
assert results_of("me/tiny")["name"] == "slicer-wikiann-zero-shot"
state = load_adam_state("me/tiny")
expected = adam_state_by_name(trainer.model, trainer.optimizer)
assert state.keys() == expected.keys()
assert all((state[name]["exp_avg"] == expected[name]["exp_avg"]).all() for name in state)
words = [["Amina", "lives", "in", "Kano", "."]]
assert tag_words(model, tokenizer, words) == tag_words(trainer.model, trainer.processing_class, words)
"""


WITHOUT_THE_PACKAGE = """
import sys
sys.modules["hf_polyglot"] = None
from transformers import AutoModelForTokenClassification, AutoTokenizer
model = AutoModelForTokenClassification.from_pretrained("me/tiny", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("me/tiny", trust_remote_code=True)
print(model(**model.prepare_words(tokenizer, [["Amina", "lives"]])).logits.shape[:2])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "own_code"), [("byte_crf", "modeling_byte_crf.py"), ("slicer", "modeling_slicer.py")]
)
def test_the_trainer_pushes_model_code_tokenizer_results_and_card(name, own_code, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(zero_shot_results()))

    with FakeHub() as hub:
        run = subprocess.run(
            [sys.executable, "-c", PUSH, folder, ROOT, name],
            capture_output=True, text=True, env=hub.environment(tmp_path / "home"), cwd=tmp_path,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-3000:]
        files = hub.files("me/tiny")
        alone = subprocess.run(
            [sys.executable, "-c", WITHOUT_THE_PACKAGE],
            capture_output=True, text=True, env=hub.environment(tmp_path / "another home"), cwd=tmp_path,
        )  # fmt: skip
        assert alone.returncode == 0, alone.stderr[-3000:]
        assert "torch.Size([1, 2])" in alone.stdout

    assert {"config.json", "model.safetensors", "tokenizer.json", "results.json", own_code} <= set(files)
    card = files["README.md"].decode()
    assert "model-index" in card and "40.00" in card and 'from_pretrained("me/tiny"' in card
    assert not [path for path in files if path.startswith("checkpoint-") or path.endswith((".bin", ".pt", ".pth"))]


@pytest.mark.parametrize("words", [["--hub_token", "hf_secret"], ["--hub_token=hf_secret"]])
def test_no_token_is_written_into_the_command(words, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipes/byte_crf.py", "--seeds", "1", *words, "--push_to_hub", "true"])

    command = publishing.command_line(training_arguments(tmp_path))

    assert "hf_secret" not in command
    assert command.startswith("accelerate launch recipes/byte_crf.py --seeds 1 --hub_token")
    assert command.endswith("--push_to_hub true")


def test_the_arguments_that_are_kept_are_those_that_were_changed(tmp_path):
    training = training_arguments(tmp_path, learning_rate=0.5, alpha=0.0)

    kept = publishing.changed_arguments(training)

    assert {"learning_rate": 0.5, "alpha": 0.0, "use_cpu": True}.items() <= kept.items()
    assert "weight_decay" not in kept
    assert not [name for name in kept if "token" in name]
