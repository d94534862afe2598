"""Markdown tables of runs, from their results.json and from comparisons of two."""

import re
from collections.abc import Mapping, Sequence
from math import floor
from statistics import fmean, stdev
from typing import Any

from hf_polyglot.results import AVERAGES, TASK_MEAN, languages_by_training, main_metric
from hf_polyglot.tasks import TASKS, Task

# What each task of a model of several is chosen by.
_METRICS_OF_TASKS = tuple(task.metric_beside_others for task in TASKS.values())

# What a comparison says nothing about, by what it covers.
SCOPES = {
    "test sentences and runs": "Interval and bootstrap allow for other test sentences and for other runs (seeds), the "
    "two other tests for other sentences only.",
    "test sentences": "All of this allows for other test sentences only: it is about these models, and not about how "
    "they were trained. For that, train both with several --seeds.",
}


def results_table(results: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, split: str = "test") -> str:
    """
    Markdown table of scores in percent, one row a language: `mean ± std`, or the mean alone of a run with one seed.

    Languages that no run was trained on come last, with an average of their own.

    Args:
        results (`Mapping[str, Any]` or a sequence of them):
            One run, shown with precision, recall and F1; or several, with the F1 of each in a column of its own. Runs
            on tasks without spans are shown with their accuracy, one on several tasks with what each is chosen by and
            the mean of these.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.

    Returns:
        `str`, its columns aligned, so that it can be read on a terminal too.
    """
    if isinstance(results, Mapping):
        runs, columns = [results], [(results, metric) for metric in _metrics(results, split)]
        titles = [_title(metric) for _, metric in columns]
    else:
        runs, columns = list(results), [(run, _metrics(run, split)[-1]) for run in results]
        titles = [run["name"] for run in runs]
    trained_on, unseen = (
        list(dict.fromkeys(language for run in runs for language in languages_by_training(run, split)[role]))
        for role in (0, 1)
    )
    unseen = [language for language in unseen if language not in trained_on]

    rows = [["Language", "Training sentences", *titles]]
    for group, role in ((trained_on, "trained on"), (unseen, "not trained on")):
        for language in group:
            cells = (_cell(run, split, language, metric) for run, metric in columns)
            rows.append([language, _training_sentences(runs, language), *cells])
        if len(group) > 1:
            name = f"average, {role}" if trained_on and unseen else "average"
            rows.append([f"**{name}**", "", *(_average_cell(run, split, group, metric) for run, metric in columns)])
    return _markdown(rows)


def differences_table(baseline: Mapping[str, Any], others: Sequence[Mapping[str, Any]], *, split: str = "test") -> str:
    """
    Markdown table of average scores in percent, one row a run: its average, and by how much that differs from a
    baseline's.

    Where both runs have the same seeds, and more than one, the difference is taken seed by seed and shown as `mean ±
    std` of these; else it is that of the two averages.

    Args:
        baseline (`Mapping[str, Any]`):
            The run that the others are compared to.
        others (`Sequence[Mapping[str, Any]]`):
            Runs on the same languages.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.

    Raises:
        ValueError: if a run trained on, or was tested on, other languages than the baseline.
    """
    metric = _metrics(baseline, split)[-1]
    groups = languages_by_training(baseline, split)
    for run in others:
        if (found := languages_by_training(run, split)) != groups:
            raise ValueError(
                f"`{run['name']}` has the languages {found}, and `{baseline['name']}` has {groups}: those trained on, "
                "and the others. Expected the same; compare runs on the same corpora."
            )
    columns = [(title, group) for title, group in zip(("Trained on", "Not trained on"), groups, strict=True) if group]
    rows = [["Run", *(cell for title, _ in columns for cell in (title, "difference"))]]
    for run in (baseline, *others):
        row = [run["name"]]
        for _, group in columns:
            difference = "" if run is baseline else _difference_cell(baseline, run, split, group, metric)
            row += [_average_cell(run, split, group, metric), difference]
        rows.append(row)
    return _markdown(rows)


