"""Every recipe runs as its README says, every preset parses, and every --help renders."""

import dataclasses
import hashlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polib
import pytest
import torch
from safetensors.torch import load_file

from hf_polyglot.analysis.prediction_files import counts_of_prediction_files
from hf_polyglot.data.corpora import fingerprint, load_corpora
from hf_polyglot.data.demo import DEMO_FOLDER
from hf_polyglot.joined_results import CHANGE_NOTHING_LEARNED
from hf_polyglot.result_tables import (
    comparison_table,
    conllu_table,
    differences_table,
    errors_table,
    parity_table,
    progress_table,
    results_table,
    selection_table,
    sizes_table,
    systems_table,
    transfer_matrix_table,
    transfer_table,
    treebanks_table,
)
from hf_polyglot.results import read_results
from hf_polyglot.sentence_counts import SentenceCounts, read_sentence_counts, write_sentence_counts
from hf_polyglot.training.command_line import parse_recipe, with_preset
from hf_polyglot.training.recipe_words import named_word_vectors
from tests.fresh_process import run_program
from tests.hub_server import FakeHub
from tests.models.tiny_models import saved_encoder
from tests.tiny_treebanks import write_treebanks
from tests.word_vector_files import write_bin, write_vec

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
PRESETS = sorted((ROOT / "recipes" / "presets").glob("*.args"))
TRAINING = [
    "--num_train_epochs", "1", "--use_cpu", "true",
    "--max_train_sentences", "40", "--max_test_sentences", "20", "--per_device_train_batch_size", "8",
]  # fmt: skip
TINY = ["--embedding_size", "16", "--unit_hidden_size", "16", "--hidden_size", "16", *TRAINING]


META_LSTM = ["--unit_hidden_size", "16", "--word_hidden_size", "16", "--mlp_size", "16", "--num_unit_layers", "1",
             "--num_word_layers", "1", "--word_vector_size", "16"]  # fmt: skip


def run(recipe, *arguments, env=None, stdin=""):
    command = [ROOT / "recipes" / recipe, *map(str, arguments)]
    if env is None:
        outcome = run_program(*command, input=stdin)
    else:
        outcome = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=env)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return outcome.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A byte-CRF of two seeds, pushed to a Hub, and that Hub's files."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-byte-crf"
    with FakeHub() as hub:
        environment = hub.environment(tmp_path_factory.mktemp("home")) | {"PYTHONPATH": str(ROOT)}
        corpora = [f"{language}={DEMO_FOLDER / language}" for language in ("swa", "spa")]
        output = run(
            "byte_crf.py", "--corpora", *corpora, "--zero_shot_corpora", DEMO_FOLDER / "por", *TINY, "--seeds", 1, 2,
            "--output_dir", folder, "--push_to_hub", "true", "--hub_model_id", "me/tiny", env=environment,
        )  # fmt: skip
        files = hub.files("me/tiny")
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD], capture_output=True, text=True, env=environment, cwd=folder.parent
        )
    return folder, output, files, loaded


LOAD = """
import sys
sys.modules["hf_polyglot"] = None
from transformers import AutoModelForTokenClassification
model = AutoModelForTokenClassification.from_pretrained("me/tiny", trust_remote_code=True)
print(sum(parameter.double().sum().item() for parameter in model.parameters()))
"""


@pytest.mark.slow
def test_training_leaves_a_model_results_and_a_card(trained):
    folder, output, _, _ = trained

    results = read_results(folder)

    assert {"config.json", "model.safetensors", "tokenizer.json", "results.json", "README.md"} <= {
        path.name for path in folder.iterdir()
    }
    counts = read_sentence_counts(folder).counts  # which checks them against the results
    assert {split: set(languages) for split, languages in counts.items()} == {
        "test": {"swa", "spa", "por"},
        "validation": {"swa", "spa", "por"},
    }
    assert counts["test"]["por"].shape == (2, 20, 3)
    assert not list(folder.glob("*.bin"))
    assert results["seeds"] == [1, 2]
    assert results["regime"] == "polyglot"
    assert results["data"]["swa"]["train"]["sentences"] == 40
    assert {"swa", "spa", "por", "average", "average_source", "average_zero_shot"} == set(results["scores"]["test"])
    assert len(results["scores"]["test"]["swa"]["f1"]["values"]) == 2
    assert results_table(results) in output


@pytest.mark.slow
def test_what_is_pushed_is_the_model_and_not_its_checkpoints(trained):
    folder, _, files, loaded = trained

    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "crf.py"} <= set(files)
    assert {"results.json", "sentence_counts.json"} <= set(files)
    assert not [name for name in files if name.startswith(("seed-", "checkpoint-"))]
    assert b"me/tiny" in files["README.md"]
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    total = sum(tensor.double().sum().item() for tensor in load_file(folder / "model.safetensors").values())
    assert float(loaded.stdout.splitlines()[-1]) == pytest.approx(total)


@pytest.mark.slow
def test_evaluating_gives_the_scores_of_training(trained, tmp_path):
    folder, *_ = trained
    output = tmp_path / "scores.json"

    table = run("evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa", "--output_file", output)

    scores = json.loads(output.read_text())
    assert f"{scores['swa']['f1']:.2f}" in table
    assert set(scores) == {"swa", "average"}


def evaluated(model, corpora, error_file, *options):
    return run("evaluate.py", "--model", model, "--corpora", *corpora, "--error_file", error_file, *options)


@pytest.mark.slow
def test_text_of_catalogues_is_written_in_one_order(tmp_path):
    catalogue = polib.POFile()
    catalogue.extend(
        polib.POEntry(msgid=f"Text {number} of it", msgstr=f"Tai tekstas numeris {number}") for number in range(9)
    )
    catalogue.save(str(tmp_path / "lt.po"))

    outputs = [
        run("catalogue_text.py", "--catalogues", tmp_path / "lt.po", "--output_file", tmp_path / name / "lit.txt")
        for name in ("a", "b")
    ]

    assert "9 sentences, 36 words" in outputs[0]
    lines, again = ((tmp_path / name / "lit.txt").read_text().splitlines() for name in ("a", "b"))
    assert lines == again
    assert lines != sorted(lines) == [f"Tai tekstas numeris {number}" for number in range(9)]


@pytest.mark.slow
def test_seeds_trained_side_by_side_are_joined_to_what_one_command_gives(tmp_path):
    def train(name, *seeds):
        corpora = [f"{language}={DEMO_FOLDER / language}" for language in ("swa", "spa")]
        unseen = ["--zero_shot_corpora", DEMO_FOLDER / "por"]
        own = ["--monolingual", "true"] if name.startswith("alone") else unseen
        own += ["--compare_selection", "true", "--seeds", *seeds, "--output_dir", tmp_path / name]
        run("byte_crf.py", "--corpora", *corpora, *TINY, "--num_train_epochs", 2, *own)
        return tmp_path / name

    for name in ("together", "alone"):
        one_command = read_results(train(name, 1, 2))
        apart = [train(f"{name}-{seed}", seed) for seed in (1, 2)]
        output = run("join_seeds.py", *apart, "--output_dir", tmp_path / f"{name}-joined")

        joined = read_results(tmp_path / f"{name}-joined")
        for results in (joined, one_command):
            results["arguments"].pop("output_dir", None)
        varying = {"name", "command", "seconds", "peak_memory_bytes"}
        assert {key: joined[key] for key in joined if key not in varying} == {
            key: one_command[key] for key in one_command if key not in varying
        }
        assert results_table(joined) in output
        assert selection_table([joined]) in output
        assert ("target_dev" in joined["selection"]) is (name == "together")
        assert joined["command"].count("recipes/byte_crf.py") == 2
        assert len(read_sentence_counts(tmp_path / f"{name}-joined").counts["test"]["swa"]) == 2
        with pytest.raises(AssertionError, match=r"holds a run already; expected a new folder"):
            run("join_seeds.py", *apart, "--output_dir", tmp_path / f"{name}-joined")
    corpora = [DEMO_FOLDER / "swa", DEMO_FOLDER / "spa"]
    table = evaluated(tmp_path / "alone-joined", corpora, tmp_path / "errors.json")
    errors = json.loads((tmp_path / "errors.json").read_text())["errors"]
    assert errors_table(errors) in table
    for corpus in corpora:  # each tagged by its own model
        evaluated(tmp_path / "alone-joined" / corpus.name, [corpus], tmp_path / "error.json")
        assert json.loads((tmp_path / "error.json").read_text())["errors"] == {corpus.name: errors[corpus.name]}
    with pytest.raises(AssertionError, match=r"has models for swa, spa; expected one for deu too"):
        evaluated(tmp_path / "alone-joined", [DEMO_FOLDER / "deu"], tmp_path / "errors.json")
    for place in (".", "../alone/swa"):
        joined, one_command = (
            load_file(tmp_path / name / place.replace("alone", alone) / "model.safetensors")
            for name, alone in (("together-joined", "alone-joined"), ("together", "alone"))
        )
        assert all(torch.equal(joined[key], one_command[key]) for key in one_command)


@pytest.mark.slow
def test_a_run_compared_to_itself_differs_nowhere(trained, tmp_path):
    folder, *_ = trained
    output = tmp_path / "comparison.json"

    table = run("compare.py", folder, folder / "results.json", "--num_resamples", 100, "--output_file", output)

    comparison = json.loads(output.read_text())
    assert comparison_table(comparison) in table
    assert comparison["covers"] == "test sentences and runs"
    assert list(comparison["languages"]) == ["por", "spa", "swa"]
    f1 = read_results(folder)["scores"]["test"]["average"]["f1"]["mean"]
    assert comparison["average"]["f1"] == pytest.approx([f1, f1])
    assert {row["p"]["randomisation"] for row in comparison["languages"].values()} == {1}


