"""
Speed, size and memory of taggers on one core of a CPU, as in Table 3 of Tsai et al. (2019): a sentence of 32 or of 128
words at a time, from words to tags, the tokenizer's time included.

    pip install 'hf_polyglot[onnx]' spacy
    OMP_NUM_THREADS=1 python -m benchmarks.cpu_speed --corpora ../shared/data/masakhaner1/*

Weights are random, which changes no speed but spaCy's: it is slower where it finds entities, of which an untrained one
finds some. The words are those of the test sets, one language after the other; encoders read them in pieces of a
WordPiece vocabulary that is learnt from the training sets. spaCy is left out where it is not installed.

`--models runs/mine runs/mine-int8` measures trained models beside these, as they are: folders that a recipe has left,
or that `recipes/export.py` has written.

Each system is loaded in a process of its own, whose peak memory is reported, and all take turns. `--clock cpu` takes
the seconds of the processor instead of those on the wall: on a machine that is at work for others, these are what an
idle one would take. Kept as `cpu_speed.json` with `--output benchmarks/cpu_speed.json`.

Goals: MiniBERT with 8-bit weights 60 times as fast as mBERT in PyTorch at 32 words, and 30 times at 128.

Reference:
    Tsai, Riesa, Johnson, Arivazhagan, Li and Archer (2019), section 4. https://aclanthology.org/D19-1374
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

# Universal parts of speech.
LABELS = [
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ",
    "SYM", "VERB", "X",
]  # fmt: skip
GOALS = {"minibert_int8": {"32": 60, "128": 30}}
# Pieces that are learnt: so many that a word has about 1.4. The embeddings are as many as mBERT's all the same; which
# of their rows are looked up makes no difference.
VOCABULARY = 20_000

# What tagging needs of a trained model's folder, which has checkpoints, results and Adam's state besides.
MODEL_FILES = ("model*.safetensors", "model.onnx", "tokenizer.json", "words.json", "tagger.json", "config.json")

Tag = Callable[[Sequence[str]], Any]


@dataclass(frozen=True)
class System:
    """
    One contestant.

    Args:
        title (`str`):
            What it is called in the table.
        write (`Callable`, *optional*):
            Writes its files into a folder, given training sentences and that folder. Runs in a process of its own.
            None if they are there.
        load (`Callable`):
            What tags the words of a sentence, from that folder. Imports no more than it needs.
        needs (`str`, *optional*, defaults to `"hf_polyglot"`):
            Module without which it is left out.
        files (`tuple[str]`, *optional*, defaults to `("**/*",)`):
            Patterns of those whose sizes count.
    """

    title: str
    write: Callable[[list[list[str]], Path], None] | None
    load: Callable[[Path], Tag]
    needs: str = "hf_polyglot"
    files: tuple[str, ...] = ("**/*",)


def label_settings() -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
        "label_scheme": "upos",
    }


def word_pieces(sentences: Iterable[Sequence[str]]) -> Any:
    """A WordPiece tokenizer of these sentences."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(
        (" ".join(words) for words in sentences),
        trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=list(special.values()), show_progress=False),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def encoder_tagger(**sizes: int) -> Callable[[list[list[str]]], tuple[Any, Any]]:
    """A BERT of these sizes with a linear classifier of the first piece of each word, as in the paper."""

    def new(sentences: list[list[str]]) -> tuple[Any, Any]:
        from transformers import BertConfig

        from hf_polyglot import EncoderCRFConfig, EncoderCRFForTokenClassification

        config = EncoderCRFConfig(
            encoder_config=BertConfig(**sizes), use_crf=False, num_concatenated_layers=1, num_hidden_layers=0,
            **label_settings(),
        )  # fmt: skip
        return EncoderCRFForTokenClassification(config), word_pieces(sentences)

    return new


def byte_crf_tagger(sentences: list[list[str]]) -> tuple[Any, Any]:
    """A byte-CRF of the paper's sizes, which are the defaults."""
    from hf_polyglot import ByteCRFConfig, ByteCRFForTokenClassification, SpellingTokenizer

    return ByteCRFForTokenClassification(ByteCRFConfig(**label_settings())), SpellingTokenizer.of_bytes()


