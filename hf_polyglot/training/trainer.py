"""A Trainer that knows languages: it samples them, evaluates each, and keeps the best model of them all."""

import copy
import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    ProgressCallback,
    Trainer,
    TrainerControl,
    TrainerState,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_polyglot.data.collators import collator_for, word_counts
from hf_polyglot.data.language_sampling import PolyglotBatchSampler, languages_and_lengths
from hf_polyglot.joint_tasks import JointTask, task_of_model
from hf_polyglot.model_card import write_model_card
from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme
from hf_polyglot.results import TASK_MEAN
from hf_polyglot.tasks import Task
from hf_polyglot.training.arguments import AVERAGE, PolyglotTrainingArguments
from hf_polyglot.training.callbacks import (
    EarlyStoppingByAverage,
    KeepingEpochWeights,
    SamplingByEpoch,
    UnfreezingByEpoch,
    evaluations_without_gain,
)
from hf_polyglot.training.checkpoints import (
    CHECKPOINT_FILES,
    StopOnSignal,
    check_course,
    damage_of_checkpoint,
    last_whole_checkpoint,
    remove_old_checkpoints,
    seal_checkpoint,
    seconds_of_checkpoint,
)
from hf_polyglot.training.elastic_weights import ElasticWeights
from hf_polyglot.training.encoder_layers import (
    GradualUnfreezing,
    encoder_of,
    give_rates_by_depth,
    slanted_triangular_schedule,
)
from hf_polyglot.training.epoch_weights import EpochWeights
from hf_polyglot.training.gradient_surgery import BATCHES_OF_LANGUAGES, GradientSurgery, LanguageBatches
from hf_polyglot.training.language_schedule import LanguageSchedule
from hf_polyglot.training.optimizer_state import (
    ADAM_STATE_FILE,
    CarriedAdamState,
    adam_state_by_name,
    carry_adam_state,
    is_adam,
    load_adam_state,
    save_adam_state,
)
from hf_polyglot.training.progress import PolyglotProgressCallback

# On a GPU, losses are looked at together, every so many batches.
STEPS_BETWEEN_LOSS_CHECKS = 16
FAILED_BATCH = "failed_batch"

# Settings with which a run that is resumed would take another course.
COURSE_SETTINGS = (
    "seed", "num_train_epochs", "max_steps", "learning_rate", "head_learning_rate", "lr_scheduler_type",
    "warmup_steps", "weight_decay", "max_grad_norm", "optim", "sampling", "alpha", "batch_languages",
)  # fmt: skip
LATER_SETTINGS = ("layer_rate_divisor", "unfrozen_layers_per_epoch", "slanted_triangular", "gradient_surgery")