@pytest.mark.slow
def test_types_of_the_model_are_renamed_too_and_a_language_without_spans_is_counted(trained, tmp_path):
    folder, *_ = trained
    corpus = tmp_path / "none"
    corpus.mkdir()
    (corpus / "test.txt").write_text("Habari O\n. O\n")
    saved = tmp_path / "saved.json"

    output = run(
        "evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa", corpus, "--type_map", "LOC=PLACE",
        "--sentence_counts", saved,
    )  # fmt: skip

    assert "The model knows no" not in output
    assert set(read_sentence_counts(saved).counts["test"]) == {"swa", "none"}


@pytest.mark.slow
def test_the_counts_of_a_saved_model_are_compared_as_those_of_its_predictions_are(trained, tmp_path):
    folder, *_ = trained
    source = DEMO_FOLDER / "swa" / "test.txt"
    saved, predicted, guess = tmp_path / "saved.json", tmp_path / "predicted.conll", tmp_path / "guess.conll"
    run("evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa", "--sentence_counts", saved)
    run("predict.py", "--model", folder, "--input", source, "--output_format", "conll", "--output", predicted)
    guess.write_text("".join(re.sub(r"\S+$", "O", line) for line in source.read_text().splitlines(keepends=True)))

    table = run("compare.py", guess, predicted, "--gold_file", source, "--num_resamples", 100)

    (of_files,) = counts_of_prediction_files([predicted], gold_file=source)
    of_model = read_sentence_counts(saved)
    assert of_model.name == folder.name
    assert of_model.counts["test"]["swa"].tolist() == of_files.counts["test"]["all sentences"].tolist()
    assert of_model.fingerprints["test"]["swa"] == fingerprint(
        load_corpora({"swa": source.parent}).corpora["swa"]["test"]
    )
    assert re.search(r"^\| all sentences \| +0\.00 \|", table, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("output_format", ["jsonl", "conll"])
def test_predicting_keeps_every_text(trained, output_format):
    folder, *_ = trained
    text = "Amina alifika Dar es Salaam.\n\nHabari!\n"

    output = run("predict.py", "--model", folder, "--output_format", output_format, stdin=text)

    if output_format == "jsonl":
        records = [json.loads(line) for line in output.splitlines()]
        assert [record["text"] for record in records] == ["Amina alifika Dar es Salaam.", "", "Habari!"]
        for record in records:
            for entity in record["entities"]:
                assert record["text"][entity["start"] : entity["end"]] == entity["word"]
    else:
        words = [line.split("\t")[0] for line in output.splitlines() if line]
        assert words == ["Amina", "alifika", "Dar", "es", "Salaam", ".", "Habari", "!"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("test.txt", "Amina B-PER\nalifika O\n\n", True),
        ("test.txt", "# a comment\nAmina\tNOUN\tB-PER\nalifika\tVERB\tO\n", True),
        ("test.conllu", "1\tAmina\t_\tPROPN\n", True),
        ("test.txt", "-DOCSTART- -X- O\n\nAmina NNP B-PER\nalifika VB O\n", True),
        ("letters.txt", "Vitamini O\n", False),
        ("letters.txt", "Amina alifika Dar es Salaam.\nShe has type O\n", False),
        ("empty.txt", "", False),
    ],
)
def test_column_files_are_told_from_texts(name, text, expected, tmp_path):
    (tmp_path / name).write_text(text)

    is_column_file = runpy.run_path(str(ROOT / "recipes" / "predict.py"))["is_column_file"]

    assert is_column_file(str(tmp_path / name)) is expected
    assert not is_column_file("/dev/stdin")


@pytest.mark.slow
def test_what_cannot_be_read_empties_no_output(trained, tmp_path):
    folder, *_ = trained
    output, latin = tmp_path / "output.jsonl", tmp_path / "latin.txt"
    output.write_text("kept")
    latin.write_bytes("Amina\nCafé\n".encode("latin1"))
    options = ["--model", folder, "--output", output]

    with pytest.raises(AssertionError, match=r"`input` .*missing\.txt does not exist; expected a file"):
        run("predict.py", *options, "--input", tmp_path / "missing.txt")
    with pytest.raises(AssertionError, match=r"latin\.txt:2: the byte 0xe9 is no UTF-8; expected UTF-8"):
        run("predict.py", *options, "--input", latin)
    with pytest.raises(AssertionError, match="`batch_size` is 0; expected 1 or more"):
        run("predict.py", *options, "--input", latin, "--batch_size", 0)
    assert output.read_text() == "kept"

    marked = run("predict.py", "--model", folder, "--output_format", "conll", stdin="\ufeffAmina\n")
    assert marked.startswith("Amina\t")


@pytest.mark.slow
def test_entities_have_no_column_in_conllu(trained):
    folder, *_ = trained

    with pytest.raises(AssertionError, match=r"`output_format` is 'conllu', and the model finds entities"):
        run("predict.py", "--model", folder, "--output_format", "conllu", stdin="Amina")


@pytest.mark.slow
def test_column_files_can_be_tagged(trained, tmp_path):
    folder, *_ = trained
    source = DEMO_FOLDER / "swa" / "test.txt"
    output = tmp_path / "tagged.conll"

    run("predict.py", "--model", folder, "--input", source, "--input_format", "conll", "--output_format", "conll",
        "--output", output)  # fmt: skip

    words = [line.split("\t")[0] for line in output.read_text().splitlines()]
    assert [word for word in words if word] == [line.split(" ")[0] for line in source.read_text().splitlines() if line]


@pytest.mark.slow
def test_an_input_is_not_overwritten(trained, tmp_path):
    folder, *_ = trained
    source = tmp_path / "swa.txt"
    source.write_text("Amina alifika.\n")

    with pytest.raises(AssertionError, match=r"`output` is .*, which is `input` too, and would be overwritten before"):
        run("predict.py", "--model", folder, "--input", source, "--output", source)

    assert source.read_text() == "Amina alifika.\n"


@pytest.mark.slow
def test_the_embedded_sentences_of_an_export_are_as_many_as_wanted_of_a_split_that_is_there(trained, tmp_path):
    folder, *_ = trained
    export = ["export.py", "--model", folder, "--output_dir", tmp_path / "onnx", "--max_sentences", 5]

    with pytest.raises(AssertionError, match=r"The corpus of \w+ has no tets split, but train, validation, test"):
        run(*export, "--split", "tets")
    run(*export)

    report = json.loads((tmp_path / "onnx" / "parity.json").read_text())
    assert {of_language["sentences"] for of_language in report["languages"].values()} == {5}


@pytest.mark.slow
def test_an_exported_model_predicts_as_the_model_does(trained, tmp_path):
    folder, *_ = trained
    texts = "Amina Bako alifika Dar es Salaam.\n\nDona vive en Madrid\n"

    printed = run(
        "export.py", "--model", folder, "--output_dir", tmp_path / "onnx",
        "--corpora", f"swa={DEMO_FOLDER / 'swa'}", "--max_sentences", 20,
    )  # fmt: skip
    ours, theirs = (
        run("predict.py", "--model", model, "--output_format", "conll", stdin=texts)
        for model in (tmp_path / "onnx", folder)
    )

    report = json.loads((tmp_path / "onnx" / "parity.json").read_text())
    assert parity_table(report) in printed
    assert report["languages"]["swa"]["sentences"] == 20
    assert ours == theirs
    assert len(ours.split()) > 10
    with pytest.raises(AssertionError, match="as it was exported; expected a model"):
        run("predict.py", "--model", tmp_path / "onnx", "--int8_lstms", "true", stdin=texts)


def test_lstms_of_8_bits_predict_and_are_scored_nearly_as_the_model_is(trained, tmp_path):
    folder, *_ = trained
    files, corpora = (tmp_path / "plain.json", tmp_path / "fast.json"), ["--corpora", f"swa={DEMO_FOLDER / 'swa'}"]

    for path, use in zip(files, ("false", "true"), strict=True):
        run("evaluate.py", "--model", folder, *corpora, "--int8_lstms", use, "--output_file", path)
    lines = run(
        "predict.py", "--model", folder, "--int8_lstms", "true", "--output_format", "conll", stdin="Dona vive\n"
    )

    plain, fast = (json.loads(path.read_text())["swa"]["f1"] for path in files)
    assert abs(plain - fast) < 3
    assert [line.split()[0] for line in lines.splitlines() if line] == ["Dona", "vive"]


