"""How a recipe reads its command line, and how it says what is wrong."""

import sys
from dataclasses import dataclass

import pytest

from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models import ByteCRFConfig
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe, print_error
from hf_polyglot.training.runs import train_over_seeds


@dataclass
class Sizes:
    width: int = 1
    name: str = ""


@pytest.fixture(autouse=True)
def same_hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def test_the_command_line_overrides_the_preset_and_the_preset_the_recipe(tmp_path):
    preset = tmp_path / "wide.args"
    preset.write_text("# a comment\n--width 5  # another\n--name 'two words'\n")

    (from_recipe,) = parse_recipe(Sizes, argv=[], width=3)
    (from_preset,) = parse_recipe(Sizes, argv=["--preset", str(preset)], width=3)
    (from_line,) = parse_recipe(Sizes, argv=["--width", "7", f"--preset={preset}"], width=3)

    assert (from_recipe.width, from_preset.width, from_line.width) == (3, 5, 7)
    assert from_preset.name == "two words"


def test_a_preset_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"The preset 'no.args' is not a file"):
        parse_recipe(Sizes, argv=["--preset", "no.args"])


@pytest.mark.parametrize("argv", [["--wdith", "2"], ["--wid", "2"], ["--width", "two"]])
def test_wrong_flags_end_the_program(argv, capsys):
    with pytest.raises(SystemExit):
        parse_recipe(Sizes, argv=argv)
    assert argv[0] in capsys.readouterr().err


def test_help_shows_what_is_often_used_and_help_all_the_rest(capsys):
    shown = {}
    for flag in ("--help", "--help_all"):
        with pytest.raises(SystemExit):
            parse_recipe(Sizes, PolyglotTrainingArguments, argv=[flag])
        shown[flag] = capsys.readouterr().out

    for flag in ("--width", "--alpha", "--learning_rate", "--preset", "--help_all"):
        assert flag in shown["--help"]
    assert "--neftune_noise_alpha" not in shown["--help"]
    assert "--neftune_noise_alpha" in shown["--help_all"]


def printed(capsys, program):
    """What is printed when `program` fails."""
    try:
        program()
    except Exception:
        print_error(*sys.exc_info())
    return capsys.readouterr().err


def test_a_refusal_is_printed_without_a_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipes/byte_crf.py"])

    refused = printed(capsys, lambda: train_over_seeds(None, None, [], {}))
    by_validation = printed(capsys, lambda: ByteCRFConfig(hidden_size=0))

    assert refused == "byte_crf.py: error: `seeds` is []; expected one or more, each once. Name every seed once.\n"
    assert by_validation == "byte_crf.py: error: `hidden_size` is 0; expected at least 1.\n"


@pytest.mark.parametrize(
    "program",
    [lambda: int("three"), lambda: train_over_seeds(None, None, None, None, not_an_argument=1), lambda: 1 / 0],
)
def test_any_other_error_is_printed_with_its_traceback(program, capsys):
    assert "Traceback" in printed(capsys, program)


def test_a_fault_inside_the_package_is_printed_with_its_traceback(capsys):
    assert "Traceback" in printed(capsys, lambda: train_over_seeds(None, None, [1], {}))


@pytest.mark.parametrize("name", ["/no/such/model", "./model", "../model", "runs/old/model", "~/model", "runs/model"])
def test_a_folder_that_is_missing_is_not_looked_for_on_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()

    with pytest.raises(ValueError, match=f"`{name}` does not exist"):
        checked_model_name(name)


@pytest.mark.parametrize("name", ["xlm-roberta-base", "owner/model", "runs", "runs/mine"])
def test_hub_ids_and_folders_are_left_as_they_are(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)

    assert checked_model_name(name) == name