class PolyglotTrainer(Trainer):
    """
    Trainer of taggers on one language or many.

    Args:
        model (`PreTrainedModel`):
            A tagger of this package.
        args ([`PolyglotTrainingArguments`]):
            How to train.
        processing_class (`PreTrainedTokenizerFast`):
            The model's tokenizer.
        train_dataset (`Dataset` or `Mapping[str, Dataset]`, *optional*):
            Training sentences with the columns `tokens`, `language` and `label_column`, or one such data set per
            language.
        eval_dataset (`Dataset` or `Mapping[str, Dataset]`, *optional*):
            Sentences to evaluate on. With one data set per language, each is measured, and `eval_average_f1` (or
            `eval_average_accuracy`, of several tasks `eval_average_task_mean`) is their mean.
        data_collator (`Callable`, *optional*):
            Defaults to the collator whose batches the model reads.
        compute_metrics (`Callable`, *optional*):
            Defaults to exact-match span precision, recall and F1 in percent, or to the accuracy where the model's
            labels are classes of words.
        label_column (`str` or `Sequence[str]`, *optional*):
            Column of the label ids. Defaults to that of the model's task: `"ner_tags"`, `"upos"` or `"feats"`; of a
            model of several tasks, a column for each.
        adam_state (`Mapping[str, Mapping[str, Tensor]]`, *optional*):
            State of Adam that training starts with, by parameter name, as [`load_adam_state`] reads it beside a model.
        elastic_weights ([`ElasticWeights`], *optional*):
            Holds weights near where they were.
        options:
            Further arguments of [`Trainer`].

    Attributes:
        carried_adam_state ([`CarriedAdamState`], *optional*):
            Which parameters go on with `adam_state`; known when training has begun.
        described (`dict[str, Any]`):
            What else `results.json` is to say of this run.

    Raises:
        ValueError: if one process sees several GPUs, or if the labels of a data set are not those of the model.
    """

    control: TrainerControl

    def __init__(
        self,
        model: nn.Module,
        args: PolyglotTrainingArguments,
        *,
        processing_class,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        data_collator: Callable | None = None,
        compute_metrics: Callable | None = None,
        label_column: str | Sequence[str] | None = None,
        adam_state: Mapping[str, Mapping[str, Tensor]] | None = None,
        elastic_weights: ElasticWeights | None = None,
        **options,
    ):
        if args.n_gpu > 1:
            raise ValueError(
                f"One process sees {args.n_gpu} GPUs, and torch.nn.DataParallel would cut batches at the wrong "
                "places. Start one process for each GPU with `accelerate launch`, or show one of them by "
                "CUDA_VISIBLE_DEVICES."
            )
        config: Any = model.config
        labels = labels_by_scheme(config)
        self.task = task_of_model(config)
        label_column = label_column or self.task.label_column
        averages = (AVERAGE, *(f"{AVERAGE}_{metric}" for metric in ("f1", "accuracy", TASK_MEAN)))
        if str(args.metric_for_best_model).removeprefix("eval_") in averages:
            # In a copy: the caller writes down what was asked for.
            args = copy.copy(args)
            args.metric_for_best_model = f"{AVERAGE}_{self.task.metric}"
        for given in (train_dataset, eval_dataset):
            for dataset in given.values() if isinstance(given, Mapping) else [given]:
                columns = [label_column] if isinstance(label_column, str) else label_column
                for column, of_task in zip(columns, labels.values(), strict=True):
                    _check_labels(dataset, column, of_task)
        self.seconds_before = 0.0  # of the run that this one goes on with
        self.seconds_of_first_phase = 0.0  # of a distillation, as far as an earlier process trained it
        self.epoch_weights = EpochWeights(args.output_dir)
        self.has_averaged_weights = False
        self.losses_to_check: list[tuple[int, dict[str, Any], Tensor]] = []
        self.adam_state = adam_state
        self.elastic_weights = elastic_weights
        self.carried_adam_state: CarriedAdamState | None = None
        self.surgery: GradientSurgery | None = None
        self.described: dict[str, Any] = {}
        super().__init__(
            model,
            args,
            data_collator=data_collator or collator_for(model, processing_class, label_column),
            train_dataset=_concatenated(train_dataset),
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=compute_metrics or _metrics_of(self.task, labels),
            **options,
        )
        self.add_callback(SamplingByEpoch(self))
        if elastic_weights is not None:
            self._check_whole_parameters("elastic_weights")
        self.unfreezing: GradualUnfreezing | None = None
        if args.unfrozen_layers_per_epoch is not None:
            self._check_whole_parameters("unfrozen_layers_per_epoch")
            self.unfreezing = GradualUnfreezing(encoder_of(model), args.unfrozen_layers_per_epoch)
            self.add_callback(UnfreezingByEpoch(self.unfreezing, has_replicas=args.world_size > 1))
        if args.keeps_epoch_weights:
            self._check_whole_parameters("selection")
            self.add_callback(KeepingEpochWeights(self))
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingByAverage(args.early_stopping_patience))
        if self.pop_callback(ProgressCallback):
            self.add_callback(PolyglotProgressCallback(self.evaluated_languages, self.task))
        self.stop_on_signal = StopOnSignal(self.accelerator)
        self.add_callback(self.stop_on_signal)

    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None):
        """
        Train, as [`Trainer`] does. Ctrl-C and SIGTERM end it behind a step, with a checkpoint that can be resumed.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                A checkpoint, or True for the last one that is whole.
            trial (`optuna.Trial` or `dict`, *optional*):
                As in [`Trainer`].
            ignore_keys_for_eval (`list[str]`, *optional*):
                As in [`Trainer`].

        Raises:
            KeyboardInterrupt: if a signal ended it; it says how to go on.
        """
        folder = Path(self.args.output_dir)
        self.epoch_weights = EpochWeights(folder)
        self.has_averaged_weights = False
        self.course = self._course()
        if self.args.should_save:
            _check_writable(folder)
        if resume_from_checkpoint is True:
            checkpoint, skipped = last_whole_checkpoint(folder)
            self.args.print("\n".join([*skipped, f"Training goes on from {checkpoint or 'the beginning'}."]))
            resume_from_checkpoint = None if checkpoint is None else str(checkpoint)
        elif resume_from_checkpoint:
            _check_whole(resume_from_checkpoint)
        if resume_from_checkpoint:
            check_course(resume_from_checkpoint, self.course)
            self.seconds_before = seconds_of_checkpoint(resume_from_checkpoint)
            self._end_if_patience_has(Path(resume_from_checkpoint))
        self._go_on_with_epoch_weights(resume_from_checkpoint)
        self.started = time.perf_counter()
        try:
            output = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
            self._check_losses()
        finally:
            self.stop_on_signal.restore_handlers()
        if self.stop_on_signal.stopped:
            raise KeyboardInterrupt(
                f"Training was stopped behind step {self.state.global_step}. To go on from "
                f"{last_whole_checkpoint(folder)[0] or 'the beginning'}, give the same command with "
                "--resume_from_checkpoint true."
            )
        if self.args.selection == "average":
            self.accelerator.wait_for_everyone()  # the first of them has written the last epoch
            self.load_weights(self.average_of_epochs())
            self.has_averaged_weights = True
        return output

    def training_step(self, model, inputs, num_items_in_batch=None):
        """
        Loss of a batch, its gradients added up.

        Args:
            model (`nn.Module`):
                The model, wrapped or not.
            inputs (`dict[str, Tensor]`):
                The batch.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                As in [`Trainer`].
        """
        if self.surgery is None:
            loss = self._checked_step(model, inputs, num_items_in_batch)
        else:
            loss = self._surgical_step(model, inputs[BATCHES_OF_LANGUAGES], num_items_in_batch, self.surgery)
        if self.elastic_weights is not None and self.accelerator.sync_gradients:
            scaler = self.accelerator.scaler
            scale = 1.0 if scaler is None else scaler.get_scale()
            self.elastic_weights.add_gradients(self.accelerator.unwrap_model(model), scale)
        if self.unfreezing is not None:
            self.unfreezing.drop_gradients()
        return loss

    def _checked_step(self, model, inputs, num_items_in_batch) -> Tensor:
        """Loss of a batch, its gradients added up, unless it is no finite number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.losses_to_check.append((self.state.global_step, inputs, loss.detach()))
        if _is_free_to_look_at(loss) or len(self.losses_to_check) >= STEPS_BETWEEN_LOSS_CHECKS:
            self._check_losses()
        return loss

    def _surgical_step(self, model, batches, num_items_in_batch, surgery: GradientSurgery) -> Tensor:
        """Loss of the batches of all languages, their gradients added up language by language."""
        plain_model = self.accelerator.unwrap_model(model)
        losses = []
        for language, batch in batches.items():
            # What processes would share is the sum over languages; here it is each language's own, behind the last.
            with self.accelerator.no_sync(model):
                losses.append(self._checked_step(model, batch, num_items_in_batch))
            if self.unfreezing is not None:
                self.unfreezing.drop_gradients()  # nor may what is frozen decide what conflicts
            surgery.take(language, plain_model)
        if self.accelerator.sync_gradients:
            surgery.give_back(
                plain_model, self.state.global_step, lambda total: self.accelerator.reduce(total, reduction="mean")
            )
        return torch.stack(losses).sum()

    def _run_epoch(self, *arguments, **options):
        if self.state.global_step < self.state.max_steps:
            return super()._run_epoch(*arguments, **options)
        # transformers would take one step more when a run that has ended within an epoch is resumed.
        self.control.should_training_stop = True
        return None

    def seconds_trained(self) -> float:
        """How long this run has trained for since it began, without the time between its end and its resumption."""
        return self.seconds_before + time.perf_counter() - self.started

    def trained_weights(self) -> dict[str, Tensor]:
        """The parameters that are trained, by name, and what the model counts besides; those of the model itself."""
        trained = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        parameters = {name: weights for name, weights in self.model.named_parameters() if weights in trained}
        return parameters | dict(self.model.named_buffers())

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """
        Write weights into the model.

        Args:
            weights (`Mapping[str, Tensor]`):
                All of [`PolyglotTrainer.trained_weights`].
        """
        with torch.no_grad():
            for name, own in self.trained_weights().items():
                own.copy_(weights[name])

    def average_of_epochs(self) -> dict[str, Tensor]:
        """The mean of the trained weights at the ends of all epochs; anything else as at the end of the last."""
        return self.epoch_weights.average({name for name, _ in self.model.named_parameters()})

    def _go_on_with_epoch_weights(self, checkpoint: str | None) -> None:
        """
        Remove the weights of epochs that are still to come, of whatever run they are.

        Raises:
            ValueError: if those of earlier epochs are needed and not there.
        """
        state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME)) if checkpoint else None
        if self.args.should_save:
            self.epoch_weights.remove(after_step=state.global_step if state else None)
        ended = range(1, int(state.epoch or 0) + 1) if state else []
        missing = [str(epoch) for epoch in ended if epoch not in self.epoch_weights.epochs]
        if self.args.keeps_epoch_weights and missing:
            raise ValueError(
                f"`selection` or `compare_selection` needs the weights of epochs {', '.join(missing)}, and the run of "
                f"{checkpoint} did not keep them, or has ended; expected them in {self.epoch_weights.folder}. Train "
                "without --resume_from_checkpoint."
            )

    def _check_losses(self) -> None:
        """
        Look at the losses since the last time.

        Raises:
            FloatingPointError: if one is no finite number. Its batch lies in the output folder.
        """
        checked, self.losses_to_check = self.losses_to_check, []
        if checked and not torch.stack([loss for *_, loss in checked]).isfinite().all():
            step, inputs, loss = next(of_step for of_step in checked if not of_step[-1].isfinite())
            path = Path(self.args.output_dir) / f"{FAILED_BATCH}-{self.args.process_index}.safetensors"
            tensors = {name: value.cpu().contiguous() for name, value in inputs.items() if isinstance(value, Tensor)}
            save_file(tensors, path)
            raise FloatingPointError(
                f"The loss of a batch of step {step + 1} is {loss.item()}; expected a finite number. The batch is in "
                f"{path}. Use a smaller learning rate or max_grad_norm, or look for damage in the data."
            )

    def _save_checkpoint(self, model, trial) -> None:
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._check_losses()
        if self.args.should_save:
            (folder / CHECKPOINT_FILES).unlink(missing_ok=True)
        # Others are removed when this one is whole, not before.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._check_weights()
                seal_checkpoint(folder, self.course, self.seconds_trained())
        except (OSError, RuntimeError, SafetensorError) as error:
            if type(error) is RuntimeError and "Stream" not in str(error):  # torch says so when it cannot write
                raise
            raise OSError(
                f"The checkpoint {folder} could not be written: {error} Those before it are whole. Make room, and "
                "give the same command with --resume_from_checkpoint true."
            ) from error
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            remove_old_checkpoints(folder.parent, limit, self.state.best_model_checkpoint)

    def _course(self) -> dict[str, str]:
        """What decides the course of training: settings, and of the data their size and labels."""
        args = self.args
        settings = {name: getattr(args, name) for name in COURSE_SETTINGS}
        # Checkpoints of earlier versions do not have these.
        of_class = {setting.name: setting.default for setting in dataclasses.fields(args)}
        settings |= {name: getattr(args, name) for name in LATER_SETTINGS if getattr(args, name) != of_class[name]}
        if self.elastic_weights is not None:
            settings["elastic weights"] = self.elastic_weights.strength
        batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        others = {
            "sentences of an update": batch_size,
            "training examples": 0 if self.train_dataset is None else len(self.train_dataset),
            "labels": " ".join(label for of_task in labels_by_scheme(self.model.config).values() for label in of_task),
        }
        if isinstance(self.task, JointTask):
            others |= {"tasks": self.task.name, "loss weights": self.model.config.loss_weights}
        return {name: str(value) for name, value in {**settings, **others}.items()}

    def _check_weights(self) -> None:
        """
        Look at the weights before they are sealed: a finite loss can have gradients that are not.

        Raises:
            FloatingPointError: if one is no finite number.
        """
        broken = [name for name, parameter in self.model.named_parameters() if not parameter.isfinite().all()]
        if broken:
            raise FloatingPointError(
                f"Behind step {self.state.global_step}, {', '.join(broken)} are no finite numbers, so its checkpoint "
                "is not finished. Those before it are whole. Use a smaller learning rate."
            )

    def _end_if_patience_has(self, checkpoint: Path) -> None:
        """Take no more steps from the last checkpoint of a run that early stopping ended."""
        patience = self.args.early_stopping_patience
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if patience is not None and evaluations_without_gain(self.args, state) >= patience:
            self.args.max_steps = state.global_step

    @property
    def evaluated_languages(self) -> list[str]:
        """Languages that are evaluated each by itself."""
        return list(self.eval_dataset) if isinstance(self.eval_dataset, Mapping) else []

    def get_train_dataloader(self) -> DataLoader:
        """
        Batches that a [`PolyglotBatchSampler`] draws, dealt to the processes.

        Raises:
            ValueError: if the trainer has no `train_dataset`, or if the sampling that the arguments name lacks
                something.
        """
        if self.train_dataset is None:
            raise ValueError(
                "There is no `train_dataset`. Give one to the trainer, or call `evaluate` or `predict` only."
            )
        args = self.args
        self.batch_sampler = PolyglotBatchSampler(
            *self.languages_and_lengths(),
            batch_size=self._train_batch_size,
            batches_per_update=args.world_size * args.gradient_accumulation_steps,
            batch_languages=args.batch_languages,
            seed=args.seed if args.data_seed is None else args.data_seed,
        )
        run_epochs = args.max_steps / self.batch_sampler.num_updates if args.max_steps > 0 else args.num_train_epochs
        sizes = self.batch_sampler.sizes
        self.language_schedule = LanguageSchedule(args, sizes, run_epochs, self.evaluated_languages, self.task.metric)
        self.begin_epoch(0)
        collator = self.data_collator
        if args.gradient_surgery:
            self._check_whole_parameters("gradient_surgery")
            if len(sizes) == 1 or (self.batch_sampler.single_language and self.batch_sampler.batches_per_update == 1):
                raise ValueError(
                    "`gradient_surgery` is True, and each update has sentences of one language only; expected "
                    "several, whose gradients may conflict. Leave it out, or train on several, in mixed batches."
                )
            collator = LanguageBatches(collator)
            self.surgery = GradientSurgery(list(sizes), args.seed)
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.batch_sampler,
            collate_fn=collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def languages_and_lengths(self) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
        """
        Languages, and which of them and how long each training example is: by this they are drawn and put together.
        """
        # In words for a collator that does not count.
        return languages_and_lengths(self.train_dataset, getattr(self.data_collator, "lengths", word_counts))

    def begin_epoch(self, epoch: int) -> None:
        """
        Make the batch sampler's next iteration that of an epoch, with the probabilities of that epoch.

        Args:
            epoch (`int`):
                Counted from 0.
        """
        self.batch_sampler.set_epoch(epoch)
        self.batch_sampler.probabilities = self.language_schedule.probabilities(epoch, self.state.log_history)

    def examples_drawn(self) -> dict[str, int]:
        """Training examples of each language that went into the updates so far; for Byte-to-Span, segments."""
        epochs, updates = divmod(self.state.global_step, self.batch_sampler.num_updates)
        drawn: Counter[str] = Counter()
        for epoch in range(epochs + (updates > 0)):
            self.begin_epoch(epoch)
            drawn.update(self.batch_sampler.counts(None if epoch < epochs else updates))
        return dict(drawn)

    def get_decay_parameter_names(self, model) -> list[str]:
        """Names of the parameters that decay: not biases, not norms, and not the CRF, whose scores are no weights."""
        return [name for name in super().get_decay_parameter_names(model) if "crf" not in name.split(".")]

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """
        The optimizer, with `head_learning_rate` for the parameters outside the encoder, with rates by depth within it,
        and with `adam_state`.

        Args:
            model (`nn.Module`, *optional*):
                Defaults to the trainer's own.
        """
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        model = self.model if model is None else model
        if self.args.head_learning_rate is not None:
            prefix = f"{model.base_model_prefix}."
            head = {parameter for name, parameter in model.named_parameters() if not name.startswith(prefix)}
            _give_own_rate(optimizer, head, self.args.head_learning_rate)
        if self.args.layer_rate_divisor != 1 and is_new:
            self._check_whole_parameters("layer_rate_divisor")
            give_rates_by_depth(optimizer, encoder_of(model), self.args.layer_rate_divisor)
        if self.adam_state is not None and is_new:
            self._check_whole_parameters("adam_state")
            self.carried_adam_state = carry_adam_state(model, optimizer, self.adam_state)
        return optimizer

    def _check_whole_parameters(self, argument: str) -> None:
        """
        Refuse what needs parameters one by one where they are spread over processes.

        Raises:
            ValueError: if they are.
        """
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                f"`{argument}` is given, and FSDP or DeepSpeed spreads the parameters over processes; expected them "
                "whole. Leave it out, or use an ordinary launch."
            )

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """
        The schedule of the learning rates.

        Args:
            num_training_steps (`int`):
                Steps of the whole run.
            optimizer (`Optimizer`, *optional*):
                Defaults to the trainer's own.
        """
        if getattr(self, "lr_scheduler", None) is None and self.args.slanted_triangular:
            warmup = self.args.get_warmup_steps(num_training_steps) or None
            optimizer = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = slanted_triangular_schedule(optimizer, num_training_steps, warmup)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """
        Loss, label ids `(batch, words)` by the model's own decoding, and gold label ids of a batch; of several tasks
        `(batch, words, tasks)`.

        Args:
            model (`nn.Module`):
                The model, wrapped or not.
            inputs (`dict[str, Tensor]`):
                The batch.
            prediction_loss_only (`bool`):
                Whether to leave out the label ids.
            ignore_keys (`list[str]`, *optional*):
                Not read.

        Raises:
            ValueError: if the batch has no labels.
        """
        inputs = self._prepare_inputs(inputs)
        if "labels" not in inputs:
            raise ValueError(
                "There are no labels in this data set, so nothing to measure. Give them, or tag its words with "
                "`hf_polyglot.inference.tagging.tag_words`."
            )
        labels: Tensor = inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        if prediction_loss_only:
            return outputs.loss, None, None
        return outputs.loss, self._decoded(self.accelerator.unwrap_model(model), outputs, labels), labels

    def _decoded(self, model, outputs, labels: Tensor) -> Tensor:
        """Label ids by the model's own decoding, of the shape of the gold ones, `(batch, words)` or with tasks."""
        is_label = labels != PADDING_LABEL
        if not isinstance(self.task, JointTask):
            return model.decode(outputs, is_label)
        # A sentence that lacks a task has words all the same.
        is_word = is_label.any(2)  # (batch, words)
        return torch.stack([model.decode(outputs, is_word, scheme) for scheme in self.task.tasks], 2)

    def _save_model(self, output_dir: str | None, state_dict: dict | None) -> None:
        """Write what the model's folder holds; not the optimizer."""
        super()._save(output_dir, state_dict)

    def _load_best_weights(self) -> None:
        """Give the model the weights of the best checkpoint."""
        super()._load_best_model()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        self._save_model(output_dir, state_dict)
        # A pickle, which transformers writes and never reads. What it says is in results.json.
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            Path(folder, "training_args.bin").unlink(missing_ok=True)
            # Where the state is spread over processes, it is only in the checkpoints that those write together.
            is_whole = not (self.is_fsdp_enabled or self.is_deepspeed_enabled)
            # Averaged weights were never trained with the state that there is.
            is_wanted = self.args.save_adam_state != "no" and is_whole and not self.has_averaged_weights
            if is_wanted and self.optimizer is not None and is_adam(self.optimizer):
                state = adam_state_by_name(self.model, self.optimizer)
                save_adam_state(folder, state, getattr(torch, self.args.save_adam_state))
            elif self.has_averaged_weights:
                (folder / ADAM_STATE_FILE).unlink(missing_ok=True)  # of an earlier run into the same folder

    def _load_best_model(self) -> None:
        _check_whole(self.state.best_model_checkpoint)
        self._load_best_weights()
        # The weights are now those of an earlier step, and so must be the state that is saved beside them.
        best = Path(self.state.best_model_checkpoint)
        if (best / ADAM_STATE_FILE).is_file():
            self.optimizer.state.clear()  # of parameters that thawed later the best checkpoint has none
            carry_adam_state(self.model, self.optimizer, load_adam_state(best))

    def create_model_card(self, *arguments, **options) -> None:
        """Write the card of results.json, if the run has left one; `push_to_hub` calls this before it uploads."""
        if (Path(self.args.output_dir) / "results.json").is_file():
            if self.is_world_process_zero():
                write_model_card(self.args.output_dir, repo_id=self.hub_model_id)
        else:
            super().create_model_card(*arguments, **options)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """
        Metrics of each data set, and their mean over data sets as `{prefix}_average_f1` (or
        `{prefix}_average_accuracy`) when there are several by name.

        Args:
            eval_dataset (`Dataset` or `Mapping[str, Dataset]`, *optional*):
                Defaults to the trainer's own.
            ignore_keys (`list[str]`, *optional*):
                As in [`Trainer`].
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`):
                What the names of the metrics begin with.

        Returns:
            `dict[str, float]`: `{prefix}_{language}_f1` (or `_accuracy`) and so on, in percent.
        """
        # A model that has learned from it has nothing to decode.
        self._check_losses()
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        datasets = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(datasets, Mapping):
            metric = self.task.metric
            scores = [metrics[f"{metric_key_prefix}_{language}_{metric}"] for language in datasets]
            average = {f"{metric_key_prefix}_average_{metric}": sum(scores) / len(scores)}
            metrics.update(average)
            self.log({name: value for name, value in metrics.items() if name.endswith(f"_{metric}")})
            # Early stopping looks for its metric in what each `on_evaluate` gets; the average is known only here.
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, average)
        return metrics