@pytest.mark.slow
def test_a_polyglot_model_continues_on_each_language_beside_monolingual_ones(trained, tmp_path):
    folder, *_ = trained
    corpora = [f"{language}={DEMO_FOLDER / language}" for language in ("swa", "spa")]
    run("byte_crf.py", "--corpora", *corpora, *TINY, "--monolingual", "true", "--output_dir", tmp_path / "alone")
    common = ["--model", folder, "--use_cpu", "true", "--num_train_epochs", 1]

    output = run(
        "continue_finetuning.py", *common, "--languages", "all", "--compare", tmp_path / "alone",
        "--output_dir", tmp_path / "continued",
    )  # fmt: skip
    one = run(
        "continue_finetuning.py", *common, "--language", "swa", "--adam_state", "fresh", "--ewc_strength", 10,
        "--ewc_sentences", 3, "--ewc_samples", 2, "--output_dir", tmp_path / "swa",
    )  # fmt: skip

    alone, polyglot, continued = (read_results(of) for of in (tmp_path / "alone", folder, tmp_path / "continued"))
    assert [of_one["regime"] for of_one in (alone, polyglot, continued)] == ["monolingual", "polyglot", "continued"]
    for language in ("swa", "spa"):
        # The kept model is that of one seed.
        assert (
            continued["before"]["test"][language]["f1"]["mean"] in polyglot["scores"]["test"][language]["f1"]["values"]
        )
        assert (tmp_path / "continued" / language / "adam_state.safetensors").is_file()
    assert continued["arguments"]["max_train_sentences"] == 40  # as in the run that made the model
    assert not continued["adam_state"]["fresh"]
    weights = (folder / "model.safetensors").read_bytes()
    assert continued["base_model_sha256"] == hashlib.sha256(weights).hexdigest()
    assert re.search(r"Language +\| +alone +\| +tiny-byte-crf +\| +continued +\| +against alone", output)
    assert "Adam begins with a fresh state." in one
    assert "Weights are held that matter to 6 sentences of swa, spa." in one
    assert read_results(tmp_path / "swa")["arguments"]["ewc_strength"] == 10
    assert read_results(tmp_path / "swa")["adam_state"] is None

    saved = tmp_path / "transfer.json"
    corpora = [DEMO_FOLDER / "swa", DEMO_FOLDER / "spa"]
    table = run("transfer.py", "--runs", tmp_path / "continued", "--corpora", *corpora, "--output_file", saved)
    report = json.loads(saved.read_text())
    assert transfer_matrix_table(report) in table
    for language, of_model in report["scores"].items():
        scores = tmp_path / f"{language}.json"
        run("evaluate.py", "--model", tmp_path / "continued" / language, "--corpora", *corpora,
            "--output_file", scores)  # fmt: skip
        evaluated = json.loads(scores.read_text())
        assert of_model == {of: [pytest.approx(evaluated[of]["f1"])] for of in ("swa", "spa")}
    assert "| all" in run("transfer.py", "--runs", folder, "--corpora", *corpora)


ADAPTERS = """
from hf_polyglot.inference.adapters import load_language_adapters
from hf_polyglot.inference.tagging import tag_words
from transformers import AutoTokenizer
model = load_language_adapters("me/base", {language: f"me/tiny-{language}" for language in ("swa", "spa")})
words = [["Amina", "alifika", "Dar", "es", "Salaam", "."]] * 3
for of_one in tag_words(model, AutoTokenizer.from_pretrained("me/base"), words, languages=["swa", "spa", "deu"]):
    print(*of_one.tags)
"""


