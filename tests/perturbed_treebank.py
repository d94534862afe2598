"""
Another analysis of a treebank's text, with other tokens, words, sentences and tags, the same in every run.

    python -m tests.perturbed_treebank gold.conllu system.conllu
"""

import sys
from pathlib import Path

from hf_polyglot.data.conllu import FEATS, FORM, UPOS, XPOS, ConlluSentence, read_conllu

Word = tuple[str, str, str, str]  # form and tags
Token = tuple[str, list[Word]]


def tokens_of(sentence: ConlluSentence) -> list[Token]:
    """Each token with its words."""
    tokens: list[Token] = []
    words_to_come = 0
    for row in sentence.rows:
        if row.is_range:
            tokens.append((row.columns[FORM], []))
            words_to_come = row.last_word - int(row.columns[0].partition("-")[0]) + 1
        elif row.is_word:
            if not words_to_come:
                tokens.append((row.columns[FORM], []))
            tokens[-1][1].append(tuple(row.columns[column] for column in (FORM, UPOS, XPOS, FEATS)))
            words_to_come = max(0, words_to_come - 1)
    return tokens


def perturbed_token(token: Token, number: int) -> list[Token]:
    """A token cut in two, with more or fewer words, or with other tags, by its number."""
    form, words = token
    middle = (len(form) + number % 2) // 2
    halves = [form[:middle], form[middle:]]
    tags = words[0][1:]
    if number % 7 == 2 and all(half.strip() for half in halves):
        return [(half, [(half, *tags)]) for half in halves]
    if number % 13 == 5 and all(half.strip() for half in halves):
        return [(form, [(half.upper() if number % 3 else half + "x", *tags) for half in halves])]
    if number % 3 == 1 and len(words) > 1:
        return [(form, [(form, *tags)] if number % 2 else [*words[1:], words[0]])]
    if number % 5 == 0:
        return [(form, [(one, "X", xpos, feats) for one, _, xpos, feats in words])]
    if number % 8 == 4:
        return [(form, [(one, upos, f"{xpos}?", feats) for one, upos, xpos, feats in words])]
    if number % 9 == 6:
        return [(form, [(one, *pos, "Case=Voc") for one, *pos, _ in words])]
    if number % 6 == 1:  # a feature that is not universal
        return [(form, [(one, *pos, f"Foo=Bar|{feats}".removesuffix("|_")) for one, *pos, feats in words])]
    return [token]


def perturbed(sentences: list[ConlluSentence]) -> str:
    """CoNLL-U of the same text."""
    blocks: list[list[Token]] = [[]]
    number = 0
    for index, sentence in enumerate(sentences):
        for token in tokens_of(sentence):
            number += 1
            changed = perturbed_token(token, number)
            if number % 11 == 3 and blocks[-1]:
                form, words = blocks[-1].pop()
                joined = form + changed[0][0]
                all_words = words + changed[0][1]
                changed[0] = (joined, all_words if number % 2 else [(joined, *words[0][1:])])
            blocks[-1] += changed
            if number % 29 == 0:
                blocks.append([])
        if index % 4:
            blocks.append([])
    return "".join(_lines(block) for block in blocks if block)


def _lines(tokens: list[Token]) -> str:
    lines = []
    number = 0
    for form, words in tokens:
        if len(words) > 1:
            lines.append("\t".join([f"{number + 1}-{number + len(words)}", form, *["_"] * 8]))
        for word, upos, xpos, feats in words:
            number += 1
            # The official script wants a tree: all words hang on the first.
            word = form if len(words) == 1 else word
            lines.append("\t".join([str(number), word, "_", upos, xpos, feats, str(int(number > 1)), "dep", "_", "_"]))
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(perturbed(read_conllu(sys.argv[1])), encoding="utf-8")