def progress_table(others: Sequence[Mapping[str, Any]], results: Mapping[str, Any], *, split: str = "test") -> str:
    """
    Markdown table of the F1 (or accuracy) of a run beside that of others, and by how much it differs from each.

    Args:
        others (`Sequence[Mapping[str, Any]]`):
            Runs to compare with. Languages that one of them lacks have a dash.
        results (`Mapping[str, Any]`):
            The run whose languages are shown. The last row is the average over them; where a run lacks some, over
            those that it has.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.
    """
    metric = _metrics(results, split)[-1]
    languages = [language for language in results["scores"][split] if language not in AVERAGES]
    *names, own_name = _without_common_beginning([run["name"] for run in (*others, results)])
    rows = [["Language", *names, own_name, *(f"against {name}" for name in names)]]
    for language in languages:
        cells = [_cell(run, split, language, metric) for run in (*others, results)]
        rows.append([language, *cells, *(_mean_difference(run, results, split, [language], metric) for run in others)])
    if len(languages) > 1:
        averages = []
        for run in (*others, results):
            known = [language for language in languages if language in run["scores"].get(split, {})]
            averages.append(_average_cell(run, split, known, metric) if known else "–")
        differences = [_mean_difference(run, results, split, languages, metric) for run in others]
        rows.append(["**average**", *averages, *differences])
    return _markdown(rows)


def systems_table(runs: Sequence[Mapping[str, Any]], *, split: str = "test") -> str:
    """
    Markdown table of systems and regimes, in the form of Table 1 of Mueller et al. (2020): a run a row, a language a
    column, the average, and what is gained on average over the first run of the same system.

    Args:
        runs (`Sequence[Mapping[str, Any]]`):
            Their names are `SYSTEM-CORPUS-REGIME`, and those of one system follow each other.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.

    Raises:
        ValueError: if the runs were tested on different languages.
    """
    metric = _metrics(runs[0], split)[-1]
    languages = [language for language in runs[0]["scores"][split] if language not in AVERAGES]
    rows = [["System", "Regime", *languages, "average", "gain"]]
    first = runs[0]
    for run in runs:
        if set(languages) != set(run["scores"][split]) - set(AVERAGES):
            raise ValueError(
                f"`{run['name']}` was tested on {', '.join(set(run['scores'][split]) - set(AVERAGES))}; expected the "
                f"languages of `{runs[0]['name']}`, {', '.join(languages)}. Leave it out."
            )
        system, regime = run["name"].rsplit("-", 1)
        if system != first["name"].rsplit("-", 1)[0]:
            first = run
        means = [f"{run['scores'][split][language][metric]['mean']:.1f}" for language in languages]
        gain = "" if run is first else _mean_difference(first, run, split, languages, metric)
        rows.append([system, regime, *means, _average_cell(run, split, languages, metric), gain])
    return _markdown(rows)


def treebanks_table(runs: Sequence[Mapping[str, Any]], *, split: str = "test", few_sentences: int = 500) -> str:
    """
    Markdown tables of runs on treebanks, one for each task that any of them learned: what that is chosen by, in
    percent, a run a column, a language a row; few training sentences first, and these averaged by themselves.

    Args:
        runs (`Sequence[Mapping[str, Any]]`):
            On one task or on several. Languages that one of them lacks, and tasks, have a dash.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.
        few_sentences (`int`, *optional*, defaults to 500):
            What counts as few: at most so many.
    """
    names = list(dict.fromkeys(name for run in runs for name in run["scores"][split] if name not in AVERAGES))
    sizes = {name: _num_training_sentences(runs, name) for name in names}
    names.sort(key=lambda name: sizes[name])
    tables = []
    for task in TASKS.values():
        metrics = [_metric_of_task(run, task) for run in runs]
        columns = [(run, metric) for run, metric in zip(runs, metrics, strict=True) if metric is not None]
        if not columns:
            continue
        title = "F1" if task.metric == "f1" else task.metric
        titles = _without_common_beginning([run["name"] for run, _ in columns])
        rows = [[f"{task.name.upper()} {title}", "Training sentences", *titles]]
        known = {name: [metric in run["scores"][split].get(name, {}) for run, metric in columns] for name in names}
        # Averages over other languages would look comparable and not be.
        shared = [name for name in names if all(known[name])]
        few = [name for name in shared if sizes[name] <= few_sentences]

        with_task = [name for name in names if any(known[name])]
        for name in with_task:
            rows.append([name, f"{sizes[name]:,}", *(_cell(run, split, name, metric) for run, metric in columns)])
            if 1 < len(few) < len(shared) and name == few[-1]:
                cells = [_average_cell(run, split, few, metric) for run, metric in columns]
                rows.append([f"**average of {len(few)} with at most {few_sentences:,}**", "", *cells])
        if len(shared) > 1:
            title = "all" if len(shared) == len(with_task) else f"the {len(shared)} that all have"
            cells = [_average_cell(run, split, shared, metric) for run, metric in columns]
            rows.append([f"**average of {title}**", "", *cells])
        tables.append(_markdown(rows))
    return "\n\n".join(tables)


