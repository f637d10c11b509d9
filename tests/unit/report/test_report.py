"""The page, the figures and the Markdown tables of a run."""

import html
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from fedvsr.cli.tables import round_line, rounds_table
from fedvsr.config.experiment import Experiment
from fedvsr.federation.records import (
    ClientOutcome,
    Clipping,
    Outcome,
    OutcomesRecord,
    RegistrationRecord,
)
from fedvsr.federation.runs import load_run
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.report.figures import loss_figure, psnr_figure, to_png, to_svg
from fedvsr.report.markdown import outcomes_markdown, registration_markdown, round_markdown, shards_markdown
from fedvsr.report.page import client_rows, render_page
from fedvsr.report.summary import RunSummary, summarise_run
from tests.unit.tiny_run import RUN

SCRIPT = '<script>alert("pwned")</script> | next\nline'
# An escaped sign that Markdown would interpret otherwise.
ESCAPED = r"\\([^0-9A-Za-z\s])"


class Tables(HTMLParser):
    """The cells of every table, under the heading before it."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.heading, self._place = {}, "", None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag in ("h2", "td", "th"):
            self._place = tag
        if tag == "h2":
            self.heading = ""
        elif tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        elif tag in ("td", "th"):
            self.tables[self.heading][-1].append("")

    def handle_endtag(self, tag):
        if tag == self._place:
            self._place = None

    def handle_data(self, data):
        if self._place == "h2":
            self.heading += data
        elif self._place:
            self.tables[self.heading][-1][-1] += data


@pytest.fixture(scope="module")
def summary(finished) -> RunSummary:
    store = finished.workspace.federation()
    return summarise_run(store, load_run(store, RUN))


def change(record, **values):
    return record.model_copy(update=values)


def test_every_section_of_a_finished_run(summary):
    assert summary.has_ended
    tables = Tables(render_page(summary)).tables
    heading, *rounds = tables["Rounds"]
    assert [row[:2] for row in rounds] == [["1", "2/2"], ["2", "2/2"]]
    column = heading.index("PSNR Y")
    assert [row[column] for row in rounds] == [f"{e.scores[0].psnr_y:.2f}" for e in summary.evaluations]
    assert all(len(row) == len(heading) for row in rounds)
    heading, *clients = tables["Clients"]
    assert [row[:3] for row in clients] == [["ann", "2", "2"], ["bob", "2", "2"]]
    assert [row[-1] for row in clients] == ["–", "–"]
    heading, clip = tables[f"Held-out clips, round {summary.best.round}"]
    assert clip[:2] == ["clip", "10"]
    # The printed gain is the difference of the printed numbers, except for rounding.
    assert float(clip[4]) == pytest.approx(float(clip[2]) - float(clip[3]), abs=0.011)


def test_a_run_without_evaluations(summary):
    page = render_page(
        RunSummary(summary.record, summary.rounds, (), best=None, details_picture=None, registration=None)
    )
    tables = Tables(page).tables
    assert set(tables) == {"Rounds", "Clients"}
    column = tables["Rounds"][0].index("PSNR Y")
    assert tables["Rounds"][1][column] == "–"
    assert "Before and after" not in page
    assert page.count("<svg") == 1


def test_a_run_that_has_just_started(summary):
    page = render_page(RunSummary(summary.record, (), (), best=None, details_picture=None, registration=None))
    assert "No round has ended yet." in page
    assert Tables(page).tables == {}


def test_a_failed_clients_reason_is_shown_but_never_run_as_a_script(summary):
    first, second = summary.rounds
    failed = change(
        second,
        participants=second.participants[:1],
        outcomes=(
            second.outcomes[0],
            ClientOutcome(client="bob", outcome=Outcome.FAILED, reason=SCRIPT),
        ),
    )
    page = render_page(
        RunSummary(
            summary.record, (first, failed), summary.evaluations, summary.best, summary.details_picture, None
        )
    )
    assert "<script" not in page
    rows = {row[0]: row for row in Tables(page).tables["Clients"]}
    assert rows["bob"][-1] == SCRIPT
    assert rows["bob"][1] == "1"
    assert Tables(page).tables["Rounds"][2][1] == "1/2"


def test_a_client_that_never_delivered(summary):
    (first, _) = summary.rounds
    gone = change(
        first,
        participants=first.participants[:1],
        outcomes=(first.outcomes[0], ClientOutcome(client="bob", outcome=Outcome.CUT_OFF)),
    )
    _, bob = client_rows((gone,))
    assert (bob["rounds"], bob["clips"], bob["share"], bob["missed"]) == (0, None, None, ["cut-off"])
    page = render_page(RunSummary(summary.record, (gone,), (), None, None, None))
    assert "cut-off" in page


def test_of_a_thousand_clients_the_conspicuous_ones_come_first_and_all_are_there(summary):
    first, _ = summary.rounds
    names = [f"client-{number:04d}" for number in range(1000)]
    participants = [
        change(first.participants[0], client=name, loss=0.1 + number / 1000)
        for number, name in enumerate(names[:-1])
    ]
    outcomes = [change(first.outcomes[0], client=name) for name in names[:-1]]
    outcomes.append(ClientOutcome(client=names[-1], outcome=Outcome.CUT_OFF))
    large = change(first, participants=tuple(participants), outcomes=tuple(outcomes))
    page = render_page(RunSummary(summary.record, (large, large), (), None, None, None))
    shown, folded = page.split("<h2>Clients</h2>")[1].split("<details>")
    listed = re.findall(r"<tr><td>(client-\d+)</td>", shown)
    assert listed == [names[-1], *reversed(names[-20:-1])]
    assert "2 × cut-off" in shown
    assert re.findall(r"<tr><td>(client-\d+)</td>", folded) == names


def limited(record):
    """Returns a round in which bob's share was cut and his update scaled down."""
    ann, bob = record.participants
    clipping = Clipping(norm=1000.0, max_norm=3.5)
    bob = change(bob, loss=1e-9, weight=2 / 3, weight_before_bound=0.75, update_clipping=clipping)
    return change(record, participants=(ann, bob))


