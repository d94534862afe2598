"""Scores of CoNLL-U beside the figures of the official script of the CoNLL 2018 shared task."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_polyglot.conllu_metrics import (
    METRICS,
    AlignedScore,
    conllu_file_scores,
    conllu_scores,
    scores_with_macro_average,
)
from hf_polyglot.data.conllu import ConlluRow, ConlluSentence, read_conllu
from hf_polyglot.result_tables import conllu_table

from .perturbed_treebank import perturbed


def sentence_of(*tokens):
    """A sentence of tokens, each a word, or `abc a b c`: a multi-word token and its words."""
    rows = []
    number = 0
    for form, *words in (token.split(" ") for token in tokens):
        if words:
            rows.append([f"{number + 1}-{number + len(words)}", form])
        for word in words or [form]:
            number += 1
            rows.append([str(number), word])
    return ConlluSentence([], [ConlluRow(0, [*row, *["_"] * 8]) for row in rows])


def word_score(gold, system):
    return conllu_scores([sentence_of(*gold)], [sentence_of(*system)])["Words"]


# The examples that the official script tests itself with, and the number of aligned words that it expects.
OFFICIAL_EXAMPLES = [
    (["a"], ["a"], 1),
    (["a", "b", "c"], ["a", "b", "c"], 3),
    (["abc a b c"], ["a", "b", "c"], 3),
    (["a", "bc b c", "d"], ["a", "b", "c", "d"], 4),
    (["abcd a b c d"], ["ab a b", "cd c d"], 4),
    (["abc a b c", "de d e"], ["a", "bcd b c d", "e"], 5),
    (["abcd"], ["a", "b", "c", "d"], 0),
    (["abc", "d"], ["a", "b", "c", "d"], 1),
    (["a", "bc", "d"], ["a", "b", "c", "d"], 2),
    (["a", "bc b c", "d"], ["a", "b", "cd"], 2),
    (["abc a BX c", "def d EX f"], ["ab a b", "cd c d", "ef e f"], 4),
    (["ab a b", "cd bc d"], ["a", "bc", "d"], 2),
    (["a", "bc b c", "d"], ["ab AX BX", "cd CX a"], 1),
]


@pytest.mark.parametrize(("gold", "system", "aligned"), OFFICIAL_EXAMPLES)
def test_words_are_aligned_as_in_the_examples_of_the_official_script(gold, system, aligned):
    gold_words, system_words = (sum(max(1, len(token.split(" ")) - 1) for token in side) for side in (gold, system))

    score = word_score(gold, system)

    assert score == AlignedScore(aligned, gold_words, system_words)
    assert score.precision == pytest.approx(100 * aligned / system_words)
    assert score.recall == pytest.approx(100 * aligned / gold_words)
    assert score.f1 == pytest.approx(200 * aligned / (gold_words + system_words))


# Made by
#     python -m tests.perturbed_treebank ta_ttb-ud-test.conllu system.conllu
#     python conll18_ud_eval.py -c ta_ttb-ud-test.conllu system.conllu
# with version 1.2 of https://github.com/ufal/conll2018/blob/master/evaluation_script/conll18_ud_eval.py: correct
# units of each metric; gold and predicted tokens, sentences and words.
OFFICIAL_COUNTS = {
    "ta_ttb": ([1287, 39, 1393, 1124, 1252, 1276, 871], (1772, 1850), (120, 145), (1989, 2140)),
    "fr_sequoia": ([7114, 100, 7460, 5991, 6720, 6852, 4643], (9734, 10100), (456, 659), (10044, 11179)),
    "tr_imst": ([7266, 409, 7574, 6053, 6821, 6972, 4710], (9750, 10070), (1100, 1139), (10032, 11116)),
    "wo_wtb": ([7307, 103, 7676, 6170, 6907, 7063, 4794], (10049, 10436), (470, 683), (10403, 11586)),
    "mr_ufal": ([289, 16, 320, 261, 293, 294, 210], (376, 387), (47, 46), (412, 441)),
}


@pytest.mark.parametrize("treebank", OFFICIAL_COUNTS)
def test_counts_of_a_real_treebank_are_those_of_the_official_script(treebank, shared_data, tmp_path):
    gold = shared_data / "ud" / f"{treebank}-ud-test.conllu"
    system = tmp_path / "system.conllu"
    system.write_text(perturbed(read_conllu(gold)), encoding="utf-8")

    scores = conllu_file_scores(gold, system)

    correct, tokens, sentences, words = OFFICIAL_COUNTS[treebank]
    assert [score.correct for score in scores.values()] == correct
    assert [(score.gold, score.system) for score in scores.values()] == [tokens, sentences, *[words] * 5]
    assert tuple(scores) == METRICS
    assert {scores[metric].aligned for metric in METRICS[3:]} == {scores["Words"].correct}
    assert scores["UPOS"].aligned_accuracy == pytest.approx(100 * correct[3] / correct[2])


FORMS = st.lists(st.sampled_from("ab"), min_size=1, max_size=6)


@given(FORMS, FORMS)
def test_words_within_one_token_are_aligned_by_a_longest_common_subsequence(gold, system):
    score = word_score([f"token {' '.join(gold)}"], [f"token {' '.join(system)}"])

    def subsequences(words):
        return {chosen for size in range(len(words) + 1) for chosen in itertools.combinations(words, size)}

    if len(gold) > 1 or len(system) > 1:
        assert score.correct == max(map(len, subsequences(gold) & subsequences(system)))


def test_case_does_not_matter_where_words_are_aligned_by_their_form():
    assert word_score(["Ab A b"], ["Ab a B"]).correct == 2


def conllu(*rows):
    """A file of one sentence, of rows of form, part of speech and features."""
    lines = [
        "\t".join([str(number), form, "_", upos, "_", feats, "_", "_", "_", "_"])
        for number, (form, upos, feats) in enumerate(rows, 1)
    ]
    return "\n".join(lines) + "\n\n"


def scores_of(tmp_path, gold, system):
    for name, text in (("gold", gold), ("system", system)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return conllu_file_scores(tmp_path / "gold", tmp_path / "system")


def test_only_universal_features_count_in_any_order(tmp_path):
    gold = conllu(("a", "NOUN", "Case=Nom|Number=Sing"), ("b", "NOUN", "Gender[psor]=Masc"), ("c", "X", "Case=Nom"))
    system = conllu(("a", "VERB", "Number=Sing|Case=Nom|Foo=Bar"), ("b", "NOUN", "_"), ("c", "X", "Case=Gen"))

    scores = scores_of(tmp_path, gold, system)

    assert {metric: scores[metric].correct for metric in ("UPOS", "UFeats", "AllTags")} == {
        "UPOS": 2,
        "UFeats": 2,
        "AllTags": 1,
    }


def test_white_space_in_tokens_and_other_sentences_do_not_matter_to_words(tmp_path):
    gold = conllu(("10\u00a0000", "NUM", "_"), ("x", "X", "_"))
    system = conllu(("10000", "NUM", "_")) + conllu(("x", "X", "_"))

    scores = scores_of(tmp_path, gold, system)

    assert scores["Words"].f1 == scores["Tokens"].f1 == scores["AllTags"].f1 == 100
    assert scores["Sentences"].f1 == 0


def test_another_text_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"gold and .*system: The texts differ behind 2 characters: 'cd' in gold, 'd'"
    ):
        scores_of(tmp_path, conllu(("abc", "X", "_"), ("d", "X", "_")), conllu(("abd", "X", "_")))


def test_the_average_is_over_treebanks():
    scores = {name: conllu_scores([sentence_of("ab")], [sentence_of(*system)]) for name, system in (
        ("one", ["ab"]), ("two", ["a", "b"])
    )}  # fmt: skip

    averaged = scores_with_macro_average(scores)

    assert averaged["average"]["Words"] == {"precision": 50, "recall": 50, "f1": 50}
    assert averaged["average"]["UPOS"]["aligned_accuracy"] == 50
    table = conllu_table(averaged)
    assert "| **average** |  50.00 |" in table
    assert "UPOS of aligned" in table
    for wrong in ({}, {"average": scores["one"]}):
        with pytest.raises(ValueError, match="expected one or more, and none that is called average"):
            scores_with_macro_average(wrong)