def _metric_of_task(run: Mapping[str, Any], task: Task) -> str | None:
    """What a run says of a task by, None if it has not learned it."""
    known = run["arguments"].get("task", "ner").split()
    if task.name not in known:
        return None
    return task.metric if len(known) == 1 else task.metric_beside_others


def selection_table(results: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, split: str = "test") -> str:
    """
    Markdown table of rules that choose a model from the epochs of a run: F1 (or accuracy) in percent, a rule a row, a
    zero-shot language a column, and their average; of a run without any, the languages that it was trained on.

    Args:
        results (`Mapping[str, Any]` or a sequence of them):
            One run, or several on the same languages, each with `selection`.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.

    Raises:
        ValueError: if a run has not compared the rules, or if runs were tested on different languages.
    """
    runs = [results] if isinstance(results, Mapping) else list(results)
    languages = _selected_for(runs[0], split)
    titles = ["Run", "Selection"] if len(runs) > 1 else ["Selection"]
    rows = [[*titles, "Epochs", *languages, *(["average"] if len(languages) > 1 else [])]]
    for run in runs:
        if (found := _selected_for(run, split)) != languages:
            raise ValueError(
                f"`{run['name']}` was tested on {', '.join(found)}; expected the languages of `{runs[0]['name']}`, "
                f"{', '.join(languages)}. Leave it out."
            )
        for rule, of_rule in run["selection"].items():
            # Those of the run are the same languages, and tell which average is which.
            chosen = {**run, "scores": of_rule["scores"]}
            metric = _metrics(chosen, split)[-1]
            row = [run["name"], rule] if len(runs) > 1 else [rule]
            row += [_epochs_cell(of_rule["epochs"]), *(_cell(chosen, split, name, metric) for name in languages)]
            rows.append([*row, *([_selected_average(run, chosen, split, metric)] if len(languages) > 1 else [])])
    notes = ["Epochs: of source_dev, target_dev and last the one taken, of average how many."]
    if any("target_dev" in run["selection"] for run in runs):
        notes.append(
            "target_dev needs labelled sentences of each language, to see which epoch is best for it: no zero-shot "
            "transfer, but what the other rules would like to know."
        )
    return f"{_markdown(rows)}\n\n{' '.join(notes)}"


def _selected_for(run: Mapping[str, Any], split: str) -> list[str]:
    """
    The zero-shot languages of a run, or, if it has none, all.

    Raises:
        ValueError: if it has not compared rules of selection.
    """
    if "selection" not in run:
        raise ValueError(
            f"`{run['name']}` has compared no rules of model selection; expected `selection` in its results. Train it "
            "with --compare_selection true."
        )
    trained_on, unseen = languages_by_training(run, split)
    return unseen or trained_on


def _selected_average(run: Mapping[str, Any], chosen: Mapping[str, Any], split: str, metric: str) -> str:
    """Average over the languages of the table."""
    is_zero_shot = all(languages_by_training(run, split))
    return _cell(chosen, split, "average_zero_shot" if is_zero_shot else "average", metric)


def _epochs_cell(epochs: Sequence[int] | Mapping[str, Sequence[int]]) -> str:
    """From the first to the last of these epochs, over seeds and languages."""
    numbers = [number for of_one in epochs.values() for number in of_one] if isinstance(epochs, Mapping) else epochs
    return "–".join(str(number) for number in dict.fromkeys((min(numbers), max(numbers))))


def sizes_table(runs: Sequence[Mapping[str, Any]], *, split: str = "test") -> str:
    """
    Markdown table of what runs learned and what they take on disk, beside their F1 (or accuracy).

    Args:
        runs (`Sequence[Mapping[str, Any]]`):
            One or more. What a run does not say has a dash. Of one model for each language, parameters and weights are
            those of all together; what adapters need besides, their base, is in a column of its own.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.
    """
    metric = _metrics(runs[0], split)[-1]
    rows = [["Run", "Models", "Trained parameters", "Weights (MB)", "Base (MB)", _title(metric)]]
    for run in runs:
        models = len(run["data"]) if run.get("one_model_per_language") else 1
        size, base = run.get("size") or {}, (run.get("adapter") or {}).get("base_bytes")
        parameters = f"{size['trained_parameters']:,}" if size else "–"
        megabytes = [f"{number / 1e6:,.1f}" if number else "–" for number in (size.get("bytes"), base)]
        languages = [language for language in run["scores"][split] if language not in AVERAGES]
        rows.append([run["name"], str(models), parameters, *megabytes, _average_cell(run, split, languages, metric)])
    return _markdown(rows)


