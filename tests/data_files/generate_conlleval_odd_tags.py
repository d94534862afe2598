"""
Write `conlleval_odd_tags.txt`: random gold and predicted IOB tags, most sentences ill-formed. See README.md here.

    python tests/data_files/generate_conlleval_odd_tags.py
"""

import random
from pathlib import Path

TYPES = ("PER", "LOC", "ORG", "LOC-GPE", "geo_2")


def odd_tags(generator: random.Random, words: int) -> list[str]:
    """Tags in which any may follow any, but the same type often goes on, so that longer spans arise."""
    tags: list[str] = []
    entity_type = "PER"
    for _ in range(words):
        entity_type = entity_type if generator.random() < 0.7 else generator.choice(TYPES)
        tags.append("O" if generator.random() < 0.4 else f"{generator.choice('BII')}-{entity_type}")
    return tags


def main() -> None:
    generator = random.Random(2003)
    lines: list[str] = []
    for sentence in range(300):
        gold = odd_tags(generator, generator.choice([1, 2, 3, 5, 8, 13]))
        guess = odd_tags(generator, len(gold))
        # Most tags are copied, so that some spans are right and many are right but for an end.
        predicted = [right if generator.random() < 0.8 else wrong for right, wrong in zip(gold, guess, strict=True)]
        # A type that is never predicted, and one that is only predicted.
        predicted = [tag.replace("geo_2", "MISC") for tag in predicted]
        words = zip(gold, predicted, strict=True)
        lines += [f"w{sentence}.{index} {right} {wrong}" for index, (right, wrong) in enumerate(words)]
        lines.append("")
    Path(__file__).with_name("conlleval_odd_tags.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
