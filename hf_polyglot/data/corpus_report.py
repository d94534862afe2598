"""What loading did to each corpus: counts, what was mapped, repaired and left out, and where first."""

from dataclasses import asdict, dataclass, field
from typing import Any

from hf_polyglot.data.tagged_sentences import Occurrences


@dataclass
class SplitReport:
    """
    What became of one split of one language.

    Args:
        source (`str`):
            The file, or the data set and its split.
        scheme (`str`):
            Tag scheme found in the source; empty for tasks other than `ner_tags`.
        repaired (`Occurrences`):
            Tags that this scheme forbids at their place, such as an `I-` behind `O`.
        converted (`Occurrences`):
            Tags that IOB2 writes differently.
        left_out (`dict[str, Occurrences]`):
            What did not become a word, by kind.
        mapped (`dict[str, Occurrences]`, *optional*):
            Spans whose type the type map changed, as `"DATE -> O"`.
        entities (`dict[str, int]`, *optional*):
            Spans of each type, after the type map.
        sentences (`int`, *optional*, defaults to 0):
            Sentences kept.
        words (`int`, *optional*, defaults to 0):
            Words kept.
        fingerprint (`str`, *optional*, defaults to `""`):
            SHA-256 of the words and tags, as [`fingerprint`] computes it.
    """

    source: str
    scheme: str
    repaired: Occurrences
    converted: Occurrences
    left_out: dict[str, Occurrences]
    mapped: dict[str, Occurrences] = field(default_factory=dict)
    entities: dict[str, int] = field(default_factory=dict)
    sentences: int = 0
    words: int = 0
    fingerprint: str = ""


@dataclass
class CorpusReport:
    """
    What `load_corpora` found, mapped, repaired and left out. `str(report)` is made to be printed.

    Args:
        task (`str`):
            The column of tags.
        labels (`list[str]`):
            The labels that all languages share, by id.
        languages (`dict[str, dict[str, SplitReport]]`):
            The splits of each language.
        notes (`list[str]`):
            What is accepted but may be a mistake.
    """

    task: str
    labels: list[str]
    languages: dict[str, dict[str, SplitReport]]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The report as dictionaries, lists, strings and numbers, for `results.json`."""
        return asdict(self)

    def __str__(self) -> str:
        """The report as a table, a line for each kind of change, and the notes."""
        most = 8 if self.task == "feats" else 40  # bundles are long, and there are thousands
        shown = " ".join(self.labels[:most]) + " ..." * (len(self.labels) > most)
        return "\n".join([*self._table(), *self._changes(), *self.notes, f"{len(self.labels)} labels: {shown}"])

    def _table(self) -> list[str]:
        width = max([len("language"), *map(len, self.languages)])
        lines = [f"{'language':{width}}  {'split':10}  {'sentences':>9}  {'words':>9}"]
        if self.task == "ner_tags":
            lines[0] += "  entities"
        for language, splits in self.languages.items():
            for name, split in splits.items():
                line = f"{language:{width}}  {name:10}  {split.sentences:9,}  {split.words:9,}"
                if self.task == "ner_tags":
                    types = ", ".join(f"{entity_type} {count:,}" for entity_type, count in split.entities.items())
                    line += f"  {sum(split.entities.values()):8,}  {types}".rstrip()
                lines.append(line)
        return lines

    def _changes(self) -> list[str]:
        changes: dict[str, dict[str, Occurrences]] = {}
        for language, splits in self.languages.items():
            for split in splits.values():
                kinds = {f"mapped {types}": found for types, found in split.mapped.items()}
                kinds["repaired tags"] = split.repaired
                kinds[f"tags rewritten from {split.scheme}"] = split.converted
                kinds |= {f"left out {kind}": found for kind, found in split.left_out.items()}
                for kind, found in kinds.items():
                    if found.count:
                        changes.setdefault(kind, {}).setdefault(language, Occurrences()).add(found.first, found.count)
        lines = []
        for kind, by_language in sorted(changes.items()):
            counts = ", ".join(f"{language} {found.count:,}" for language, found in by_language.items())
            lines.append(f"{kind}: {counts}; first at {next(iter(by_language.values())).first}")
        return lines
