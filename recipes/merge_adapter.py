"""
Merge an adapter with its base into a plain model, which needs neither peft nor the base.

    python recipes/merge_adapter.py --model runs/adapters/swa --output_dir runs/merged-swa

Needs the folder or Hub id of an adapter, as `continue_finetuning.py --adapter lora` leaves it, and its base. Results
go along, and the card is that of a whole model; of Adam's state, that of the weights which the adapter held whole.
"""

from dataclasses import dataclass, field

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.model_files import checked_model_name
from hf_polyglot.training.adapters import save_merged
from hf_polyglot.training.command_line import parse_recipe


@dataclass
class MergeArguments:
    """What is merged, and where it is written."""

    model: str = field(metadata={"help": "Folder or Hub id of the adapter."})
    output_dir: str = field(metadata={"help": "Folder for the plain model; it must be empty, or not be there."})
    base_model: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of the base. Default: as it was called when the adapter was trained."},
    )


def main(arguments: MergeArguments) -> None:
    folder = save_merged(checked_model_name(arguments.model), arguments.output_dir, arguments.base_model)
    print(f"Model: {folder}")


if __name__ == "__main__":
    main(*parse_recipe(MergeArguments))
