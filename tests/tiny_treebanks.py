"""Small treebanks in CoNLL-U, of sentences that a tiny model learns in a moment."""

from pathlib import Path

NOUNS = ["amina", "bako", "chidi", "dada", "eze", "fela", "gani", "hadiza", "idris", "jummai"]
VERBS = {"sings": ("Number=Sing", "VERB"), "ran": ("Tense=Past", "VERB"), "oh": ("_", "X")}


def conllu(num_sentences: int, first: int = 0) -> str:
    """Sentences such as `amina sings .`, every second one with a word range, all with a comment."""
    blocks = []
    for index in range(first, first + num_sentences):
        noun = NOUNS[index % len(NOUNS)]
        verb, (features, upos) = list(VERBS.items())[index % len(VERBS)]
        rows = [
            ("1", noun, "NOUN", "Case=Nom|Number=Sing"),
            ("2-3", f"{verb}!", "_", "_") if index % 2 else None,
            ("2", verb, upos, features),
            ("3", "!", "PUNCT", "_"),
        ]
        lines = [
            f"{word_id}\t{form}\t_\t{tag}\t_\t{feats}\t{int(word_id != '1')}\t_\t_\t_"
            for word_id, form, tag, feats in filter(None, rows)
        ]
        blocks.append("\n".join([f"# sent_id = {index}", *lines]) + "\n\n")
    return "".join(blocks)


def write_treebanks(folder: Path, names=("aa_one", "bb_two"), num_train: int = 30) -> Path:
    """Train, dev and test files of each treebank, named as Universal Dependencies names them, in one folder."""
    for start, name in enumerate(names):
        for split, size in (("train", num_train), ("dev", 6), ("test", 7)):
            (folder / f"{name}-ud-{split}.conllu").write_text(conllu(size, start), encoding="utf-8")
    return folder