@pytest.mark.slow
@pytest.mark.takes_minutes
def test_adapters_of_each_language_are_trained_pushed_evaluated_switched_and_merged(tmp_path):
    base, adapters, merged = tmp_path / "base", tmp_path / "adapters", tmp_path / "merged"
    corpora = [f"{language}={DEMO_FOLDER / language}" for language in ("swa", "spa")]
    text = "Amina Bako alifika Dar es Salaam.\n"
    with FakeHub() as hub:
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
        run(
            "encoder_crf.py", "--encoder", "tiny", "--corpora", *corpora, "--hidden_size", 16, *TRAINING,
            "--language_transitions", "true", "--output_dir", base, "--push_to_hub", "true",
            "--hub_model_id", "me/base", env=environment,
        )  # fmt: skip
        common = ["--model", "me/base", "--use_cpu", "true", "--languages", "all", "--num_train_epochs", 2]
        whole = run("continue_finetuning.py", *common, "--output_dir", tmp_path / "whole", env=environment)
        output = run(
            "continue_finetuning.py", *common, "--adapter", "lora", "--learning_rate", 1e-2, "--output_dir", adapters,
            "--compare", tmp_path / "whole", "--push_to_hub", "true", "--hub_model_id", "me/tiny", env=environment,
        )  # fmt: skip
        files = {language: hub.files(f"me/tiny-{language}") for language in ("swa", "spa")}
        switched = subprocess.run(
            [sys.executable, "-c", ADAPTERS], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        card = re.findall(r"```python\n(.*?)```", files["swa"]["README.md"].decode(), flags=re.DOTALL)
        by_card = subprocess.run(
            [sys.executable, "-c", card[0]], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        run("merge_adapter.py", "--model", "me/tiny-swa", "--output_dir", merged, env=environment)

    assert switched.returncode == 0, switched.stderr[-2000:]
    assert by_card.returncode == 0, by_card.stderr[-2000:]
    assert "me/base" in files["swa"]["README.md"].decode().split("---")[1]
    for of_language in files.values():
        assert {"adapter_config.json", "adapter_model.safetensors", "adam_state.safetensors", "results.json"} <= set(
            of_language
        )
        assert not {"model.safetensors", "config.json"} & set(of_language)
    results, continued = read_results(adapters), read_results(tmp_path / "whole")
    assert sizes_table([continued, results]) in output
    assert "Adam's state is carried" in output and "Adam's state is carried" in whole
    assert results["size"]["bytes"] < continued["size"]["bytes"]
    of_swahili = read_results(adapters / "swa")
    weights = adapters / "swa" / "adapter_model.safetensors"
    numbers = sum(tensor.numel() for tensor in load_file(weights).values())
    assert of_swahili["size"] == {"trained_parameters": numbers, "bytes": weights.stat().st_size}
    assert of_swahili["base_model_sha256"] == hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()

    # Here, the base lies in a folder.
    base_model = ["--base_model", base]
    together = evaluated(adapters, [DEMO_FOLDER / name for name in ("swa", "spa", "por")], tmp_path / "errors.json",
                         *base_model)  # fmt: skip
    assert "There is no adapter for por: read with the base alone." in together
    errors = json.loads((tmp_path / "errors.json").read_text())["errors"]
    for name, model, options in (("swa", adapters / "swa", base_model), ("swa", merged, []), ("por", base, [])):
        evaluated(model, [DEMO_FOLDER / name], tmp_path / "error.json", *options)
        assert json.loads((tmp_path / "error.json").read_text())["errors"] == {name: errors[name]}
    predicted = [
        run("predict.py", "--model", model, *options, stdin=text)
        for model, options in (
            (merged, ["--language", "swa"]),
            (adapters / "swa", ["--language", "swa", *base_model]),
            (adapters, ["--language", "swa", *base_model]),
        )
    ]
    records = [json.loads(line) for line in predicted]
    for record in records:
        assert [entity["word"] for entity in record["entities"]] == [
            entity["word"] for entity in records[0]["entities"]
        ]
    kept = read_results(merged)
    assert kept["adapter"]["merged"] and kept["size"]["bytes"] == (merged / "model.safetensors").stat().st_size
    assert "merged into its weights" in (merged / "README.md").read_text()
    with pytest.raises(AssertionError, match=r"is an adapter; expected a whole model"):
        run("continue_finetuning.py", "--model", adapters / "swa", "--language", "swa", "--use_cpu", "true",
            "--output_dir", tmp_path / "again")  # fmt: skip


@pytest.fixture(scope="module")
def trained_on_words(tmp_path_factory):
    """Two treebanks and a model of their parts of speech, a third one tested on only."""
    treebanks = write_treebanks(tmp_path_factory.mktemp("ud"), ("aa_one", "bb_two", "zz_zero"))
    folder = tmp_path_factory.mktemp("runs") / "tiny-upos"
    output = run(
        "byte_crf.py", "--task", "upos", "--corpora", treebanks / "aa*", treebanks / "bb_two-ud",
        "--zero_shot_corpora", treebanks / "zz*", *TINY, "--learning_rate", "1e-2", "--output_dir", folder,
    )  # fmt: skip
    return treebanks, folder, output


@pytest.mark.slow
def test_parts_of_speech_are_learnt_scored_and_carded_by_accuracy(trained_on_words):
    _, folder, output = trained_on_words

    results = read_results(folder)
    card = (folder / "README.md").read_text()

    assert results["arguments"]["task"] == "upos"
    assert set(results["scores"]["test"]) == {
        "aa_one", "bb_two", "zz_zero", "average", "average_source", "average_zero_shot"
    }  # fmt: skip
    assert all(set(scores) == {"accuracy"} for scores in results["scores"]["test"].values())
    assert results_table(results) in output
    assert "Accuracy on the test sets, in percent of the words." in card
    assert "type: accuracy" in card
    counts = read_sentence_counts(folder).counts  # which checks them against the results
    assert counts["test"]["aa_one"].shape == (1, 7, 3)


@pytest.mark.slow
def test_parts_of_speech_are_evaluated_and_predicted_with_the_second_best(trained_on_words, tmp_path):
    treebanks, folder, _ = trained_on_words
    scored = ["--model", folder, "--corpora", treebanks / "aa_one-ud"]
    tag = ["--model", folder, "--input", treebanks / "aa_one-ud-test.conllu"]

    run("evaluate.py", *scored, "--output_file", tmp_path / "scores.json", "--sentence_counts", tmp_path / "counts")
    run("evaluate.py", *scored, "--second_best_for", "NOUN", "--output_file", tmp_path / "without.json")
    tagged = run("predict.py", *tag, "--output_format", "conll")
    without = run("predict.py", *tag, "--second_best_for", "NOUN")

    scores, without_nouns = (json.loads((tmp_path / name).read_text()) for name in ("scores.json", "without.json"))
    test = read_results(folder)["scores"]["test"]
    assert scores["aa_one"]["accuracy"] == pytest.approx(test["aa_one"]["accuracy"]["mean"])
    assert without_nouns["aa_one"]["accuracy"] < scores["aa_one"]["accuracy"]
    assert read_sentence_counts(tmp_path / "counts").counts["test"]["aa_one"].shape == (1, 7, 3)
    words = [line.split("\t") for line in tagged.splitlines() if line]
    assert [word for word, _ in words][:3] == ["amina", "sings", "!"]
    assert {tag for _, tag in words} >= {"NOUN", "PUNCT"}
    records = [json.loads(line) for line in without.splitlines()]
    assert records[0]["words"] == ["amina", "sings", "!"]
    assert not {tag for record in records for tag in record["tags"]} & {"NOUN"}
    with pytest.raises(AssertionError, match=r"`error_file` is 'errors.json', and the model's task is 'upos'"):
        run("evaluate.py", *scored, "--error_file", "errors.json")


@pytest.mark.slow
def test_predicted_conllu_is_scored_as_in_the_shared_task(trained_on_words, tmp_path):
    treebanks, folder, _ = trained_on_words
    gold = [treebanks / f"{name}-ud-test.conllu" for name in ("aa_one", "bb_two")]
    system = [tmp_path / f"{index}.conllu" for index in range(2)]
    predict = ["--model", folder, "--output_format", "conllu"]
    for source, output in zip(gold, system, strict=True):
        run("predict.py", *predict, "--input", source, "--output", output)
    files = ["--gold_files", *gold, "--system_files", *system]

    table = run("evaluate_conllu.py", *files, "--output_file", tmp_path / "scores.json")

    scores = json.loads((tmp_path / "scores.json").read_text())
    test = read_results(folder)["scores"]["test"]
    assert conllu_table(scores) in table
    assert list(scores) == ["aa_one", "bb_two", "average"]
    for treebank in ("aa_one", "bb_two"):
        assert scores[treebank]["Words"]["f1"] == scores[treebank]["UFeats"]["f1"] == 100
        assert scores[treebank]["UPOS"]["f1"] == pytest.approx(test[treebank]["accuracy"]["mean"])
    with pytest.raises(AssertionError, match=r"There are 1 system files, and the gold files are of aa_one, bb_two"):
        run("evaluate_conllu.py", *files[:-1])
    raw = run("predict.py", *predict, stdin="amina sings!\n\noh\n")
    assert [line.split("\t")[1::8] for line in raw.splitlines() if "\t" in line] == [
        ["amina", "_"], ["sings", "SpaceAfter=No"], ["!", "_"], ["oh", "_"]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained_on_both(tmp_path_factory):
    """A treebank with a dev set, one without, and one without features; and a model with two heads."""
    treebanks = write_treebanks(tmp_path_factory.mktemp("both"), ("aa_one", "bb_two", "cc_three"))
    (treebanks / "bb_two-ud-dev.conllu").unlink()
    for path in treebanks.glob("cc_three*"):
        path.write_text(re.sub(r"(Case=Nom\|)?(Number|Tense)=\w+", "_", path.read_text()))
    folder = tmp_path_factory.mktemp("runs") / "both"
    output = run(
        "byte_crf.py", "--task", "feats", "upos", "--task_weights", "feats=0.5", "--corpora", treebanks / "*", *TINY,
        "--learning_rate", "1e-2", "--output_dir", folder,
    )  # fmt: skip
    return treebanks, folder, output


@pytest.mark.slow
def test_one_model_learns_two_tasks_and_says_what_each_treebank_lacks(trained_on_both, tmp_path):
    _, folder, output = trained_on_both

    results = read_results(folder)
    config = json.loads((folder / "config.json").read_text())

    assert "cc_three: no feats. It is trained and scored on its other tasks." in output
    assert "bb_two: without a dev set, a model of several languages is chosen by the dev sets of the others" in output
    assert results["arguments"]["task"] == "upos feats"
    assert (config["label_scheme"], list(config["further_labels"])) == ("upos", ["feats"])
    assert config["loss_weights"] == {"feats": 0.5}
    test = results["scores"]["test"]
    assert set(test["aa_one"]) == {"upos_accuracy", "feats_accuracy", "task_mean"}
    assert set(test["cc_three"]) == {"upos_accuracy", "task_mean"}
    assert set(results["scores"]["validation"]) == {"aa_one", "cc_three", "average"}
    assert results_table(results) in output
    assert "One model with a head for each task: upos, feats." in (folder / "README.md").read_text()
    counts = {task: read_sentence_counts(folder / f"sentence_counts-{task}.json") for task in ("upos", "feats")}
    assert set(counts["feats"].counts["test"]) == {"aa_one", "bb_two"}
    correct, words, _ = counts["upos"].counts["test"]["cc_three"][0].sum(0)
    assert test["cc_three"]["upos_accuracy"]["mean"] == pytest.approx(100 * correct / words)
    with pytest.raises(ValueError, match=r"is of several tasks, whose counts are in sentence_counts-feats.json, "):
        read_sentence_counts(folder)
    of_feats = json.loads((folder / "sentence_counts-feats.json").read_text())
    of_feats["counts"]["test"]["aa_one"]["correct"][0][0] -= 1
    elsewhere = tmp_path / "sentence_counts-feats.json"
    elsewhere.write_text(json.dumps(of_feats))
    assert read_sentence_counts(elsewhere).name == folder.name
    shutil.copy(folder / "results.json", tmp_path)
    with pytest.raises(ValueError, match=r"is not of the run of .*: fingerprint, runs and F1 of aa_one on test are"):
        read_sentence_counts(elsewhere)


@pytest.mark.slow
def test_both_columns_are_written_in_one_pass_and_scored_together(trained_on_both, tmp_path):
    treebanks, folder, _ = trained_on_both
    names = [path.name for path in sorted(treebanks.glob("*-test.conllu"))]
    predict = ["--model", folder, "--output_format", "conllu"]
    for name in names:
        run("predict.py", *predict, "--input", treebanks / name, "--output", tmp_path / name)

    by_folder = run(
        "evaluate_conllu.py", "--gold_files", treebanks, "--system_files", tmp_path,
        "--output_file", tmp_path / "scores.json",
    )  # fmt: skip
    by_pattern = run(
        "evaluate_conllu.py", "--gold_files", treebanks / "*test*", "--system_files", tmp_path / "*-test.conllu"
    )
    run(
        "evaluate.py", "--model", folder, "--corpora", treebanks / "*", "--output_file", tmp_path / "own.json",
        "--sentence_counts", tmp_path / "counts.json",
    )  # fmt: skip

    assert by_folder == by_pattern
    scores, own = (json.loads((tmp_path / name).read_text()) for name in ("scores.json", "own.json"))
    assert list(scores) == ["aa_one", "bb_two", "cc_three", "average"]
    assert scores["average"]["AllTags"]["f1"] == pytest.approx(
        sum(scores[name]["AllTags"]["f1"] for name in scores if name != "average") / 3
    )
    test = read_results(folder)["scores"]["test"]
    for treebank in ("aa_one", "bb_two"):
        assert scores[treebank]["UPOS"]["f1"] == pytest.approx(test[treebank]["upos_accuracy"]["mean"])
        assert scores[treebank]["UFeats"]["f1"] == pytest.approx(test[treebank]["feats_accuracy"]["mean"])
        assert {name: score["mean"] for name, score in test[treebank].items()} == pytest.approx(own[treebank])
    own_counts = read_sentence_counts(tmp_path / "counts-feats.json")
    assert own_counts.fingerprints == {
        "test": read_sentence_counts(folder / "sentence_counts-feats.json").fingerprints["test"]
    }
    with pytest.raises(
        AssertionError, match=r"There is no .*; expected a system file for each gold file, of its name"
    ):
        run("evaluate_conllu.py", "--gold_files", treebanks / "*", "--system_files", tmp_path)
    with pytest.raises(AssertionError, match=r"has no file .*-test.conllu; expected one at least"):
        run("evaluate_conllu.py", "--gold_files", treebanks / "zz*", "--system_files", tmp_path)


@pytest.mark.slow
def test_columns_and_records_have_the_tags_of_each_task(trained_on_both):
    _, folder, _ = trained_on_both

    columns = run("predict.py", "--model", folder, "--output_format", "conll", stdin="amina sings!\n")
    records = run("predict.py", "--model", folder, stdin="amina sings!\n")
    raw = run("predict.py", "--model", folder, "--output_format", "conllu", stdin="amina sings!\n")

    words = [line.split("\t") for line in columns.splitlines() if line]
    record = json.loads(records)
    assert [word for word, *_ in words] == record["words"] == ["amina", "sings", "!"]
    assert [upos for _, upos, _ in words] == record["tags_by_task"]["upos"]
    assert [feats for *_, feats in words] == record["tags_by_task"]["feats"]
    rows = [line.split("\t") for line in raw.splitlines() if "\t" in line]
    assert [(row[3], row[5]) for row in rows] == [(upos, feats) for _, upos, feats in words]


@pytest.mark.slow
def test_seeds_of_several_tasks_are_joined(trained_on_both, tmp_path):
    _, folder, _ = trained_on_both
    shutil.copytree(folder, tmp_path / "other")
    results = json.loads((folder / "results.json").read_text())
    other = json.dumps(results | {"seeds": [43], "arguments": results["arguments"] | {"seeds": [43]}})
    (tmp_path / "other" / "results.json").write_text(other)

    run("join_seeds.py", folder, tmp_path / "other", "--output_dir", tmp_path / "joined")

    joined = read_results(tmp_path / "joined")
    assert joined["seeds"] == [*results["seeds"], 43]
    one, both = (of_run["scores"]["test"]["aa_one"]["upos_accuracy"] for of_run in (results, joined))
    assert both == {"mean": one["mean"], "std": 0.0, "values": one["values"] * 2}
    for task in ("upos", "feats"):
        counts = read_sentence_counts(tmp_path / "joined" / f"sentence_counts-{task}.json").counts["test"]["aa_one"]
        assert len(counts) == 2


@pytest.mark.slow
def test_all_tasks_are_exported(trained_on_both, tmp_path):
    treebanks, folder, _ = trained_on_both
    as_columns = ["--output_format", "conll"]

    printed = run("export.py", "--model", folder, "--output_dir", tmp_path / "onnx", "--corpora", treebanks / "*")
    ours, theirs = (
        run("predict.py", "--model", model, *as_columns, stdin="amina sings!\n")
        for model in (tmp_path / "onnx", folder)
    )

    assert ours == theirs
    further = json.loads((tmp_path / "onnx" / "parity.json").read_text())["further"]["feats"]["languages"]
    test = read_results(folder)["scores"]["test"]
    for treebank in ("aa_one", "bb_two"):
        assert further[treebank]["scores"]["onnx"] == pytest.approx(test[treebank]["feats_accuracy"]["mean"])
    assert printed.count("Same labels, ONNX") == 2


@pytest.mark.slow
def test_a_meta_lstm_is_trained_on_two_tasks_part_by_part_and_exported_with_both(trained_on_both, tmp_path):
    treebanks, _, _ = trained_on_both
    folder = tmp_path / "meta"

    output = run(
        "meta_lstm.py", "--task", "upos", "feats", "--corpora", treebanks / "*", "--embedding_size", 16,
        "--hidden_size", 16, *META_LSTM, *TRAINING, "--learning_rate", "1e-2", "--selection", "average",
        "--output_dir", folder,
    )  # fmt: skip
    exported = run("export.py", "--model", folder, "--output_dir", tmp_path / "onnx", "--corpora", treebanks / "*")

    results = read_results(folder)
    assert list(results["parts"]) == ["characters", "words", "joint"]
    assert set(results["scores"]["test"]["aa_one"]) == {"upos_accuracy", "feats_accuracy", "task_mean"}
    assert set(results["scores"]["test"]["cc_three"]) == {"upos_accuracy", "task_mean"}
    assert results_table(results) in output
    assert exported.count("Same labels, ONNX") == 2
    assert not list(folder.rglob("epoch_weights"))


@pytest.mark.slow
def test_slicer_is_trained_on_two_tasks_and_scored_on_those_that_a_treebank_has(trained_on_both, tmp_path):
    treebanks, _, _ = trained_on_both

    run(
        "slicer.py", "--encoder", "tiny", "--task", "upos", "feats", "--corpora", treebanks / "aa_one-ud",
        "--zero_shot_corpora", treebanks / "cc_three-ud", "--slice_width", 8, *TRAINING, "--output_dir", tmp_path,
    )  # fmt: skip

    for name in ("standard", "slicer-h8"):
        results = read_results(tmp_path / name)
        assert set(results["scores"]["test"]["aa_one"]) == {"upos_accuracy", "feats_accuracy", "task_mean"}
        assert set(results["scores"]["test"]["cc_three"]) == {"upos_accuracy", "task_mean"}


@pytest.mark.slow
def test_several_tasks_are_refused_where_there_is_one_head(trained_on_both, tmp_path):
    treebanks, folder, _ = trained_on_both
    common = ["--task", "upos", "feats", "--corpora", treebanks / "aa*", "--output_dir", tmp_path, *TRAINING]

    with pytest.raises(AssertionError, match=r"`task` is 'upos feats', and charner has one head; expected one task"):
        run("charner.py", *common)
    with pytest.raises(
        AssertionError, match=r"`task` is 'upos', and the model was trained for 'upos feats'; expected"
    ):
        run("continue_finetuning.py", "--model", folder, "--language", "aa_one", "--task", "upos")
    with pytest.raises(AssertionError, match=r"`ewc_strength` is 1.0, and .* has a head for each of upos, feats; exp"):
        run("continue_finetuning.py", "--model", folder, "--language", "aa_one", "--ewc_strength", 1)


@pytest.mark.slow
def test_a_model_of_several_tasks_is_continued_on_languages_that_lack_one_too(trained_on_both, tmp_path):
    treebanks, folder, _ = trained_on_both
    for path in treebanks.glob("aa_one*"):  # classes that the model does not know
        changed = path.read_text().replace("\tX\t", "\tSYM\t").replace("Tense=Past", "Tense=Fut")
        (tmp_path / path.name.replace("aa_one", "dd_four")).write_text(changed)
    common = ["--model", folder, "--use_cpu", "true", "--num_train_epochs", 1]

    run("continue_finetuning.py", *common, "--languages", "aa_one", "cc_three", "--output_dir", tmp_path / "all")
    output = run("continue_finetuning.py", *common, "--language", "dd_four", "--corpora", tmp_path / "dd*",
                 "--task_weights", "feats=0.25", "--output_dir", tmp_path / "new")  # fmt: skip

    results, before = read_results(tmp_path / "all"), read_results(folder)["scores"]["test"]
    assert (results["regime"], results["arguments"]["task"]) == ("continued", "upos feats")
    for language in ("aa_one", "cc_three"):
        assert set(results["scores"]["test"][language]) == set(before[language])
        score = results["before"]["test"][language]["task_mean"]["mean"]
        assert score == pytest.approx(before[language]["task_mean"]["mean"])
    assert not read_results(tmp_path / "all" / "cc_three")["adam_state"]["fresh"]
    (fresh,) = re.findall(r"Fresh: (.*)", output)
    assert "classifier.weight" in fresh and "further_heads.feats.crf" in fresh and "units" not in fresh
    configs = [json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "new")]
    old, new = (config["further_labels"]["feats"] for config in configs)
    assert new[: len(old)] == old and "Tense=Fut" in new[len(old) :]
    assert "SYM" in configs[1]["id2label"].values()
    assert [config["loss_weights"]["feats"] for config in configs] == [0.5, 0.25]


@pytest.mark.slow
def test_models_of_parts_of_speech_are_continued(trained_on_words, tmp_path):
    treebanks, folder, _ = trained_on_words
    for path in treebanks.glob("bb_two*"):  # a class that the model does not know
        changed = path.read_text().replace("\tX\t", "\tSYM\t")
        (tmp_path / path.name.replace("bb_two", "cc_three")).write_text(changed)
    common = ["--model", folder, "--use_cpu", "true", "--num_train_epochs", 1]

    run("continue_finetuning.py", *common, "--language", "bb_two", "--output_dir", tmp_path / "bb")
    run(
        "continue_finetuning.py", *common, "--language", "cc_three", "--corpora", tmp_path / "cc*",
        "--output_dir", tmp_path / "cc",
    )  # fmt: skip

    before = read_results(tmp_path / "bb")["before"]["test"]["bb_two"]["accuracy"]["mean"]
    assert before == pytest.approx(read_results(folder)["scores"]["test"]["bb_two"]["accuracy"]["mean"])
    labels = json.loads((tmp_path / "cc" / "config.json").read_text())["id2label"]
    assert list(labels.values()) == ["NOUN", "PUNCT", "VERB", "X", "SYM"]
    with pytest.raises(AssertionError, match=r"`task` is 'feats', and the model was trained for 'upos'"):
        run("continue_finetuning.py", *common, "--language", "bb_two", "--task", "feats")


@pytest.mark.slow
def test_morphology_is_learnt_by_every_recipe_that_labels_words(trained_on_words, tmp_path):
    treebanks, *_ = trained_on_words
    common = ["--task", "feats", "--corpora", treebanks / "[ab]*", *TRAINING]
    small = ["--embedding_size", 16, "--hidden_size", 16]
    recipes = {
        "byte_crf.py": [*small, "--unit_hidden_size", 16, "--use_crf", "false", "--monolingual", "true"],
        "charner.py": small,
        "meta_lstm.py": [*small, *META_LSTM, "--monolingual", "true"],
        "encoder_crf.py": ["--encoder", "tiny", "--use_crf", "false", "--num_hidden_layers", 0],
        "slicer.py": ["--encoder", saved_encoder(tmp_path / "encoder"), "--compare_standard", "false"],
    }

    for recipe, sizes in recipes.items():
        run(recipe, *common, *sizes, "--output_dir", tmp_path / recipe)

        folder = tmp_path / recipe / ("slicer-h8" if recipe == "slicer.py" else "")
        accuracy = read_results(folder)["scores"]["test"]["average"]["accuracy"]["mean"]
        assert 0 < accuracy <= 100
    table = run("evaluate.py", "--model", tmp_path / "byte_crf.py", "--corpora", treebanks / "[ab]*")
    results = read_results(tmp_path / "byte_crf.py")
    assert f"{results['scores']['test']['bb_two']['accuracy']['mean']:.2f}" in table
    with pytest.raises(AssertionError, match=r"`task` is 'feats'; expected 'ner': Byte-to-Span"):
        run("byte_to_span.py", *common)


@pytest.fixture(scope="module")
def trained_on_bytes(tmp_path_factory):
    """A Byte-to-Span trained for a moment."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-byte-to-span"
    output = run(
        "byte_to_span.py", "--corpora", DEMO_FOLDER / "swa", DEMO_FOLDER / "spa", "--embedding_size", 16,
        "--hidden_size", 16, "--num_hidden_layers", 2, "--stride", 16, "--optim", "adamw_torch",
        "--learning_rate", "1e-2", "--num_train_epochs", 1, "--use_cpu", "true", "--max_train_sentences", 40,
        "--max_test_sentences", 20, "--output_dir", folder,
    )  # fmt: skip
    return folder, output


@pytest.mark.slow
def test_byte_to_span_leaves_what_every_training_leaves(trained_on_bytes):
    folder, output = trained_on_bytes

    results = read_results(folder)

    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "span_symbols.py"} <= {
        path.name for path in folder.iterdir()
    }
    assert not list(folder.glob("*.bin"))
    assert (results["model_type"], results["regime"]) == ("byte_to_span", "polyglot")
    assert {"swa", "spa", "average"} == set(results["scores"]["test"])
    assert results_table(results) in output
    assert re.search(r"^swa: [\d,]+ segments; [\d,]+ spans", output, flags=re.MULTILINE)
    assert "gillick" in (folder / "README.md").read_text().lower()


@pytest.mark.slow
def test_byte_to_span_is_evaluated_and_predicts_like_any_model(trained_on_bytes, tmp_path):
    folder, _ = trained_on_bytes
    output = tmp_path / "scores.json"
    text = "他住在北京。\n\nAmina alifika Dar es Salaam.\n"

    run("evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa", "--output_file", output)
    records = [json.loads(line) for line in run("predict.py", "--model", folder, stdin=text).splitlines()]
    lines = run("predict.py", "--model", folder, "--output_format", "conll", stdin=text).splitlines()

    assert set(json.loads(output.read_text())) == {"swa", "average"}
    assert [record["text"] for record in records] == text.splitlines()
    for record in records:
        for entity in record["entities"]:
            assert record["text"][entity["start"] : entity["end"]] == entity["word"]
    assert "".join(line.split("\t")[0] for line in lines) == "他住在北京。AminaalifikaDaresSalaam."


@pytest.mark.slow
@pytest.mark.parametrize("units", ["bytes", "characters"])
def test_charner_trains_and_what_it_leaves_evaluates_and_predicts(units, tmp_path):
    folder = tmp_path / "charner"
    run(
        "charner.py", "--corpora", *(f"{language}={DEMO_FOLDER / language}" for language in ("swa", "hin")),
        "--units", units, "--embedding_size", 16, "--hidden_size", 16, "--num_hidden_layers", 2, *TRAINING,
        "--boundaries", "true", "--label_scheme", "BIOES", "--output_dir", folder,
    )  # fmt: skip

    table = run("evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa")
    output = run("predict.py", "--model", folder, stdin="Amina alifika Dar es Salaam.\n")

    results = read_results(folder)
    assert (results["model_type"], results["regime"]) == ("charner", "polyglot")
    assert "swa" in table
    assert set(read_sentence_counts(folder).counts) == {"test", "validation"}
    assert json.loads(output)["text"] == "Amina alifika Dar es Salaam."
    config = json.loads((folder / "config.json").read_text())
    assert config["boundaries"] is True
    assert config["label_scheme"] == "BIOES"
    assert "S-PER" in config["label2id"]


@pytest.mark.slow
def test_meta_lstm_trains_on_word_vectors_and_knows_new_words_by_their_ngrams(tmp_path):
    rng = np.random.default_rng(0)
    write_vec(tmp_path / "swa.vec", ["Dar", "Salaam", "aliwasili"], rng.normal(size=(3, 8)))
    sizes = {"min_characters": 2, "max_characters": 3, "num_buckets": 40}
    write_bin(tmp_path / "spa.bin", {"de": 5, "nunca": 2}, rng.normal(size=(42, 8)), **sizes)
    folder = tmp_path / "meta"
    corpora = ["--corpora", DEMO_FOLDER / "swa", DEMO_FOLDER / "spa"]
    output = run(
        "meta_lstm.py", *corpora, "--embedding_size", 16, "--hidden_size", 16, *META_LSTM, *TRAINING, "--word_vectors",
        f"swa={tmp_path / 'swa.vec'}", f"spa={tmp_path / 'spa.bin'}", "--num_frequent_words", 2, "--num_subwords", 30,
        "--output_dir", folder,
    )  # fmt: skip

    table = run("evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa")
    tagged = run("predict.py", "--model", folder, stdin="Amina alifika Dar es Salaam.\n")
    run(
        "continue_finetuning.py", "--model", folder, "--language", "swa", "--output_dir", tmp_path / "swa",
        "--num_train_epochs", 1, "--use_cpu", "true",
    )  # fmt: skip

    run("export.py", "--model", folder, "--output_dir", tmp_path / "onnx")
    ours, theirs = (
        run("predict.py", "--model", model, "--output_format", "conll", stdin="Amina alifika Dar es Salaam.\n")
        for model in (tmp_path / "onnx", folder)
    )
    assert ours == theirs

    results = read_results(folder)
    config = json.loads((folder / "config.json").read_text())
    words = json.loads((folder / "tokenizer_config.json").read_text())["words"]
    assert (results["model_type"], list(results["parts"])) == ("meta_lstm", ["characters", "words", "joint"])
    assert "distinct words" in output and "swa" in table
    assert json.loads(tagged)["text"] == "Amina alifika Dar es Salaam."
    assert {"nunca", "Dar"} <= set(words)
    assert (config["num_words"], config["word_vector_size"], config["num_subwords"]) == (len(words) + 1, 8, 30)
    assert "bohnet" in (folder / "README.md").read_text()
    frozen = ["meta_lstm.words.pretrained.weight", "meta_lstm.words.subwords.weight"]
    assert read_results(tmp_path / "swa")["adam_state"]["fresh"] == frozen


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["eng=x.vec"], "`word_vectors` is eng=x.vec; expected one FILE for all.*one of swa, yor"),
        (["x.vec", "y.vec"], "expected one FILE for all languages, or LANGUAGE=FILE"),
        (["swa=x.vec", "swa=y.vec"], "each language once"),
    ],
)
def test_word_vectors_that_are_of_no_language_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        named_word_vectors(given, ["swa", "yor"])
    assert named_word_vectors(["x=1.vec"], ["x"]) == {"x": "1.vec"}
    assert named_word_vectors(["all.vec"], ["swa", "yor"]) == {"swa": "all.vec", "yor": "all.vec"}


@pytest.mark.slow
def test_slicer_stands_beside_standard_fine_tuning(tmp_path):
    output = run(
        "slicer.py", "--num_train_epochs", 1, "--max_train_sentences", 20, "--max_test_sentences", 10,
        "--label_scheme", "IOB1", "--use_cpu", "true", "--output_dir", tmp_path / "slicer",
    )  # fmt: skip

    results = [read_results(tmp_path / "slicer" / name) for name in ("standard", "slicer-h8")]
    assert [of_one["regime"] for of_one in results] == ["standard", "zero-shot"]
    assert results_table(results) in output
    assert "synthetic" in output
    config = json.loads((tmp_path / "slicer" / "slicer-h8" / "config.json").read_text())
    assert config["slice_width"] == 8
    assert config["label_scheme"] == "IOB1"


@pytest.mark.slow
def test_slicer_learns_from_several_languages_and_compares_what_is_taken_of_its_epochs(tmp_path):
    encoder, folder = saved_encoder(tmp_path / "encoder"), tmp_path / "slicer"
    # Two source languages of different sizes, drawn alike.
    (tmp_path / "eng").mkdir()
    for path in (DEMO_FOLDER / "spa").glob("*.txt"):
        sentences = path.read_text(encoding="utf-8").split("\n\n")
        (tmp_path / "eng" / path.name).write_text("\n\n".join(sentences[:10]) + "\n\n", encoding="utf-8")
    unseen = [f"{language}={DEMO_FOLDER / language}" for language in ("swa", "por")]
    output = run(
        "slicer.py", "--encoder", encoder, "--corpora", f"eng={tmp_path / 'eng'}", f"rus={DEMO_FOLDER / 'rus'}",
        "--zero_shot_corpora", *unseen, "--max_train_sentences", 30, "--max_test_sentences", 5, "--alpha", 0,
        "--num_train_epochs", 2, "--compare_selection", "true", "--selection", "average", "--use_cpu", "true",
        "--output_dir", folder,
    )  # fmt: skip

    results = [read_results(folder / name) for name in ("standard", "slicer-h8")]
    assert selection_table(results) in output
    for of_one in results:
        assert set(of_one["scores"]["test"]) == {
            "eng", "rus", "swa", "por", "average", "average_source", "average_zero_shot",
        }  # fmt: skip
        assert of_one["data"]["eng"]["train"]["sentences"] == 10
        assert of_one["data"]["rus"]["train"]["sentences"] == 30
        assert of_one["examples_drawn"]["eng"][0] == pytest.approx(of_one["examples_drawn"]["rus"][0], abs=2)
        assert "average, trained on" in results_table(of_one)
        assert of_one["selection"]["average"]["scores"]["test"] == of_one["scores"]["test"]
        assert selection_table(of_one) in (folder / of_one["name"] / "README.md").read_text()
    assert not (folder / "slicer-h8" / "adam_state.safetensors").exists()
    assert not list(folder.rglob("epoch_weights"))


@pytest.mark.slow
def test_an_encoder_crf_learns_transitions_of_each_language(tmp_path):
    folder = tmp_path / "encoder_crf"
    run(
        "encoder_crf.py", "--encoder", "tiny", "--num_train_epochs", 1, "--max_train_sentences", 20,
        "--max_test_sentences", 10, "--hidden_size", 16, "--language_transitions", "true", "--label_scheme", "IOB1",
        "--num_encoder_layers", 2, "--num_frozen_layers", 1,
        "--use_cpu", "true", "--output_dir", folder,
    )  # fmt: skip

    lowest, upper = ("encoder.layer.0.output.dense.weight", "encoder.layer.1.output.dense.weight")
    before, after = load_file(folder / "encoder" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert torch.equal(after[f"encoder.{lowest}"], before[lowest])
    assert not torch.equal(after[f"encoder.{upper}"], before[upper])
    assert not [name for name in after if ".layer.2." in name]
    results = read_results(folder)
    trained_on = [language for language, splits in results["data"].items() if "train" in splits]
    config = json.loads((folder / "config.json").read_text())
    assert (config["languages"], config["label_scheme"]) == (trained_on, "IOB1")
    tagged = run("predict.py", "--model", folder, "--language", trained_on[0], stdin="Habari!\n")
    assert json.loads(tagged)["text"] == "Habari!"


@pytest.mark.slow
def test_what_the_masked_language_model_leaves_is_an_encoder_for_other_recipes(tmp_path):
    text, folder, tagger = tmp_path / "text.txt", tmp_path / "mlm", tmp_path / "tagger"
    text.write_text("Habari za asubuhi!\n\n" + "neno " * 300 + "\n")
    small = ["--use_cpu", "true", "--disable_tqdm", "true", "--output_dir"]
    output = run(
        "mlm.py", "--encoder", "tiny", "--corpora", DEMO_FOLDER / "swa", "--text_files", text,
        "--num_train_epochs", 3, "--max_pieces", 40, "--learning_rate", 1e-3, "--num_encoder_layers", 2,
        *small, folder,
    )  # fmt: skip
    run(
        "encoder_crf.py", "--encoder", folder, "--corpora", DEMO_FOLDER / "swa", "--max_train_sentences", 8,
        "--max_test_sentences", 4, "--num_train_epochs", 1, "--num_frozen_layers", 2, *small, tagger,
    )  # fmt: skip

    results = json.loads((folder / "mlm_results.json").read_text())
    perplexity = results["perplexity"]["swa"]
    assert perplexity["after"] < 0.9 * perplexity["before"]
    assert f"swa: perplexity {perplexity['before']:.2f} before, {perplexity['after']:.2f} after" in output
    state = json.loads((folder / f"checkpoint-{results['steps']}" / "trainer_state.json").read_text())
    (*_, last) = [log["eval_swa_loss"] for log in state["log_history"] if "eval_swa_loss" in log]
    assert np.exp(last) == pytest.approx(perplexity["after"])  # the same pieces were hidden
    assert results["data"][str(text)] == {"train": {"texts": 2}}
    encoder, tagged = (load_file(path / "model.safetensors") for path in (folder, tagger))
    of_layers = [name for name in encoder if ".layer." in name]
    assert len({name.split(".layer.")[1][0] for name in of_layers}) == 2
    for name in of_layers:
        assert torch.equal(tagged[f"encoder.{name.split('.', 1)[1]}"], encoder[name])
    assert not list(folder.glob("**/*.bin"))
    alone = tmp_path / "alone"
    small = ["--encoder", "tiny", *small]
    run("mlm.py", "--text_files", text, "--max_steps", 1, "--resume_from_checkpoint", "true", *small, alone)
    assert json.loads((alone / "mlm_results.json").read_text())["perplexity"] == {}
    # Not uploaded: the Trainer leaves out what begins with `_`.
    assert (alone / "_encoder").is_dir() and not (alone / "encoder").exists()
    with pytest.raises(AssertionError, match=r"`hub_strategy` is every_save; expected end"):
        run("mlm.py", "--text_files", text, "--hub_strategy", "every_save", *small, alone)


@pytest.fixture(scope="module")
def linear_teacher(tmp_path_factory):
    """A linear tagger on a tiny encoder."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run(
        "encoder_crf.py", "--encoder", "tiny", "--corpora", DEMO_FOLDER / "swa", "--num_concatenated_layers", 1,
        "--num_hidden_layers", 0, "--use_crf", "false", *TRAINING, "--output_dir", folder,
    )  # fmt: skip
    return folder


STUDENT = [
    "--corpora", DEMO_FOLDER / "swa", "--student_layers", 1, "--student_hidden_size", 16, *TRAINING,
    "--distillation_batch_size", 8, "--distillation_epochs", 1,
]  # fmt: skip


@pytest.mark.slow
def test_a_student_is_taught_fine_tuned_published_and_continued(linear_teacher, tmp_path):
    text, folder = tmp_path / "yor.txt", tmp_path / "student"
    text.write_text("Amina lives in Kano.\n\nBako alifika Lagos!\n")
    given = ["--teacher", linear_teacher, "--text_files", text, *STUDENT, "--output_dir", folder]
    output = run("distill.py", *given)

    assert "Distillation on 42 sentences, at pieces" in output
    results = read_results(folder)
    assert (results["regime"], results["teacher"]) == ("distilled", str(linear_teacher))
    assert results["distilled_on"] == {"swa": 40, "yor": 2}
    assert results["data"]["swa"]["train"]["sentences"] == 40 and "yor" not in results["data"]
    assert f"Its teacher was `{linear_teacher}`" in (folder / "README.md").read_text()
    config = json.loads((folder / "config.json").read_text())
    assert config["encoder_config"]["vocab_size"] < 2000
    distilled = load_file(folder / "seed-42" / "distilled" / "model.safetensors")
    assert not all(torch.equal(load_file(folder / "model.safetensors")[name], distilled[name]) for name in distilled)

    (checkpoint,) = (folder / "seed-42" / "distilled").glob("checkpoint-*")
    seal = json.loads((checkpoint / "checkpoint_files.json").read_text())
    (checkpoint / "checkpoint_files.json").write_text(json.dumps(seal | {"seconds": 1000.0}))
    resumed = run("distill.py", *given, "--resume_from_checkpoint", "true")
    assert "The student was distilled already" in resumed
    assert read_results(folder)["seconds"] > 1000
    with pytest.raises(AssertionError, match=r"began with temperature 3.0 \(now 2.0\); expected the same. Resume it"):
        run("distill.py", *given, "--resume_from_checkpoint", "true", "--temperature", 2)
    alone = ["--num_train_epochs", 0, "--resume_from_checkpoint", "true", "--temperature", 2]
    with pytest.raises(AssertionError, match=r"began with temperature 3.0 \(now 2.0\); expected the same. Resume it"):
        run("distill.py", *given, *alone)
    with pytest.raises(AssertionError, match=r"`compare_selection` is True and `num_train_epochs` is 0; expected ep"):
        run("distill.py", *given, "--num_train_epochs", 0, "--compare_selection", "true")
    with pytest.raises(AssertionError, match=r"`teacher_share` is 0.5 and `num_train_epochs` is 0; expected epochs"):
        run("distill.py", *given, "--num_train_epochs", 0, "--teacher_share", 0.5)
    run("evaluate.py", "--model", folder, "--corpora", DEMO_FOLDER / "swa")
    run("continue_finetuning.py", "--model", folder, "--language", "swa", "--output_dir", tmp_path / "continued")
    run("encoder_crf.py", "--encoder", folder / "student", "--corpora", DEMO_FOLDER / "swa", *TRAINING,
        "--output_dir", tmp_path / "same")  # fmt: skip


@pytest.mark.slow
def test_either_phase_of_a_distillation_can_be_left_out(linear_teacher, tmp_path):
    alone, taught = tmp_path / "alone", tmp_path / "taught"
    given = ["--teacher", linear_teacher, *STUDENT, "--output_dir"]

    run("distill.py", *given, alone, "--distillation_epochs", 0)
    output = run(
        "distill.py", *given, taught, "--num_train_epochs", 0, "--student_type", "byte_crf", "--use_crf", "true"
    )

    assert "(IOB2) of the teacher's probability" in output
    assert read_results(alone)["regime"] == "monolingual" and "teacher" not in read_results(alone)
    assert not (alone / "seed-42" / "distilled").exists()
    results = read_results(taught)
    assert (results["regime"], results["model_type"], results["examples_drawn"]) == ("distilled", "byte_crf", {})


@pytest.mark.slow
def test_a_teacher_may_have_a_share_of_fine_tuning_alone(linear_teacher, tmp_path):
    output = run(
        "distill.py", "--teacher", linear_teacher, *STUDENT, "--distillation_epochs", 0, "--teacher_share", 0.5,
        "--student_lstm_layers", 1, "--student_lstm_size", 8, "--use_crf", "true", "--output_dir", tmp_path,
    )  # fmt: skip

    assert "Distillation on" not in output and "of the teacher's probability" in output
    results = read_results(tmp_path)
    assert (results["regime"], results["teacher"]) == ("distilled", str(linear_teacher))
    assert results["arguments"]["teacher_share"] == 0.5 and sum(results["examples_drawn"]["swa"]) > 0
    assert "distilled_on" not in results
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"], config["use_crf"]) == (1, 8, True)
    assert f"Its teacher was `{linear_teacher}`" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_a_teacher_of_several_tasks_teaches_all_of_them_or_some(tmp_path):
    folder = tmp_path / "treebanks"
    folder.mkdir()
    given = ["--corpora", write_treebanks(folder, ("aa_one", "bb_two")) / "*"]
    teacher = tmp_path / "teacher"
    run("encoder_crf.py", "--encoder", "tiny", "--task", "feats", "upos", "--num_concatenated_layers", 1,
        "--num_hidden_layers", 0, "--use_crf", "false", *given, *TRAINING, "--output_dir", teacher)  # fmt: skip
    distill = ["distill.py", "--teacher", teacher, *given, *STUDENT[2:]]

    output = run(*distill, "--output_dir", tmp_path / "both")
    run(*distill, "--task", "feats", "--output_dir", tmp_path / "feats")

    assert ", at pieces" in output
    results = read_results(tmp_path / "both")
    assert results["arguments"]["task"] == "upos feats" and results["regime"] == "distilled"
    assert set(results["scores"]["test"]["aa_one"]) == {"upos_accuracy", "feats_accuracy", "task_mean"}
    assert read_results(tmp_path / "feats")["arguments"]["task"] == "feats"
    configs = [json.loads((folder / "config.json").read_text()) for folder in (teacher, tmp_path / "feats")]
    assert configs[0]["further_labels"]["feats"] == list(configs[1]["id2label"].values())
    with pytest.raises(
        AssertionError, match=r"`task` is 'ner', and the teacher was trained for upos, feats; expected"
    ):
        run(*distill, "--task", "ner", "--output_dir", tmp_path / "none")


@pytest.mark.slow
def test_an_encoder_without_a_head_is_distilled_to_one_that_recipes_take(tmp_path):
    text, folder = tmp_path / "swa.txt", tmp_path / "mini"
    text.write_text("Amina lives in Kano.\nBako alifika Lagos!\n" * 100)
    output = run(
        "distill_encoder.py", "--teacher", saved_encoder(tmp_path / "large"), "--text_files", text, "--student_layers",
        1, "--student_hidden_size", 16, "--num_train_epochs", 2, "--keep_teacher_outputs", "true", "--save_dtype",
        "float16", "--num_teacher_layers", 1, "--freeze_embeddings", "true", "--use_cpu", "true",
        "--output_dir", folder,
    )  # fmt: skip
    run("slicer.py", "--encoder", folder, "--corpora", DEMO_FOLDER / "swa", *TRAINING, "--compare_standard", "false",
        "--output_dir", tmp_path / "tagger")  # fmt: skip

    results = json.loads((folder / "distillation_results.json").read_text())
    assert results["teacher_layers"] == 1
    before, after = (
        load_file(path / "model.safetensors")["embeddings.word_embeddings.weight"]
        for path in (folder / "student", folder)
    )
    assert torch.equal(before.half(), after)
    difference = results["squared_difference"]
    assert difference["after"] < difference["before"]
    assert f"Encoder: {folder}" in output
    weights = load_file(folder / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert not [name for name in weights if "projection" in name or "pooler" in name]
    with pytest.raises(AssertionError, match=r"`teacher` is missing, or there is neither a text file nor a corpus"):
        run("distill_encoder.py", "--output_dir", folder)


def compare(*systems, **settings):
    recipe = runpy.run_path(str(ROOT / "recipes" / "compare.py"))
    return recipe["main"](recipe["CompareArguments"](systems=[*map(str, systems)], **settings))


def test_languages_of_one_run_only_are_left_out_of_a_comparison(tmp_path, capsys):
    counts = np.array([[[1, 1, 1], [0, 1, 1]]])
    for name, languages in (("first", ("swa", "yor")), ("second", ("swa", "hau"))):
        run_on = {"dev": dict.fromkeys(languages, counts)}, {"dev": dict.fromkeys(languages, "aa")}
        write_sentence_counts(tmp_path / f"{name}.json", SentenceCounts(name, *run_on))

    comparison = compare(tmp_path / "first.json", tmp_path / "second.json", split="dev", num_resamples=10)

    assert list(comparison["languages"]) == ["swa"]
    assert comparison["systems"] == ["first", "second"]
    assert "Only one of them was scored on hau, yor: left out." in capsys.readouterr().out


def test_only_two_systems_that_are_there_are_compared(tmp_path):
    with pytest.raises(ValueError, match=r"`systems` is \['a'\]\. Expected two"):
        compare("a")
    with pytest.raises(ValueError, match=r"nowhere: no such folder or file"):
        compare(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_help_renders(recipe, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(recipe), "--help"])

    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(recipe), run_name="__main__")

    assert stopped.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_unknown_flags_are_refused():
    outcome = run_program(ROOT / "recipes" / "byte_crf.py", "--hiden_size", "3")

    assert outcome.returncode == 2
    assert "unknown: --hiden_size 3" in outcome.stderr


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_parses(preset, monkeypatch):
    recipe = ROOT / "recipes" / f"{preset.stem.split('-')[0]}.py"
    parsed = []

    def parse_and_stop(*classes, **given):
        parsed.extend(parse_recipe(*classes, **given))
        sys.exit(0)

    monkeypatch.setattr(sys, "argv", [str(recipe), "--preset", str(preset), "--use_cpu", "true"])
    monkeypatch.setattr("hf_polyglot.training.command_line.parse_recipe", parse_and_stop)

    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(recipe), run_name="__main__")

    assert stopped.value.code == 0
    assert parsed[1].output_dir.startswith("runs/")
    kept = ROOT / "model_cards" / f"{Path(parsed[1].output_dir).name}.json"
    if kept.is_file():  # the kept result is what the preset makes
        arguments = read_results(kept)["arguments"]
        given = {name for flag in with_preset(["--preset", str(preset)]) if (name := flag.removeprefix("--")) != flag}
        for name in given - set(CHANGE_NOTHING_LEARNED):
            of_class = next(of_class for of_class in parsed if hasattr(of_class, name))
            # The results have no arguments of the trainer that are the default.
            default = next(field.default for field in dataclasses.fields(of_class) if field.name == name)
            assert arguments.get(name, default) == getattr(of_class, name), name