def _without_common_beginning(names: list[str]) -> list[str]:
    """Names of runs without the words that all of them begin with, as model and corpus; words end in `-` or `_`."""
    if len(set(names)) == 1:
        return names
    words = [re.findall(r"[^-_]+[-_]*", name) for name in names]
    common = 0
    while all(len(own) > common + 1 for own in words) and len({own[common].strip("-_") for own in words}) == 1:
        common += 1
    return ["".join(own[common:]) for own in words]


def _mean_difference(
    run: Mapping[str, Any], results: Mapping[str, Any], split: str, languages: list[str], metric: str
) -> str:
    """By how much `results` differs from `run` on average, over the languages that both have."""
    theirs, ours = (of_run["scores"].get(split, {}) for of_run in (run, results))
    both = [language for language in languages if language in theirs]
    if not both:
        return "–"
    return f"{fmean(ours[name][metric]['mean'] - theirs[name][metric]['mean'] for name in both):+.2f}"


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """
    Markdown table of the scores of one model: precision, recall and F1 of each language, and the F1 of each type; or
    the accuracy of each language.

    Args:
        scores (`Mapping[str, Mapping]`):
            As `scores_with_average` gives them, in percent.
    """
    types = sorted({name for language in scores.values() for name in language.get("by_type", {})})
    metrics = _columns(scores)
    rows = [["Language", *map(_title, metrics), *types]]
    for language, numbers in scores.items():
        by_type = numbers.get("by_type", {})
        f1_of_types = [by_type.get(name, {}).get("f1") for name in types]
        cells = [*(numbers.get(metric) for metric in metrics), *f1_of_types]
        rows.append([language, *("–" if cell is None else f"{cell:.2f}" for cell in cells)])
    return _markdown(rows)


def conllu_table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """
    Markdown table of the F1 of each treebank, and of the accuracy of the tags of aligned words, in percent.

    Args:
        scores (`Mapping[str, Mapping[str, Mapping[str, float]]]`):
            As `scores_with_macro_average` of `hf_polyglot.conllu_metrics` gives them.
    """
    metrics = list(next(iter(scores.values())))
    tags = [metric for metric in metrics if "aligned_accuracy" in next(iter(scores.values()))[metric]]
    rows = [["Treebank", *metrics, *(f"{metric} of aligned" for metric in tags)]]
    for treebank, of_treebank in scores.items():
        cells = [of_treebank[metric]["f1"] for metric in metrics]
        cells += [of_treebank[metric]["aligned_accuracy"] for metric in tags]
        name = f"**{treebank}**" if treebank in AVERAGES else treebank
        rows.append([name, *(f"{cell:.2f}" for cell in cells)])
    return _markdown(rows)


def parity_table(report: Mapping[str, Any]) -> str:
    """
    Markdown table of how an exported model tags beside PyTorch, in percent, with the sizes of all their forms; of a
    model of several tasks, one of each, and then that of sizes.

    Args:
        report (`Mapping[str, Any]`):
            As `export_tagger` of `hf_polyglot.inference.onnx_parity` gives it.
    """
    forms = list(report["bytes"])
    of_tasks = [report, *report.get("further", {}).values()]
    tables = [_parity_rows(of_task, forms, of_task["task"] if len(of_tasks) > 1 else "") for of_task in of_tasks]
    sizes = [f"{report['bytes'][form] / 1e6:,.1f} MB" for form in forms]
    tables[-1].append(["**size**", "", *sizes, *[""] * (len(forms) - 1)])
    return "\n\n".join(map(_markdown, tables))


def _parity_rows(of_task: Mapping[str, Any], forms: Sequence[str], task: str) -> list[list[str]]:
    """Scores and equal labels of each form in one task, a row a language."""
    exported = [form for form in forms if form != "pytorch"]
    title = _title(of_task["metric"]) + " to PyTorch" * (of_task["gold"] == "pytorch")
    names = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "ONNX int8"}
    rows = [
        [f"Language ({task})" if task else "Language", "Sentences"]
        + [f"{title}, {names[form]}" for form in forms]
        + [f"Same labels, {names[form]}" for form in exported]
    ]
    for language, of_language in of_task["languages"].items():
        differing, scores = of_language["differing_labels"], of_language["scores"]
        rows.append([
            language,
            f"{of_language['sentences']:,}",
            *(f"{scores[form]:.2f}" if scores else "–" for form in forms),
            # Rounded down: 100 means that all are the same.
            *(f"{floor(1e4 * (1 - differing[form] / of_language['words'])) / 100:.2f}" for form in exported),
        ])
    return rows


