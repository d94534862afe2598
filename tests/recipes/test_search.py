"""The search over settings: what is run, what is chosen, and that a search that was stopped goes on."""

import json
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import optuna
import pytest

from hf_polyglot.results import read_results

ROOT = Path(__file__).parents[2]
SEARCH = runpy.run_path(str(ROOT / "recipes" / "search.py"))
SearchArguments, parsed_space, search = (SEARCH[name] for name in ("SearchArguments", "parsed_space", "main"))

# Scores follow from the settings: best at a rate of 0.03 and 2 layers. It notes each run, and breaks off in one.
RECIPE = """
import json, math, sys
from pathlib import Path
flags = dict(zip(sys.argv[2::2], sys.argv[3::2]))
folder = Path(flags["--output_dir"])
folder.mkdir(parents=True, exist_ok=True)
with open(folder.parent / "runs.txt", "a") as runs:
    runs.write(folder.name + (" resumed" if "--resume_from_checkpoint" in flags else "") + chr(10))
if Path("breaks").exists() and Path("breaks").read_text() in folder.name:
    sys.exit(3)
results = json.loads(Path(sys.argv[1]).read_text())
rate, layers = float(flags["--rate"]), int(flags["--layers"])
for split in ("validation", "test"):
    for scores in results["scores"][split].values():
        f1 = 80 - 10 * abs(math.log10(rate / 0.03)) - abs(layers - 2) + (split == "test")
        scores["f1"] = {"mean": f1, "std": 1.0, "values": [f1 - 1, f1 + 1]}
(folder / "results.json").write_text(json.dumps(results))
"""
GRID = {"space": ["rate=0.01,0.03", "layers=1,2"], "output_dir": "study"}
RANGES = {"space": ["rate=1e-3..1e-1", "layers=1..4"], "output_dir": "study"}


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    return [sys.executable, "recipe.py", str(ROOT / "model_cards" / "byte_crf-masakhaner1-polyglot.json")]


def journal(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))


def runs_made():
    return Path("study/runs.txt").read_text().splitlines()


def test_a_grid_is_run_whole_and_sorted_by_dev_scores(command, capsys):
    runs = search(SearchArguments(**GRID), command)

    assert [[*run["settings"].values()] for run in runs] == [
        ["0.03", "2"],
        ["0.03", "1"],
        ["0.01", "2"],
        ["0.01", "1"],
    ]
    assert runs[0]["validation"] == {"mean": 80.0, "std": pytest.approx(math.sqrt(2)), "values": [79.0, 81.0]}
    assert runs[0]["test"]["mean"] == 81
    assert json.loads(Path("study/search.json").read_text()) == runs
    printed = capsys.readouterr().out
    assert "| 80.00 ± 1.41 | 0.03 |      2 | 81.00 ± 1.41 |" in printed
    assert "Best on the development sets: --rate 0.03 --layers 2" in printed
    assert read_results("study/rate-0.03_layers-2")
    assert search(SearchArguments(**GRID), command) == runs
    assert len(runs_made()) == 4


def test_a_setting_that_fails_holds_up_no_other_and_is_tried_again_by_the_next_command(command, capsys):
    Path("breaks").write_text("rate-0.01_layers-2")
    assert len(search(SearchArguments(**GRID), command)) == 3
    printed = capsys.readouterr()
    assert "layers-2 ended with status 3" in printed.err
    assert "Without results:\n--rate 0.01 --layers 2\n" in printed.out
    Path("breaks").unlink()

    runs = search(SearchArguments(**GRID), command)

    assert len(runs) == 4
    assert "Without results" not in capsys.readouterr().out
    assert runs_made() == [
        "rate-0.01_layers-1", "rate-0.01_layers-2", "rate-0.03_layers-1", "rate-0.03_layers-2",
        "rate-0.01_layers-2 resumed",
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [GRID, {**RANGES, "num_trials": 2}])
def test_a_search_of_which_every_run_fails_says_so(settings, command):
    Path("breaks").write_text("rate")

    with pytest.raises(RuntimeError, match="No run in study has ended with results"):
        search(SearchArguments(**settings), command)