def test_a_client_that_was_limited_is_marked_in_every_table(summary):
    first, second = summary.rounds
    first = limited(first)
    sentences = (
        f"client bob: its share was cut from 0.7500 to 0.6667 (it reported loss 1e-09 and "
        f"{first.participants[1].clips} clips)",
        "client bob: its update was scaled down from norm 1000 to 3.5",
    )
    assert first.limits == sentences
    of_run = RunSummary(summary.record, (first, second), (), None, None, None)
    page = render_page(of_run)
    assert all(f"<li>Round 1: {sentence}.</li>" in page for sentence in sentences)
    assert [row[1] for row in Tables(page).tables["Rounds"][1:]] == ["2/2 (1 limited)", "2/2"]
    assert "Limited clients" not in render_page(summary)
    text = re.sub(ESCAPED, r"\1", round_markdown(first))
    assert "0.6667 (limited)" in text
    assert all(f"\n{sentence}\n" in text for sentence in sentences)
    assert list(rounds_table(of_run).columns[1].cells) == ["2/2 (1 limited)", "2/2"]
    experiment = Experiment.parse(summary.record.config.model_dump())
    assert " 2/2 clients (1 limited) " in round_line(first, None, experiment)
    assert " 2/2 clients  loss" in round_line(second, None, experiment)


def test_a_share_that_a_strategy_does_not_have(summary):
    rounds = tuple(
        change(
            record,
            diagnostics={},
            participants=tuple(change(participant, weight=None) for participant in record.participants),
        )
        for record in summary.rounds
    )
    rows = Tables(render_page(RunSummary(summary.record, rounds, (), None, None, None))).tables
    assert rows["Clients"][1][5] == "–"
    assert rows["Rounds"][1][5:7] == ["–", "–"]


def test_settings_are_escaped(summary):
    config = change(summary.record.config, warm_start="</pre><script>")
    page = render_page(RunSummary(change(summary.record, config=config), (), (), None, None, None))
    assert "</pre><script>" not in page
    assert "&lt;/pre&gt;&lt;script&gt;" in page


def test_the_page_is_the_same_every_time(summary):
    assert render_page(summary) == render_page(summary)


def curve(figure, label):
    (line,) = (line for line in figure.axes[0].lines if line.get_label() == label)
    return list(line.get_xdata()), list(line.get_ydata())


def test_curves_show_the_records(summary):
    rounds, psnr = curve(psnr_figure(summary.evaluations), "model")
    assert rounds == [1, 2]
    assert psnr == [evaluation.scores[0].psnr_y for evaluation in summary.evaluations]
    _, floor = curve(psnr_figure(summary.evaluations), "bicubic")
    assert set(floor) == {summary.evaluations[0].bicubic[0].psnr_y}
    rounds, losses = curve(loss_figure(summary.rounds), "mean")
    assert rounds == [1, 2]
    assert losses == pytest.approx([np.mean(record.losses) for record in summary.rounds])
    assert summary.best.gain == pytest.approx(summary.best.scores[0].psnr_y - summary.best.bicubic[0].psnr_y)