def meta_lstm_tagger(sentences: list[list[str]]) -> tuple[Any, Any]:
    """A Meta-LSTM of the sizes of `recipes/presets/meta_lstm-paper.args`, with a vector of 300 for each word read."""
    from hf_polyglot import MetaLSTMConfig, MetaLSTMForTokenClassification, SpellingTokenizer, WordSpellingTokenizer

    spelling = SpellingTokenizer.of_characters(" ".join(words) for words in sentences)
    known = sorted({word.lower() for words in sentences for word in words})
    tokenizer = WordSpellingTokenizer.with_words(spelling, known, lowercase=True)
    config = MetaLSTMConfig(
        vocab_size=len(tokenizer), num_words=len(known) + 1, pretrained_vectors="frozen", word_vector_size=300,
        unit_hidden_size=400, num_unit_layers=3, word_hidden_size=400, num_word_layers=3, hidden_size=400,
        num_hidden_layers=1, mlp_size=300, **label_settings(),
    )  # fmt: skip
    return MetaLSTMForTokenClassification(config), tokenizer


def saved(new: Callable[[list[list[str]]], tuple[Any, Any]]) -> Callable[[list[list[str]], Path], None]:
    """Writes a model for PyTorch."""

    def write(sentences: list[list[str]], folder: Path) -> None:
        model, tokenizer = new(sentences)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return write


def exported(
    new: Callable[[list[list[str]]], tuple[Any, Any]], *, int8: bool
) -> Callable[[list[list[str]], Path], None]:
    """Writes a model for onnxruntime."""

    def write(sentences: list[list[str]], folder: Path) -> None:
        from hf_polyglot.inference.onnx_export import onnx_model, settings_of, write_exported
        from hf_polyglot.inference.onnx_int8 import int8_model

        model, tokenizer = new(sentences)
        graph = onnx_model(model)
        write_exported(
            folder, int8_model(graph) if int8 else graph, tokenizer, settings_of(model, tokenizer, int8=int8)
        )

    return write


def write_spacy(sentences: list[list[str]], folder: Path) -> None:
    from benchmarks.peers import spacy_pipeline

    spacy_pipeline(["PER", "LOC", "ORG"]).to_disk(folder)


def load_torch(folder: Path) -> Tag:
    import torch

    from hf_polyglot.inference.adapters import load_tagger
    from hf_polyglot.inference.tagging import tag_words

    torch.set_num_threads(1)
    model, tokenizer = load_tagger(str(folder))
    caches = [module.word_cache for module in model.modules() if hasattr(module, "word_cache")]

    def tag(words: Sequence[str]) -> Any:
        for cache in caches:  # what an earlier turn has left is not to help
            cache.clear()
        return tag_words(model, tokenizer, [words], 1)

    return tag


def load_onnx(folder: Path) -> Tag:
    from hf_polyglot.inference.onnx_runtime import OnnxTagger

    tagger = OnnxTagger(folder, num_threads=1)
    return lambda words: tagger.tag_words([words], 1)


def load_spacy(folder: Path) -> Tag:
    import spacy
    from spacy.tokens import Doc

    pipeline = spacy.load(folder)
    return lambda words: pipeline(Doc(pipeline.vocab, words=list(words))).ents


def load_any(folder: Path) -> Tag:
    """A model that a recipe has left, or one that export.py has written."""
    return load_onnx(folder) if (folder / "model.onnx").is_file() else load_torch(folder)


