import pytest

from hf_polyglot.analysis.language_transfer import ALL, own_and_others, transfer_report
from hf_polyglot.result_tables import transfer_matrix_table, transfer_table

CONTINUED = {"swa": {"swa": 90.0, "yor": 40.0, "hau": 10.0}, "yor": {"swa": 50.0, "yor": 80.0, "hau": 30.0}}
POLYGLOT = {ALL: {"swa": 80.0, "yor": 70.0, "hau": 60.0}}


def cells(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_own_language_and_others_are_averaged_over_models():
    assert own_and_others(CONTINUED) == (85.0, (25.0 + 40.0) / 2)


def test_the_mean_of_a_model_of_all_languages_stands_for_both():
    assert own_and_others(POLYGLOT) == (70.0, 70.0)


def test_the_numbers_of_runs_lie_side_by_side():
    better = {model: {language: score + 2 for language, score in row.items()} for model, row in CONTINUED.items()}

    report = transfer_report({"run-42": CONTINUED, "run-43": better})

    assert report["runs"] == ["run-42", "run-43"]
    assert report["own"] == [85.0, 87.0]
    assert report["others"] == [32.5, 34.5]
    assert report["scores"]["yor"]["hau"] == [30.0, 32.0]
    assert cells(transfer_matrix_table(report).splitlines()[3]) == ["yor", "51.0", "81.0", "31.0"]


def test_the_table_says_what_continuing_gives_and_costs():
    polyglot, continued = (
        {"name": name} | transfer_report({"run": matrix})
        for name, matrix in (("polyglot", POLYGLOT), ("continued", CONTINUED))
    )

    table = transfer_table([polyglot, continued]).splitlines()

    assert cells(table[2]) == ["polyglot", "70.00", "", "70.00", ""]
    assert cells(table[3]) == ["continued", "85.00", "+15.00", "32.50", "-37.50"]


def test_the_deviation_over_runs_is_shown():
    report = {"name": "polyglot"} | transfer_report({"a": POLYGLOT, "b": {ALL: dict.fromkeys(POLYGLOT[ALL], 74.0)}})

    assert cells(transfer_table([report]).splitlines()[2])[1] == "72.00 ± 2.83"


@pytest.mark.parametrize("row", [{}, {"swa": 1.0}, {"yor": 1.0, "hau": 2.0}])
def test_a_model_without_scores_on_its_own_language_and_others_is_refused(row):
    with pytest.raises(ValueError, match=r"The model of swa has scores on .+; expected its own language and others"):
        own_and_others({"swa": row})


def test_runs_of_models_of_other_languages_are_refused():
    with pytest.raises(ValueError, match=r"One run has models of swa, yor, another of all; expected the same. Score"):
        transfer_report({"a": CONTINUED, "b": POLYGLOT})