def errors_table(reports: Mapping[str, Mapping[str, Any]], title: str = "Language") -> str:
    """
    Markdown table of errors in percent, one row a report.

    Args:
        reports (`Mapping[str, Mapping[str, Any]]`):
            What `error_report` of `hf_polyglot.analysis.span_errors` gives, by language or run.
        title (`str`, *optional*, defaults to `"Language"`):
            Of the first column.
    """
    kinds = [kind for kind in next(iter(reports.values()))["spans"] if kind not in ("gold", "predicted")]
    types = [*sorted({name for report in reports.values() for name in report["words"]} - {"O"}), "O"]
    rows = [[title, *kinds, *(f"{name} words" for name in types)]]
    for name, report in reports.items():
        spans, words = report["spans"], report["words"]
        cells = [_share(spans[kind], spans["predicted" if kind == "spurious" else "gold"]) for kind in kinds]
        cells += [_share(*(words.get(of_type, {}).get(key, 0) for key in ("wrong", "words"))) for of_type in types]
        rows.append([name, *cells])
    return (
        f"{_markdown(rows)}\n\n"
        "Spans in percent of the gold ones, spurious ones of those predicted. Words of each gold type that were given "
        "another, in percent."
    )


def transfer_matrix_table(report: Mapping[str, Any]) -> str:
    """
    Markdown table of the model of each language on each language, in percent, the mean of the runs.

    Args:
        report (`Mapping[str, Any]`):
            What `transfer_report` of `hf_polyglot.analysis.language_transfer` gives.
    """
    rows = [["Model of", *next(iter(report["scores"].values()))]]
    for model, of_model in report["scores"].items():
        rows.append([model, *(f"{fmean(scores):.1f}" for scores in of_model.values())])
    return _markdown(rows)


def transfer_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """
    Markdown table of what models give on their own language and on the others, one row a report: `mean ± std` of the
    runs, and by how much the means differ from those of the first report.

    Args:
        reports (`Sequence[Mapping[str, Any]]`):
            What `transfer_report` of `hf_polyglot.analysis.language_transfer` gives, on the same languages.
    """
    rows = [["Run", "Own language", "difference", "Other languages", "difference"]]
    for report in reports:
        row = [report["name"]]
        for key in ("own", "others"):
            scores, baseline = report[key], reports[0][key]
            row.append(f"{fmean(scores):.2f}" + (f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""))
            row.append("" if report is reports[0] else f"{fmean(scores) - fmean(baseline):+.2f}")
        rows.append(row)
    return _markdown(rows)


def search_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """
    Markdown table of the runs of a search: settings, dev and test score in percent, and minutes.

    Args:
        runs (`Sequence[Mapping[str, Any]]`):
            As recipes/search.py writes them, the best first.
    """
    names = list(runs[0]["settings"])
    rows = [["Dev", *names, "Test", "Minutes"]]
    for run in runs:
        dev, test = (
            f"{run[split]['mean']:.2f}" + (f" ± {run[split]['std']:.2f}" if len(run[split]["values"]) > 1 else "")
            for split in ("validation", "test")
        )
        rows.append([dev, *(str(run["settings"][name]) for name in names), test, f"{run['seconds'] / 60:.1f}"])
    return _markdown(rows)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """
    Markdown table of the tests between two systems, one row a language, and what they say in words.

    Args:
        comparison (`Mapping[str, Any]`):
            As `recipes/compare.py` stores it: what `compare_systems` of `hf_polyglot.analysis.significance` gives,
            and the names of the `systems`.
    """
    level = comparison["confidence_level"]
    titles = ["Difference", f"{100 * level:g} % interval", "p bootstrap", "Holm", "p randomisation", "p sign"]
    rows = [["Language", *_without_common_beginning(comparison["systems"]), *titles]]
    together = {f"**{name}**": comparison[name] for name in ("pooled", "average") if name in comparison}
    for name, row in (comparison["languages"] | together).items():
        f1 = [f"{of_system:.2f}" for of_system in row["f1"]]
        interval = "{:+.2f} to {:+.2f}".format(*row["interval"])
        holm = row.get("holm", {}).get("bootstrap")
        p_values = [row["p"]["bootstrap"], holm, row["p"]["randomisation"], row["p"].get("sign")]
        cells = ["–" if p_value is None else f"{p_value:.4f}" for p_value in p_values]
        rows.append([name, *f1, f"{row['difference']:+.2f}", interval, *cells])
    differing = [language for language, row in comparison["languages"].items() if row["differs"]]
    verdict = (
        f"Different at {1 - level:.2g}, by the bootstrap and Holm's correction: {', '.join(differing) or 'none'}."
    )
    return f"{_markdown(rows)}\n\n{verdict}\n{SCOPES[comparison['covers']]}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "–"