MBERT = encoder_tagger(vocab_size=119_547)
# RoBERTa's classes differ from BERT's in the numbering of positions alone.
XLM_R = encoder_tagger(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
MINIBERT = encoder_tagger(
    vocab_size=119_547, hidden_size=256, num_hidden_layers=3, num_attention_heads=4, intermediate_size=1024
)

SYSTEMS = {
    "mbert": System("mBERT-sized BERT, PyTorch", saved(MBERT), load_torch),
    "xlm_r": System("XLM-R-base-sized, PyTorch", saved(XLM_R), load_torch),
    "minibert": System("MiniBERT, PyTorch", saved(MINIBERT), load_torch),
    "minibert_onnx": System("MiniBERT, ONNX", exported(MINIBERT, int8=False), load_onnx),
    "minibert_int8": System("MiniBERT, ONNX int8", exported(MINIBERT, int8=True), load_onnx),
    "byte_crf": System("byte-CRF, PyTorch", saved(byte_crf_tagger), load_torch),
    "byte_crf_int8": System("byte-CRF, ONNX int8", exported(byte_crf_tagger, int8=True), load_onnx),
    "meta_lstm": System("Meta-LSTM, PyTorch", saved(meta_lstm_tagger), load_torch),
    "meta_lstm_int8": System("Meta-LSTM, ONNX int8", exported(meta_lstm_tagger, int8=True), load_onnx),
    "spacy": System("spaCy, blank CNN with entities", write_spacy, load_spacy, needs="spacy"),
}


def system_of(name: str) -> System:
    """One of `SYSTEMS`, or the trained model in a folder of this name."""
    return SYSTEMS.get(name) or System(name, None, load_any, files=MODEL_FILES)


def sentences_of(corpora: list[str], split: str) -> list[list[list[str]]]:
    """Sentences of each language."""
    from hf_polyglot.data.corpora import load_corpora

    loaded = load_corpora({Path(folder).name: folder for folder in corpora if Path(folder).is_dir()}).corpora
    return [splits[split]["tokens"][:] for splits in loaded.values()]


def of_length(languages: list[list[list[str]]], num_words: int, most: int) -> list[list[str]]:
    """Running words in sentences of this length, of each language alike."""
    each = -(-most // len(languages))
    found = []
    for sentences in languages:
        words = [word for sentence in sentences for word in sentence]
        starts = range(0, len(words) - num_words + 1, num_words)
        found += [words[start : start + num_words] for start in starts[:each]]
    return found[:most]


class Contestant:
    """A system in a process of its own, which tags when it is told to."""

    def __init__(self, name: str, folder: Path):
        command = [sys.executable, "-m", "benchmarks.cpu_speed", "--contestant", name, "--folder", str(folder)]
        # One thread, whatever library it has.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        files = {path for pattern in system_of(name).files for path in folder.glob(pattern)}
        self.bytes = sum(path.stat().st_size for path in files if path.is_file())

    def ask(self, question: dict[str, Any]) -> Any:
        """
        What it answers to a question, see `compete`.

        Raises:
            RuntimeError: if it has ended.
        """
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self.process.args)} has ended; its error is above.")
        return json.loads(answer)


def compete(name: str, folder: Path) -> None:
    """Answer `{"sentences", "clock"}` with the seconds of each sentence, and anything else with the peak memory."""
    tag = system_of(name).load(folder)
    for line in sys.stdin:
        question = json.loads(line)
        answer: Any
        if "sentences" in question:
            clock = time.perf_counter if question["clock"] == "wall" else time.process_time
            answer = []
            for words in question["sentences"]:
                started = clock()
                tag(words)
                answer.append(clock() - started)
        else:
            status = Path("/proc/self/status").read_text().split()
            answer = 1024 * int(status[status.index("VmHWM:") + 1])
        print(json.dumps(answer), flush=True)


def measure(
    folders: dict[str, Path], sentences: dict[int, list[list[str]]], turns: int, clock: str
) -> dict[str, dict[str, Any]]:
    """Seconds a sentence, words a second, size and peak memory of each system."""
    contestants = {name: Contestant(name, folder) for name, folder in folders.items()}
    seconds: dict[tuple[str, int], list[float]] = {(name, length): [] for name in folders for length in sentences}
    for turn in range(turns + 1):
        for length, those in sentences.items():
            for name, contestant in contestants.items():
                # The first turn warms up.
                taken = contestant.ask({"sentences": those, "clock": clock})
                seconds[name, length] += taken if turn > 0 else []
    outcome = {}
    for name, contestant in contestants.items():
        latency = {str(length): median(seconds[name, length]) for length in sentences}
        outcome[name] = {
            "title": system_of(name).title,
            "latency_seconds": latency,
            "words_per_second": {length: int(length) / taken for length, taken in latency.items()},
            "bytes": contestant.bytes,
            "peak_memory_bytes": contestant.ask({}),
        }
        contestant.process.stdin.close()
        contestant.process.wait()
    return outcome