PAGES = ("README.md", "model_cards/README.md")


def commands_of_the_pages():
    """The commands of their shell blocks, those of make apart: CI runs these."""
    pages = "".join((ROOT / page).read_text() for page in PAGES)
    blocks = re.findall(r"```bash\n(.*?)```", pages, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith(("make ", "source "))]


@pytest.mark.slow
@pytest.mark.takes_minutes
def test_every_command_of_the_pages_runs(tmp_path):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "my_corpora").symlink_to(DEMO_FOLDER)
    (tmp_path / "ud").mkdir()
    write_treebanks(tmp_path / "ud", ("ta_ttb", "mr_ufal", "qhe_hiencs"))
    saved_encoder(tmp_path / "xlm-roberta-base", num_hidden_layers=6)
    write_vec(tmp_path / "cc.ta.300.vec", ["amina"], np.ones((1, 8)))
    sizes = {"min_characters": 3, "max_characters": 3, "num_buckets": 9}
    write_bin(tmp_path / "cc.mr.300.bin", {"amina": 1}, np.ones((10, 8)), **sizes)
    commands = commands_of_the_pages()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    launched = False  # once is enough: what the launcher starts does not depend on the recipe
    for command in commands:
        # The same flags on small corpora, for one epoch: a real run takes an hour.
        command = command.replace("'../shared/data/masakhaner1/*'", "my_corpora/swa my_corpora/yor")
        command = command.replace("my_corpora/eng", "my_corpora/spa").replace("my_corpora/yor", "my_corpora/hin")
        if "slicer-wikiann" in command:
            command += " --corpora spa=my_corpora/spa --zero_shot_corpora my_corpora/swa --data_source none"
            command += " --data_license none"
        command = command.replace("hidden_size=128,256", "hidden_size=16")
        if "mlm.py" in command:
            command += " --max_steps 1 --max_pieces 40 --eval_strategy no --use_cpu true"
        elif "distill_encoder.py" in command:
            command += " --max_steps 1 --student_hidden_size 16 --max_pieces 40 --use_cpu true"
        elif "launch" in command and "evaluate" not in command:
            command += (
                " --max_train_sentences 20 --max_test_sentences 10 --num_train_epochs 1 --seeds 1 --use_cpu true"
            )
            if "distill.py" in command and "--distillation_epochs" not in command:
                command += " --distillation_epochs 1"
        match shlex.split(command):
            case ["accelerate", "launch", recipe, *arguments] if launched:
                outcome = run_program(recipe, *arguments, cwd=tmp_path)
            case ["python", recipe, *arguments] if "launch" not in arguments:
                outcome = run_program(recipe, *arguments, cwd=tmp_path)
            case _:
                launched = launched or command.startswith("accelerate launch")
                outcome = subprocess.run(
                    ["bash", "-c", command],
                    capture_output=True, text=True, cwd=tmp_path, env=environment,
                )  # fmt: skip
        assert outcome.returncode == 0, f"{command}\n{outcome.stderr[-3000:]}"
    assert len(commands) >= 5

    for program in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL):
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert run.returncode == 0, f"{program}\n{run.stderr[-3000:]}"


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_a_page_are_those_of_its_results(page):
    text = (ROOT / page).read_text()
    tables = re.findall(r"<!-- (\w+): (.+?) -->\n(.*?)\n<!-- end", text, flags=re.DOTALL)

    assert tables
    for kind, sources, table in tables:
        if kind == "comparison":
            made = comparison_table(json.loads((ROOT / sources).read_text()))
        elif kind == "errors":
            kept = [json.loads((ROOT / source).read_text()) for source in sources.split()]
            made = errors_table({of_run["name"]: of_run["errors"]["all"] for of_run in kept}, "Run")
        elif kind == "transfer":
            made = transfer_table([json.loads((ROOT / source).read_text()) for source in sources.split()])
        else:
            first, *others = [read_results(ROOT / source) for source in sources.split()]
            made = {
                "results": lambda first: results_table(first),
                "differences": lambda first, *others: differences_table(first, others),
                "progress": lambda *runs: progress_table(runs[:-1], runs[-1]),
                "selection": lambda *runs: selection_table(runs),
                "sizes": lambda *runs: sizes_table(runs),
                "systems": lambda *runs: systems_table(runs),
                "treebanks": lambda *runs: treebanks_table(runs),
            }[kind](first, *others)
        assert table == made


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())

    assert targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / page).parent.joinpath(target).exists(), target