def _metrics(run: Mapping[str, Any], split: str) -> list[str]:
    """Metrics worth a column, the most important last."""
    languages_by_training(run, split)
    return _columns(run["scores"][split])


def _title(metric: str) -> str:
    """As `Accuracy`, `F1` or, of several tasks, `UPOS accuracy`."""
    if metric == TASK_MEAN:
        return "Mean of tasks"
    task, _, of_task = metric.rpartition("_")
    title = {"f1": "F1"}.get(of_task, of_task if task else of_task.title())
    return f"{task.upper()} {title}".lstrip()


def _columns(languages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Metrics of these languages that are worth a column, the most important last."""
    main = main_metric(next(iter(languages.values())))
    if main == TASK_MEAN:
        present = {metric for scores in languages.values() for metric in scores}
        return [*(metric for metric in _METRICS_OF_TASKS if metric in present), TASK_MEAN]
    return ["precision", "recall", "f1"] if main == "f1" else ["accuracy"]


def _training_sentences(runs: Sequence[Mapping[str, Any]], language: str) -> str:
    return f"{_num_training_sentences(runs, language):,}"


def _num_training_sentences(runs: Sequence[Mapping[str, Any]], language: str) -> int:
    """Those of the first run that was trained on this language."""
    trained_on = (run["data"].get(language, {}).get("train") for run in runs)
    return next((described["sentences"] for described in trained_on if described is not None), 0)


def _cell(run: Mapping[str, Any], split: str, key: str, metric: str) -> str:
    score = run["scores"].get(split, {}).get(key, {}).get(metric)
    if score is None:
        return "–"
    return f"{score['mean']:.2f} ± {score['std']:.2f}" if len(run["seeds"]) > 1 else f"{score['mean']:.2f}"


def _average_cell(run: Mapping[str, Any], split: str, group: list[str], metric: str) -> str:
    """Average over `group`, with its deviation over seeds where the run kept that; a dash if a language is missing."""
    key = _average_key(run, split, group)
    if key is not None:
        return _cell(run, split, key, metric)
    if not all(metric in run["scores"][split].get(language, {}) for language in group):
        return "–"
    return f"{fmean(run['scores'][split][language][metric]['mean'] for language in group):.2f}"


def _difference_cell(
    baseline: Mapping[str, Any], run: Mapping[str, Any], split: str, group: list[str], metric: str
) -> str:
    """Average of `run` less that of `baseline`, seed by seed where both have the same ones."""
    keys = _average_key(baseline, split, group), _average_key(run, split, group)
    if None not in keys and baseline["seeds"] == run["seeds"] and len(run["seeds"]) > 1:
        of_seeds = [
            of_run["scores"][split][key][metric].get("values")
            for of_run, key in zip((baseline, run), keys, strict=True)
        ]
        if None not in of_seeds:
            differences = [ours - theirs for theirs, ours in zip(*of_seeds, strict=True)]
            return f"{fmean(differences):+.2f} ± {stdev(differences):.2f}"
    theirs, ours = (
        fmean(of_run["scores"][split][language][metric]["mean"] for language in group) for of_run in (baseline, run)
    )
    return f"{ours - theirs:+.2f}"


def _average_key(run: Mapping[str, Any], split: str, group: Sequence[str]) -> str | None:
    """Key of the scores that are the average over exactly these languages, if the run kept them."""
    if len(group) == 1 and group[0] in run["scores"][split]:
        return group[0]
    trained_on, unseen = languages_by_training(run, split)
    for key, languages in zip(AVERAGES, (trained_on + unseen, trained_on, unseen), strict=True):
        if set(languages) == set(group) and key in run["scores"][split]:
            return key
    return None


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return f"| {' | '.join((row[0].ljust(widths[0]), *cells))} |"

    rule = "|".join([":" + "-" * (widths[0] + 1), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line(rows[0]), f"|{rule}|", *map(line, rows[1:])])