def table(systems: dict[str, dict[str, Any]], speedups: dict[str, dict[str, float]]) -> str:
    """The systems as a table in Markdown."""
    lengths = list(next(iter(systems.values()))["latency_seconds"])
    columns = [f"{length} words: ms | words/s | × mBERT" for length in lengths]
    lines = [
        f"| System | size, MB | peak memory, MB | {' | '.join(columns)} |",
        f"|:--|--:|--:|{'--:|' * 3 * len(lengths)}",
    ]
    for name, of_system in systems.items():
        cells = [
            of_system["title"],
            f"{of_system['bytes'] / 1e6:,.1f}",
            f"{of_system['peak_memory_bytes'] / 1e6:,.0f}",
        ]
        for length in lengths:
            cells += [
                f"{1000 * of_system['latency_seconds'][length]:,.2f}",
                f"{of_system['words_per_second'][length]:,.0f}",
                f"{speedups[name][length]:,.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pieces_per_word(folder: Path, sentences: dict[int, list[list[str]]]) -> dict[str, float]:
    """How many pieces the tokenizer in this folder makes of a word, by the length of sentences."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return {
        str(length): sum(
            len(tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)) for words in those
        )
        / (length * len(those))
        for length, those in sentences.items()
    }


def cpu_name() -> str:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]  # fmt: skip
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    demo = Path(__file__).parents[1] / "hf_polyglot" / "data" / "demo"
    parser.add_argument("--corpora", nargs="+", default=[str(demo / "swa"), str(demo / "spa")])
    parser.add_argument("--words", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--models", nargs="+", type=Path, default=[], help="Folders of trained models, measured too.")
    parser.add_argument("--sentences", type=int, default=10, help="Of each length, of all languages.")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--output", help="JSON file for what was measured.")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--write", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant is not None:
        compete(arguments.contestant, arguments.folder)
        return
    if arguments.write is not None:
        training = [words for sentences in sentences_of(arguments.corpora, "train") for words in sentences]
        SYSTEMS[arguments.write].write(training, arguments.folder)
        return
    languages = sentences_of(arguments.corpora, "test")
    sentences = {length: of_length(languages, length, arguments.sentences) for length in arguments.words}
    names = [name for name in arguments.systems if importlib.util.find_spec(SYSTEMS[name].needs) is not None]
    if "mbert" not in names:
        parser.error("--systems needs mbert, which all are compared with")
    models = {path.name: path for path in arguments.models}
    for path in models.values():
        if not any((path / file).is_file() for file in ("config.json", "model.onnx")):
            parser.error(f"--models: {path} has no config.json and no model.onnx; expected the folder of a model")
    if len(models) < len(arguments.models) or set(models) & set(SYSTEMS):
        parser.error("--models: two contestants have the same name; rename a folder")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            command = [sys.executable, "-m", "benchmarks.cpu_speed", "--write", name, "--folder", f"{folder}/{name}"]
            subprocess.run([*command, "--corpora", *arguments.corpora], check=True)
        folders = {name: Path(folder, name) for name in names} | models
        systems = measure(folders, sentences, arguments.turns, arguments.clock)
        pieces = pieces_per_word(Path(folder, "mbert"), sentences)
    speedups = {
        name: {
            length: systems["mbert"]["latency_seconds"][length] / seconds
            for length, seconds in of_system["latency_seconds"].items()
        }
        for name, of_system in systems.items()
    }
    packages = ["torch", "transformers", "tokenizers", "onnxruntime", "spacy", "numba"]
    outcome = {
        "command": "python -m benchmarks.cpu_speed " + " ".join(sys.argv[1:]),
        "cpu": cpu_name(),
        "threads": 1,
        "clock": arguments.clock,
        "turns": arguments.turns,
        "sentences": {str(length): len(those) for length, those in sentences.items()},
        "pieces_per_word": pieces,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages if importlib.util.find_spec(name) is not None},
        "systems": systems,
        "speedup_over_mbert": speedups,
        "goals": GOALS,
    }  # fmt: skip
    about = ", ".join(f"{name} {number}" for name, number in outcome["versions"].items())
    print(f"One thread of {outcome['cpu']}, {arguments.clock} time, {about}")
    print(
        ", ".join(f"{number:.2f} pieces a word at {length}" for length, number in outcome["pieces_per_word"].items())
    )
    print(table(systems, speedups))
    for name, goals in GOALS.items():
        for length, goal in goals.items():
            if name in speedups and length in speedups[name]:
                print(f"{SYSTEMS[name].title}, {length} words: {speedups[name][length]:.1f}, goal {goal}")
    if arguments.output is not None:
        Path(arguments.output).write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
