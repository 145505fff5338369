"""The page and the README's table say what the tables say, whatever part of them is there."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.fake_search import add_retrains, edit_trials, make_search, mean_of
from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.metrics import confusion
from tune_fmnist.reporting.page import page_of, write_page
from tune_fmnist.reporting.readme_table import MARKS, results_table, write_between
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.statistics import confusion_sentence, summarise
from tune_fmnist.reporting.summary import print_summary
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths

CLASSES = FASHION_MNIST.classes


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A search whose best configuration is far better than the baseline, with its page."""
    results = make_search(tmp_path_factory.mktemp("searched") / "fake", trials=8)
    add_retrains(results, [0.9, 0.1], baseline=0.1)
    assert write_page(results.paths.folder) == results.paths.page
    return results


@pytest.fixture(scope="module")
def told(searched: Results) -> str:
    """The words of its page."""
    return words_of(searched.paths.page.read_text(encoding="utf-8"))


def words_of(page: str) -> str:
    """Return the words of a page: no markup, no entities, single blanks."""
    body = re.sub(r"<style>.*?</style>|<script[^>]*>.*?</script>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def text_of(folder: Path) -> str:
    """Return the words of a search's page, which is not written."""
    return words_of(page_of(Results(SearchPaths(folder)))[1])


def test_page_needs_no_other_file_and_no_network(searched: Results) -> None:
    source = searched.paths.page.read_text(encoding="utf-8")
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", source, flags=re.DOTALL)
    targets = re.findall(r"(?:src|href)=\"([^\"]*)", markup)
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    data, *scripts = re.findall(r"<script[^>]*>", markup)
    assert data == '<script type="application/json" id="charts">'
    assert scripts == ["<script>"] * 2
    assert not re.search(r"<link|<iframe|@import|url\(|http", markup)
    assert "prefers-color-scheme: dark" in source
    assert len(source.encode()) < 1_300_000


def test_figures_are_files_and_stand_in_the_page(searched: Results) -> None:
    source = searched.paths.page.read_text(encoding="utf-8")
    named = set(re.findall(r'data-figure="(\w+)"', source))
    assert {"test_accuracy", "learning_curves", "best_so_far", "confusion", "training_curves"} <= named
    files = {file.name for file in searched.paths.figures.iterdir()}
    assert files == {f"{name}.{kind}" for name in named for kind in ("png", "svg")}
    for file in searched.paths.pictures:
        assert file.read_bytes().startswith(b"\x89PNG" if file.suffix == ".png" else b"<svg")


def test_page_gives_the_numbers_of_the_tables(searched: Results, told: str) -> None:
    text = told
    retrains = searched.retrains
    baseline = retrains.loc[retrains["is_baseline"], "config_id"].iloc[0]
    summary = summarise(searched.predictions, baseline).set_index("config_id")
    for name, row in summary.iterrows():
        assert f"{mean_of(searched, str(name)) * 100:.2f} %" in text
        assert f"{row['low'] * 100:.2f} to {row['high'] * 100:.2f} %" in text
        assert f"std {retrains[retrains['config_id'] == name]['test_accuracy'].std() * 100:.2f} %" in text
    best = retrains.loc[retrains["rank"] == 1, "config_id"].iloc[0]
    difference = mean_of(searched, best) - mean_of(searched, baseline)
    assert f"That is {difference * 100:.2f} percentage points more" in text
    assert f"{difference * 100:+.2f}" in text
    low, high = summary.loc[best, ["difference_low", "difference_high"]] * 100
    assert f"interval of the difference {low:.2f} to {high:.2f}" in text
    own = searched.predictions[searched.predictions["config_id"] == best]
    theirs = np.mean(retrains.loc[retrains["is_baseline"], "class_accuracy"].tolist(), axis=0)
    for number, name in enumerate(CLASSES):
        right = (own["predicted"] == number)[own["label"] == number].mean()
        gap = f"{(right - theirs[number]) * 100:+.2f}".replace("-", "\N{MINUS SIGN}")
        assert f"{name} {right * 100:.2f} % {theirs[number] * 100:.2f} % {gap}" in text
    assert (
        confusion_sentence(confusion(own["label"].to_numpy(), own["predicted"].to_numpy(), len(CLASSES)), CLASSES)
        in text
    )
    assert "The test images were read 9 times" in text
    assert "Baseline, as published 60,000 training images 88.18 % 86.98 % 1 seed" in text


def test_page_tells_how_the_trials_ended(searched: Results, told: str) -> None:
    text = told
    trials, epochs = searched.trials, searched.epochs
    counts = trials["status"].value_counts()
    states = ", ".join(f"{counts[name]} {name}" for name in ("running", "completed", "stopped", "diverged", "failed"))
    assert f"8 trials ({states}), {len(epochs)} epochs of the 40 that" in text
    assert "would take, in 5:00 min." in text
    assert "trial 3 diverged: training loss nan in epoch 2" in text
    assert "trial 4 failed: RuntimeError: <out of memory> & lost" in text
    for row in trials[~trials["status"].isin(["diverged", "failed"])].to_dict("records"):
        ends = rf"{row['number']} \d+ {row['score'] * 100:.2f} % {row['epochs']} {row['status']} \S+ (s|min)"
        varies = f"{row['config_learning_rate']:.3g} {row['config_schedule']} {row['config_hidden1']}"
        assert re.search(rf"{ends} \w+ 235,146 {varies}", text)
    assert (
        "The same in all trials: batch_size 64, optimizer adam, momentum 0, weight_decay 0, flip no, shift 0." in text
    )


def test_page_tells_how_it_was_computed(told: str) -> None:
    text = told
    for part in (
        "How it was computed python -m tune_fmnist.search --model ann When Started 2 January 2026, 03:04 UTC",
        "Trials 8 trials of at most 5 epochs. Seed 0.",
        "split with seed 0 (hash " + "c0ffee" * 10,
        "Which go on Successive halving: after epoch 1 and 3 about one trial in 3 goes on; the others are stopped.",
        "Software torch 2.15.0, ray 2.60.0.",
        "Machine a processor; 2 cores; 8.0 GiB of memory; 2 trials at once on 1 machine, each with 1 core.",
        "Time 9:31 min in all, 5:00 min for the trials. 97 % of the slots' time was training and validation.",
    ):
        assert part in text
    assert "ommit" not in text


def test_page_defines_the_baseline_once(told: str) -> None:
    text = told
    assert text.count("Fashion-MNIST Classification using ANN and CNN") == 1
    assert 'Baseline: the ANN of the report "Fashion-MNIST Classification using ANN and CNN"' in text
    assert "which published 86.98 % in the test and 88.18 % in validation" in text


def test_page_of_a_search_on_fewer_images_does_not_compare_with_published_figures(tmp_path: Path) -> None:
    add_retrains(make_search(tmp_path, images=12_000), [0.5], baseline=0.1)
    text = text_of(tmp_path)
    assert "this search used 12,000, so the two cannot be compared" in text
    assert "Baseline, as published 60,000 training images, not 12,000 as here" in text


def test_configuration_that_no_longer_ranks_has_a_name(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    add_retrains(results, [0.5, 0.3], baseline=0.1)
    rows = tables.read(results.paths.retrains, tables.RETRAINS).to_pylist()
    rows = [row | {"rank": None if row["rank"] == 2 else row["rank"]} for row in rows]
    tables.write(tables.to_table(rows, tables.RETRAINS), results.paths.retrains)
    assert re.search(r"Rank 1 .* Not among the top .* Baseline .* Baseline, as published", text_of(tmp_path))


def test_winner_is_the_best_in_validation_not_in_the_test(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    add_retrains(results, [0.1, 0.9], baseline=0.1)
    first, second = (results.retrains.loc[results.retrains["rank"] == rank, "config_id"].iloc[0] for rank in (1, 2))
    assert mean_of(results, second) > mean_of(results, first) + 0.05
    assert f"classifies {mean_of(results, first) * 100:.2f} % of the 2,000 test images" in text_of(tmp_path)
    assert f"| {mean_of(results, first) * 100:.2f} ± " in results_table([tmp_path])
    assert f"| {mean_of(results, second) * 100:.2f} ± " not in results_table([tmp_path])


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (0.9, r"points more than the baseline .* p (< 0.001|= 0.0\d\d)\): more than chance\."),
        (0.1, r"points (more|less) than the baseline .* p = 0\.\d{3}\): this may be chance\."),
        (-0.7, r"points less than the baseline .* p (< 0.001|= 0.0\d\d)\): more than chance\."),
    ],
)
def test_answer_says_whether_a_difference_is_more_than_chance(tmp_path: Path, level: float, words: str) -> None:
    add_retrains(make_search(tmp_path), [level], baseline=0.1)
    assert re.search(words, text_of(tmp_path))


def test_one_seed_has_an_interval_over_images_only(tmp_path: Path) -> None:
    add_retrains(make_search(tmp_path), [0.3], baseline=0.1, seeds=1)
    text = text_of(tmp_path)
    assert "over the images, with one seed)" in text
    assert "bars 95 % intervals over images." in text
    assert ", std" not in text


def test_search_without_retrains_has_its_own_part_and_says_so(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    text = text_of(tmp_path)
    best = results.ranked.iloc[0]
    assert f"The trial that ranks first is number {best['number']} (" in text
    assert f"with a score of {best['score'] * 100:.2f} % after 5 epochs" in text
    assert "A score is the mean validation accuracy of a trial's last 3 epochs" in text
    assert "the test images have not been used. To retrain and test the best ones, run tune-fmnist retrain" in text
    assert not {"test_accuracy", "confusion"} & {figure.name for figure in page_of(results)[0]}


def test_diverged_trial_is_never_the_best(tmp_path: Path) -> None:
    edit_trials(make_search(tmp_path), {3: {"score": 0.99}})
    assert "99.00" not in text_of(tmp_path)


def test_search_that_has_reported_nothing_still_gives_a_page(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    row = {key: tables.read(results.paths.trials, tables.TRIALS).to_pylist()[5][key] for key in tables.TRIALS.names}
    row |= dict.fromkeys(("best_epoch", "best_val_accuracy", "score", "val_accuracy", "val_loss")) | {"epochs": 0}
    tables.write(tables.to_table([row], tables.TRIALS), results.paths.trials)
    tables.write(tables.to_table([], tables.EPOCHS), results.paths.epochs)
    text = text_of(tmp_path)
    assert "No trial has a score that counts yet." in text
    assert "1 trial (1 running), 0 epochs of the 5 that training every trial to the end would take." in text
    tables.write(tables.to_table([], tables.TRIALS), results.paths.trials)
    assert "0 trials (none yet), 0 epochs." in text_of(tmp_path)


def test_retrains_that_are_under_way_are_told_as_far_as_they_got(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    add_retrains(results, [0.5], baseline=0.1)
    rows = tables.read(results.paths.retrains, tables.RETRAINS).to_pylist()
    # The predictions of a retrain come before its own row.
    own = [row for row in rows if not row["is_baseline"]]
    tables.write(tables.to_table(own[:2], tables.RETRAINS), results.paths.retrains)
    text = text_of(tmp_path)
    assert "The baseline, where the search began, has not been retrained yet" in text
    assert "over 2 seeds and the images" in text
    others = [row for row in rows if row["is_baseline"]]
    tables.write(tables.to_table(others, tables.RETRAINS), results.paths.retrains)
    text = text_of(tmp_path)
    assert "The configuration that ranks first now has not been retrained yet" in text
    assert "the test images were read 6 times for others" in text


def test_baseline_that_is_best_in_validation_is_the_answer(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    add_retrains(results, [0.5], baseline=0.1)
    rows = tables.read(results.paths.retrains, tables.RETRAINS).to_pylist()
    for row in rows:
        row["rank"] = 1 if row["is_baseline"] else 2
    tables.write(tables.to_table(rows, tables.RETRAINS), results.paths.retrains)
    text = text_of(tmp_path)
    assert "It is the baseline, where the search began: nothing ranks before it in validation." in text
    assert "Baseline (rank 1) the baseline's settings" in text
    lines = results_table([tmp_path]).splitlines()
    assert len(lines) == 6
    assert "baseline, retrained, the best found, 3 seeds" in lines[3]


def test_a_configuration_that_fills_up_is_named_on_page_and_screen(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    add_retrains(results, [0.9, 0.1], baseline=0.1)
    says = "Too few trials reached the last epoch"
    assert says not in text_of(tmp_path)
    second = results.retrains.loc[results.retrains["rank"] == 2, "config_id"].iloc[0]
    number = results.trials.loc[results.trials["config_id"] == second, "number"].iloc[0]
    edit_trials(results, {number: {"status": "stopped"}})
    assert f"{says}: those of rank 2 did not." in text_of(tmp_path)
    out = Console(file=io.StringIO(), width=200)
    print_summary(Results(results.paths), out)
    assert isinstance(out.file, io.StringIO)
    assert f"{says}: those of rank 2 did not." in out.file.getvalue()


def test_hostile_name_is_text(tmp_path: Path) -> None:
    name = "</title><script>alert('x')</script>&amp;"
    make_search(tmp_path, name=name)
    source = write_page(tmp_path).read_text(encoding="utf-8")
    assert "<script>alert" not in source
    assert "&lt;script&gt;alert" in source
    assert words_of(source).startswith(name)


def test_record_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    values = json.loads(results.paths.search.read_text())
    del values["checksum"]
    results.paths.search.write_text(json.dumps(values | {"model": "rnn"}))
    with pytest.raises(InputError, match=r"search\.json: model: invalid value 'rnn': must be 'ann' or 'cnn'"):
        write_page(tmp_path)
    del values["model"]
    results.paths.search.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"search\.json: model: missing"):
        write_page(tmp_path)


def test_results_table_gives_report_baseline_and_best(tmp_path: Path, searched: Results) -> None:
    cnn = make_search(tmp_path / "cnn", "cnn")
    head, rule, reported, baseline, best, cnn_reported, cnn_best, _, told, cnn_told = results_table(
        [searched.paths.folder, cnn.paths.folder]
    ).splitlines()
    titles = (
        "model | configuration | validation | test mean | 95 % interval | difference | p | parameters | seconds a seed"
    )
    assert head == f"| {titles} |"
    assert rule.count("|") == head.count("|")
    assert reported == "| ANN | baseline, as published | 88.18 % | 86.98 % |  |  |  |  |  |"
    retrains = searched.retrains
    own = {"baseline": retrains[retrains["is_baseline"]], "best": retrains[retrains["rank"] == 1]}
    summary = summarise(searched.predictions, own["baseline"]["config_id"].iloc[0]).set_index("config_id")

    def cells(rows: pd.DataFrame) -> str:
        tested = summary.loc[rows["config_id"].iloc[0]]
        validation = rows["score"].iloc[0]
        return (
            f"{validation * 100:.2f} % | {tested['mean'] * 100:.2f} ± {tested['std'] * 100:.2f} % | "
            f"{tested['low'] * 100:.2f} to {tested['high'] * 100:.2f} %"
        )

    size, seconds = (f"{own['baseline'][name].mean():,.0f}" for name in ("parameters", "seconds"))
    assert baseline == f"| ANN | baseline, retrained, 3 seeds | {cells(own['baseline'])} |  |  | {size} | {seconds} |"
    row, compared = own["best"].iloc[0], summary.loc[own["best"]["config_id"].iloc[0]]
    changes = f"learning_rate {row['config_learning_rate']:.3g}, schedule {row['config_schedule']}, "
    assert f": {changes.replace('schedule constant, ', '')}hidden1 {row['config_hidden1']}" in told
    p_value = "< 0.001" if compared["p_value"] < 0.001 else f"{compared['p_value']:.3f}"
    assert f"3 seeds | {cells(own['best'])} | {compared['difference'] * 100:+.2f} | {p_value} | " in best
    assert told.startswith(f"- `{searched.paths.folder.name}`: `{searched.record.command}`. Best of ")
    assert "Against the baseline: " in told
    assert cnn_told.endswith("Nothing was tested.")
    assert cnn_reported == "| CNN | baseline, as published | 91.79 % | 90.79 % |  |  |  |  |  |"
    untested = cnn.ranked["score"].iloc[0]
    assert cnn_best == f"| CNN | best found, not tested | {untested * 100:.2f} % |  |  |  |  |  |  |"


def test_results_table_names_searches_of_the_same_model(tmp_path: Path) -> None:
    folders = [make_search(tmp_path / name).paths.folder for name in ("narrow", "wi|de")]
    lines = results_table(folders).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:5]] == [
        "baseline, as published",
        "best found (narrow), not tested",
        r"best found (wi\|de), not tested",
    ]


def test_table_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("# Übersicht\n\n<!-- results -->\nold\n<!-- /results -->\nend\n", encoding="utf-8")
    write_between(file, MARKS, "| new |\n")
    expected = "# Übersicht\n\n<!-- results -->\n| new |\n<!-- /results -->\nend\n"
    assert file.read_text(encoding="utf-8") == expected
    write_between(file, MARKS, "| new |\n")
    assert file.read_text(encoding="utf-8") == expected


def test_other_marks_are_written_between_as_well(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("<!-- results -->\n<!-- /results -->\n<!-- bench --><!-- /bench -->")
    write_between(file, ("<!-- bench -->", "<!-- /bench -->"), "new\n")
    assert file.read_text() == "<!-- results -->\n<!-- /results -->\n<!-- bench -->\nnew\n<!-- /bench -->"


def test_results_table_says_that_a_search_had_fewer_images(tmp_path: Path) -> None:
    results = make_search(tmp_path, images=12_000)
    assert results_table([tmp_path]).splitlines()[-3].startswith("| ANN | best found on 12,000 images, not tested |")
    add_retrains(results, [0.5], baseline=0.1)
    baseline, best, *_ = results_table([tmp_path]).splitlines()[-4:]
    assert baseline.startswith("| ANN | baseline, retrained on 12,000 images, 3 seeds |")
    assert best.startswith("| ANN | best found on 12,000 images, 3 seeds |")


@pytest.mark.parametrize(
    "text",
    ["", "<!-- results -->", "<!-- /results --> <!-- results -->", "<!-- results --><!-- results --><!-- /results -->"],
)
def test_text_without_its_marks_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    with pytest.raises(InputError, match=r"README\.md: --into: .*; put the lines <!-- results --> and"):
        write_between(file, MARKS, "| new |\n")
    assert file.read_text() == text
    with pytest.raises(InputError, match="file not found"):
        write_between(tmp_path / "other.md", MARKS, "| new |\n")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "tune_fmnist.report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_writes_a_page_for_each_folder(tmp_path: Path) -> None:
    folders = [make_search(tmp_path / name).paths.folder for name in ("one", "two")]
    done = run(*folders)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(folder / "report.html") for folder in folders]
    assert all((folder / "report.html").is_file() for folder in folders)


def test_command_writes_no_page_if_one_folder_is_no_search(tmp_path: Path) -> None:
    folder = make_search(tmp_path / "one").paths.folder
    done = run(folder, tmp_path / "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none: folder not found" in done.stderr
    assert not (folder / "report.html").exists()


def test_help_names_the_marks(tmp_path: Path) -> None:
    assert all(mark in " ".join(run("--help").stdout.split()) for mark in MARKS)


def test_command_writes_the_table_into_a_file_and_no_page(tmp_path: Path) -> None:
    folder, file = make_search(tmp_path / "one").paths.folder, tmp_path / "README.md"
    file.write_text("<!-- results -->\n<!-- /results -->\n")
    assert run(folder, "--into", file).returncode == 0
    assert file.read_text() == f"<!-- results -->\n{results_table([folder])}<!-- /results -->\n"
    assert not (folder / "report.html").exists()


def test_command_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*nothing: folder not found; .*\n", done.stderr)
    results = make_search(tmp_path / "damaged")
    results.paths.epochs.write_bytes(b"PAR1 and no more")
    done = run(results.paths.folder)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*epochs\.parquet: is not a readable table.*\n", done.stderr)


def loaded(code: str) -> set[str]:
    """Return the top-level packages that a fresh process has loaded after ``code``."""
    show = f"import sys; {code}; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_report_needs_neither_torch_nor_ray_and_help_almost_nothing(searched: Results) -> None:
    folder = str(searched.paths.folder)
    everything = loaded(
        f"from pathlib import Path; from tune_fmnist.reporting.page import write_page; write_page(Path({folder!r}))"
    )
    assert {"pandas", "altair", "vl_convert", "sklearn", "jinja2"} <= everything
    assert not {"torch", "ray", "optuna"} & everything
    heavy = {"pandas", "altair", "vl_convert", "sklearn", "jinja2", "scipy", "numpy", "pyarrow", "torch", "ray"}
    assert not heavy & loaded("import tune_fmnist.report")


def test_every_trial_is_listed_those_that_do_not_rank_last(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    source = write_page(tmp_path).read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r'<tr data-n="(\d+)"', source)] == [*results.ranked["number"], 3, 4]