def test_ctrl_c_waits_for_the_recipe_to_save_and_the_same_command_goes_on(command):
    script = Path("recipe.py")
    slow = "import signal, time\ndef stop(*_):\n    time.sleep(1.5)\n    print('saved')\n    sys.exit(130)\n"
    slow += "if not '--resume_from_checkpoint' in flags:\n    signal.signal(signal.SIGINT, stop)\n    print('runs')\n"
    slow += "    sys.stdout.flush()\n    time.sleep(60)\nresults = "
    script.write_text(script.read_text().replace("results = ", slow, 1))
    program = [
        sys.executable,
        ROOT / "recipes" / "search.py",
        "--space",
        "rate=0.03",
        "layers=2",
        "--output_dir",
        "study",
    ]
    running = subprocess.Popen(
        [*program, "--command", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # Where the tests run in the background, Ctrl-C may be ignored, and would be by what they start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while "runs" not in running.stdout.readline():
        pass

    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    output, errors = running.communicate(timeout=60)

    assert "saved" in output
    assert "The search was stopped. The same command goes on." in errors
    assert len(search(SearchArguments(space=["rate=0.03", "layers=2"], output_dir="study"), command)) == 1
    assert runs_made()[-1] == "rate-0.03_layers-2 resumed"


def test_settings_that_move_together_have_one_value(command):
    runs = search(SearchArguments(space=["rate+layers=1,2"], output_dir="study"), command)

    assert [run["settings"] for run in runs] == [{"rate+layers": "1"}, {"rate+layers": "2"}]
    assert runs[0]["validation"]["mean"] == pytest.approx(80 - 10 * math.log10(1 / 0.03) - 1)


def test_ranges_are_sampled_as_often_as_asked(command):
    few = search(SearchArguments(**RANGES, num_trials=2), command)

    runs = search(SearchArguments(**RANGES, num_trials=6), command)

    assert (len(few), len(runs), len(runs_made())) == (2, 6, 6)
    assert all(run in runs for run in few)
    assert all(1e-3 <= run["settings"]["rate"] <= 1e-1 and run["settings"]["layers"] in range(1, 5) for run in runs)


def test_a_sampled_run_that_was_stopped_is_run_again(command, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(SEARCH["run_once"].__globals__, "results_below", stop)
        with pytest.raises(KeyboardInterrupt):
            search(SearchArguments(**RANGES, num_trials=1), command)

    (run,) = search(SearchArguments(**RANGES, num_trials=1), command)

    stopped, again = optuna.load_study(study_name="study", storage=journal("study/study.log")).trials
    assert (stopped.state, again.state) == (optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE)
    assert stopped.params == again.params == run["settings"]


def test_the_results_of_slicer_lie_one_folder_below(command, tmp_path):
    kept = ROOT / "model_cards"
    for name, source in (
        ("standard", "slicer-wikiann_6000-standard"),
        ("slicer-h8", "slicer-wikiann_6000_h8-zero-shot"),
    ):
        (tmp_path / "run" / name).mkdir(parents=True)
        shutil.copyfile(kept / f"{source}.json", tmp_path / "run" / name / "results.json")

    assert SEARCH["results_below"](tmp_path / "run") == tmp_path / "run" / "slicer-h8" / "results.json"
    assert SEARCH["results_below"](tmp_path / "run" / "standard").parent.name == "standard"
    assert SEARCH["results_below"](tmp_path) is None


def test_values_with_slashes_make_one_folder():
    names = [SEARCH["folder_name"]({"encoder": value}) for value in ("a/b", "a-b", "x" * 300)]

    assert len(set(names)) == 3
    assert not any("/" in name or len(name) > 120 for name in names)
    assert parsed_space(["encoder=../a,../b"]) == {"encoder": ["../a", "../b"]}


def test_a_study_of_another_command_is_not_gone_on_with(command):
    search(SearchArguments(**RANGES, num_trials=1), command)

    with pytest.raises(ValueError, match="expected the command and the space of this one"):
        search(SearchArguments(**RANGES, num_trials=2), [*command, "--more", "true"])
    with pytest.raises(ValueError, match="expected the command and the space of this one"):
        search(SearchArguments(**GRID), command)


@pytest.mark.parametrize(
    "given", ["rate", "rate=", "=1,2", "rate=1,1", "rate=1,,2", "rate=3..1", "rate=a..b", "rate=1..1"]
)
def test_settings_that_are_none_are_refused(given):
    with pytest.raises(ValueError, match="expected each setting once"):
        parsed_space([given])


def test_a_setting_named_twice_is_refused():
    with pytest.raises(ValueError, match="expected each setting once"):
        parsed_space(["rate=1,2", "rate=3,4"])


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="No program acelerate is found; expected one that can be run"):
        search(SearchArguments(**GRID), ["acelerate", "launch"])


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="There is no --command"):
        search(SearchArguments(space=["rate=1,2"], output_dir="study"), [])
    with pytest.raises(ValueError, match="there is no `num_trials`"):
        search(SearchArguments(space=["rate=1..2"], output_dir="study"), ["true"])


def test_settings_cannot_be_chosen_without_a_dev_set():
    results = {"name": "kaz", "data": {"kaz": {"train": {}, "test": {}}}}

    with pytest.raises(ValueError, match="`kaz` trained on kaz, none of which has a dev set; expected one at least"):
        SEARCH["scores_of_seeds"](results, "validation")
