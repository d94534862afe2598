"""
Unlabelled text of a small language from what free software says in it: the translations in gettext catalogues.

    python recipes/catalogue_text.py --catalogues /usr/lib/libreoffice/program/resource/kk --output_file kaz.txt
    accelerate launch recipes/distill.py --teacher runs/mine --corpora kaz=my_corpora/kaz --text_files kaz=kaz.txt

Few languages have so little text that no program speaks them: LibreOffice alone has thousands of sentences in many,
on Debian and its kin in the packages libreoffice-l10n-kk and the like. Its words are those of menus and help, not of
news. Mind the licence of the program.

Needs: pip install "hf_polyglot[catalogues]"
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from hf_polyglot.data.catalogues import translated_sentences
from hf_polyglot.training.command_line import parse_recipe


@dataclass
class CatalogueArguments:
    """Which catalogues, and what is kept of them."""

    output_file: str = field(metadata={"help": "Text file to write, a sentence to a line, in an order drawn once."})
    catalogues: list[str] = field(metadata={"help": "Files .mo or .po of one language, or folders of such files."})
    min_words: int = field(default=4, metadata={"help": "Shorter texts, as those of buttons, are left out."})


def main(arguments: CatalogueArguments) -> list[str]:
    sentences = translated_sentences(arguments.catalogues, arguments.min_words)
    # So that the first ones, which distill.py --max_text_sentences keeps, are of all programs.
    random.Random(0).shuffle(sentences)
    Path(arguments.output_file).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.output_file).write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    num_words = sum(len(sentence.split()) for sentence in sentences)
    print(f"{arguments.output_file}: {len(sentences):,} sentences, {num_words:,} words")
    return sentences


if __name__ == "__main__":
    main(*parse_recipe(CatalogueArguments))