def test_figures_are_whole_files(summary):
    svg = ElementTree.fromstring(to_svg(loss_figure(summary.rounds)))
    assert svg.tag.endswith("svg")
    png = cv2.imdecode(np.frombuffer(to_png(psnr_figure(summary.evaluations)), np.uint8), cv2.IMREAD_COLOR)
    assert png.shape[1] > 600


def test_ticks_are_whole_numbers(summary):
    """By default, Matplotlib writes ticks as differences from an offset beside the axis."""
    flat = [
        change(record, scores=(change(record.scores[0], psnr_y=20.99 + 0.0001 * record.round),))
        for record in summary.evaluations
    ]
    figure = psnr_figure(flat)
    to_png(figure)
    labels = [label.get_text().replace("−", "-") for label in figure.axes[0].get_yticklabels()]
    assert all(20 < float(label) < 22 for label in labels if label)


def rows_of(markdown):
    """The cells of a Markdown table, split where a pipe is not escaped."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[re.sub(ESCAPED, r"\1", cell.strip(" \u00a0\u200b")) for cell in row] for row in cells]


@pytest.mark.parametrize(
    "reason",
    [
        "![x](http://evil/pixel.png)",
        "[log in](http://evil)",
        "http://evil/log-in",
        "# all is well",
        "**b** _i_ ~~s~~ `c`",
        "\\| a | b \\",
        "<img src=x> &lt;",
    ],
)
def test_a_clients_reason_stays_text(reason):
    outcome = ClientOutcome(client="bob", outcome=Outcome.FAILED, reason=reason)
    markdown = outcomes_markdown(OutcomesRecord(run=RUN, round=3, seconds=1, outcomes=(outcome,)))
    *_, bob = rows_of(markdown)
    assert html.unescape(bob[3]) == reason
    # Every sign that Markdown would interpret has a backslash.
    row = re.sub(ESCAPED, "", markdown.splitlines()[-1])
    assert row.count("|") == 5
    assert not re.search(r"[]`*_[()!~#:<\\]", row)


def test_markdown_of_outcomes_keeps_a_reason_in_its_cell():
    record = OutcomesRecord(
        run=RUN,
        round=3,
        seconds=1,
        outcomes=(
            ClientOutcome(client="ann", outcome=Outcome.OK, seconds=1.26),
            ClientOutcome(client="bob", outcome=Outcome.FAILED, reason=SCRIPT),
        ),
    )
    markdown = outcomes_markdown(record)
    assert markdown.startswith("# Round 3: clients\n")
    _, _, ann, bob = rows_of(markdown)
    assert ann == ["ann", "ok", "1.3", ""]
    assert bob == ["bob", "failed", "0.0", '&lt;script>alert("pwned")&lt;/script> | next line']


def test_markdown_of_a_round(summary):
    markdown = round_markdown(summary.rounds[0])
    assert markdown.startswith("# Round 1\n")
    assert "strategy fedvsr · 2 of 2 clients · " in markdown
    assert summary.rounds[0].global_digest[:16] in markdown
    _, _, ann, bob = rows_of(markdown)
    assert (ann[0], bob[0]) == ("ann", "bob")
    assert float(ann[2]) + float(bob[2]) == pytest.approx(1, abs=1e-4)


def test_markdown_of_shards():
    summary = ShardSummary(clips=2, frames=20, bytes=2_500_000, digest="0" * 64, skipped=3)
    rows = rows_of(shards_markdown({"ann": summary}, {"bob": "no video | here"}))
    assert rows[2:] == [["ann", "2", "20", "2.5", "3", ""], ["bob", "–", "–", "–", "–", "no video | here"]]


def test_markdown_of_a_registration(summary):
    record = RegistrationRecord(
        run=RUN, round=2, model="fedvsr", model_version="7", mlflow_run_id="abc", global_digest="0"
    )
    best = summary.best
    markdown = registration_markdown(record, best, "http://mlflow/#/run", "http://mlflow/#/version")
    assert markdown.startswith("# fedvsr version 7\n")
    psnr = best.mean("psnr_y")
    assert f"PSNR (Y) {psnr:.2f} dB, {best.gain:+.2f} dB over bicubic interpolation" in markdown
    assert "averaged" not in markdown
    assert "[version 7 of fedvsr](http://mlflow/#/version)" in markdown
    assert "[run `abc`](http://mlflow/#/run)" in markdown
    assert "](" not in registration_markdown(record, best, "", "")
    averaged = registration_markdown(change(record, averaged=True), best, "", "")
    assert f"Round 2 of {RUN}, averaged weights, alias" in averaged