def _check_whole(checkpoint: str | Path) -> None:
    """
    Refuse a checkpoint that is damaged.

    Raises:
        OSError: if it is.
    """
    damage = damage_of_checkpoint(checkpoint)
    if damage is not None:
        raise OSError(
            f"{checkpoint} cannot be loaded: {damage}; expected a checkpoint that is whole. Remove it, and train on "
            "from the one before it, or again."
        )


def _is_free_to_look_at(loss: Tensor) -> bool:
    """Whether the number is there: to look at one on a GPU is to wait for all that was started before it."""
    return loss.device.type == "cpu"


def _check_writable(folder: Path) -> None:
    """
    Make the output folder, and a file in it, before hours of training find out that it cannot be.

    Raises:
        OSError: if that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"Nothing can be written into `output_dir` {folder}: {error}. Give another one.") from error


def _give_own_rate(optimizer: torch.optim.Optimizer, parameters: set[nn.Parameter], learning_rate: float) -> None:
    """Move these parameters to groups of their own that are like the old ones but for their learning rate."""
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if parameter in parameters]
        group["params"] = [parameter for parameter in group["params"] if parameter not in parameters]
        optimizer.add_param_group({**group, "params": moved, "lr": learning_rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def _metrics_of(task: Task | JointTask, labels: Mapping[str, list[str]]) -> Callable:
    """`compute_metrics` of a model with these labels, by scheme."""
    if isinstance(task, JointTask):
        return task.compute_metrics(labels)
    ((scheme, of_task),) = labels.items()
    return task.compute_metrics(of_task, scheme)


def _check_labels(dataset: Any, label_column: str, labels: list[str]) -> None:
    """
    Refuse a data set whose label ids stand for other tags than the model's.

    Raises:
        ValueError: if they do.
    """
    feature = (getattr(dataset, "features", None) or {}).get(label_column)
    names = getattr(getattr(feature, "feature", None), "names", None)
    if names is not None and list(names) != labels:
        raise ValueError(
            f"The ids in `{label_column}` stand for {', '.join(names)}; expected the model's labels in their order, "
            f"{', '.join(labels)}. Give the model's configuration these labels, or cast the column."
        )


def _concatenated(dataset):
    """
    One data set of a mapping of them, each row with the language that it is under; anything else as it is.

    Raises:
        ValueError: if a data set that is not in a mapping has no column `language`.
    """
    if isinstance(dataset, Mapping):
        return concatenate_datasets([
            rows if "language" in rows.column_names else rows.add_column("language", [language] * len(rows))
            for language, rows in dataset.items()
        ])
    if isinstance(dataset, Dataset) and "language" not in dataset.column_names:
        raise ValueError(
            f"`train_dataset` has the columns {', '.join(dataset.column_names)}; expected `language` among them. Give "
            "a mapping from language to data set, or add the column."
        )
    return dataset
