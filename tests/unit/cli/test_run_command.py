"""`fedvsr run` from videos to a report, a registered model and an upscaled clip."""

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import yaml

from tests.unit.tiny_run import RUN, read_video, write_video


class Page(HTMLParser):
    """Collects the addresses that a page loads, and checks that every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self):
        super().__init__()
        self.loads, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.loads += [value for key, value in attributes if key in ("src", "href", "xlink:href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_last_lines_are_the_paths_of_the_results(finished):
    assert finished.output.err == ""
    *_, report, picture, clip = finished.output.out.splitlines()
    results = finished.store / "results" / RUN
    assert report.split() == ["Report:", str(results / "report.html")]
    assert picture.split() == ["Picture:", str(results / "before-after.png")]
    assert clip.split() == ["Upscaled", "clip:", str(results / "clip-x2.mp4")]


def test_the_report_is_complete_and_loads_nothing(finished):
    page = Page()
    page.feed((finished.store / "results" / RUN / "report.html").read_text())
    page.close()
    assert page.open == []
    assert page.loads
    assert all(address.startswith(("data:", "#")) for address in page.loads)
    headings = " ".join(page.text)
    for heading in ("Before and after", "Rounds", "Clients", "Held-out clips, round", "Configuration"):
        assert heading in headings


def test_picture_decodes(finished):
    picture = cv2.imread(str(finished.store / "results" / RUN / "before-after.png"))
    assert picture.shape[0] > 100
    assert picture.std() > 10


def test_the_upscaled_clip_is_the_held_out_clip_at_twice_its_size(finished, videos):
    # The held-out clip was halved before the model doubled it.
    frames, fps = read_video(finished.store / "results" / RUN / "clip-x2.mp4")
    truth, rate = read_video(videos / "held-out" / "clip.avi")
    assert frames.shape == truth.shape
    assert fps == rate == 30


def test_a_table_lists_every_round(finished):
    rows = [line for line in finished.output.out.splitlines() if re.match(r"│ +\d", line)]
    assert [row.split("│")[1].strip() for row in rows] == ["1", "2"]
    assert all("2/2" in row for row in rows)


def test_running_again_trains_nothing(copied, fedvsr, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("something was trained")

    monkeypatch.setattr("fedvsr.federation.client.train.train_locally", fail)
    before = copied.weights(2)
    again = fedvsr("run", copied.config, "--store", copied.store)
    assert (again.code, again.err) == (0, "")
    assert copied.weights(2) == before


def test_more_rounds_continue_a_finished_run(copied, finished, fedvsr):
    output = fedvsr("run", copied.config, "--store", copied.store, "--rounds", 3)
    assert (output.code, output.err) == (0, "")
    assert copied.weights(2) == finished.weights(2)
    assert copied.weights(3) != finished.weights(2)


def test_same_settings_give_the_same_weights_elsewhere(finished, fedvsr, config, store):
    assert fedvsr("run", config, "--store", store).code == 0
    for round_number in (0, 1, 2):
        path = store / f"federation/runs/{RUN}/rounds/{round_number:04d}/global.safetensors"
        assert path.read_bytes() == finished.weights(round_number)


def test_frames_that_do_not_divide_by_the_scale_are_cropped(fedvsr, config, store, tmp_path, videos):
    for name in ("one", "two", "held"):
        write_video(tmp_path / "odd" / name / "clip.avi", 3, size=(50, 46))
    values = yaml.safe_load(config.read_text())
    values["clients"]["videos"] = {name: str(tmp_path / "odd" / name) for name in ("one", "two")}
    values["evaluation_videos"]["path"] = str(tmp_path / "odd" / "held")
    values["data"]["scale"] = 3
    values["training"]["patch_size"] = 33
    config.write_text(yaml.safe_dump(values))
    output = fedvsr("run", config, "--store", store, "--rounds", 1)
    assert (output.code, output.err) == (0, "")
    frames, _ = read_video(store / "results" / RUN / "clip-x3.mp4")
    # 46 × 50 is cropped to 45 × 48, and 45 to 44 because the video format has no odd width.
    assert frames.shape == (10, 48, 44, 3)


def test_dry_run_prints_the_plan_and_changes_nothing(fedvsr, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    output = fedvsr("run", config, "--dry-run", "--rounds", 3, "--clients-per-round", 1)
    assert (output.code, output.err) == (0, "")
    assert sorted(tmp_path.rglob("*")) == before
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.out.splitlines()]
    for row in (["ann", "2"], ["bob", "2"], ["held-out", "1"], ["federation.rounds", "3"]):
        assert row in lines
    rounds = [line for line in lines if len(line) == 3]
    assert [line[0] for line in rounds] == ["1", "2", "3"]
    assert all(line[1] in ("ann", "bob") for line in rounds)


def test_dry_run_tells_what_each_client_trains_on(fedvsr, config):
    def work(*options):
        output = fedvsr("run", config, "--dry-run", *options)
        assert output.code == 0, output.err
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.out.splitlines()]
        return {line[0]: line[1:] for line in lines if len(line) == 4}

    # Two videos of ten frames.
    epochs = ("--local-steps", 0, "--batch-size", 3)
    assert work()["ann"] == ["2", "20", "1"]
    assert work(*epochs)["bob"] == ["2", "20", "1"]
    assert work(*epochs, "--epoch", "frames", "--local-epochs", 2)["bob"] == ["2", "20", "14"]
    assert work(*epochs, "--maximum-frames", 4, "--epoch", "frames")["ann"] == ["4", "16", "6"]


def test_a_step_is_measured_for_a_dry_run_only(fedvsr, config):
    output = fedvsr("run", config, "--dry-run", "--measure", "--rounds", 3, "--clients-per-round", 1)
    assert output.code == 0, output.err
    step, run = output.out.splitlines()[-2:]
    assert re.fullmatch(
        r"A step: [\d.e-]+ s, [\d.e-]+ GB of memory, measured on this machine's CPU with 1 patch of 2 and "
        r"4 frames, scaled to 1 of 3\.",
        step,
    )
    assert run.startswith("The run: 3 steps, 0.0 hours of training on this machine")
    output = fedvsr("run", config, "--measure")
    assert output.code == 2
    assert "--measure needs --dry-run" in output.err


def test_dry_run_selects_the_same_clients_as_the_run(fedvsr, config, store):
    arguments = (config, "--rounds", 2, "--clients-per-round", 1, "--store", store)
    plan = fedvsr("run", *arguments, "--dry-run").out
    drawn = re.findall(r"│ +\d │ (\w+) +│", plan)
    assert fedvsr("run", *arguments).code == 0
    updates = store / "federation" / "runs" / RUN / "rounds"
    trained = [
        folder.name
        for round_number in (1, 2)
        for folder in (updates / f"{round_number:04d}" / "updates").iterdir()
    ]
    assert trained == drawn


def test_a_setting_with_brackets_is_printed_as_it_is(fedvsr, config):
    output = fedvsr("run", config, "--dry-run", "--store", "[red]runs")
    assert "│ [red]runs " in output.out


def test_shard_alone_then_again_changes_nothing(fedvsr, config, store):
    output = fedvsr("shard", config, "--store", store)
    assert (output.code, output.err) == (0, "")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.out.splitlines()]
    rows = {row[0]: row[1:5] for row in cells if len(row) == 7}
    # Two videos of ten frames are two clips; both kinds, at 48 and 24 pixels, are on disk.
    two_videos = ["2", "0", "2", "20"]
    assert rows == {"ann": two_videos, "bob": two_videos, "held-out": ["1", "0", "1", "10"]}
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert fedvsr("shard", config, "--store", store).out.splitlines()[-7:] == output.out.splitlines()[-7:]
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert not (store / "federation" / "runs").exists()


@pytest.mark.parametrize("missing", ["one client", "everybody"])
def test_a_failed_client_counts_against_the_quorum(fedvsr, config, store, missing, monkeypatch):
    from fedvsr.errors import TrainingError
    from fedvsr.federation.run import in_process

    train = in_process.train_client

    def fail(federation, own, run, round_number, client, progress=None):
        if missing == "everybody" or client == "bob":
            raise TrainingError("the loss [/tmp] is <b>odd</b> :cat:")
        return train(federation, own, run, round_number, client, progress)

    monkeypatch.setattr(in_process, "train_client", fail)
    output = fedvsr("run", config, "--store", store)
    reason = "the loss [/tmp] is <b>odd</b> :cat:"
    if missing == "one client":
        assert (output.code, output.err) == (0, "")
        assert f"client bob: {reason}" in output.out
        page = (store / "results" / RUN / "report.html").read_text()
        assert "&lt;b&gt;odd&lt;/b&gt;" in page
        assert "<b>odd</b>" not in page
        return
    assert output.code == 1
    assert output.err.startswith("error: round 1 of 'tiny': 0 of 2 clients delivered; the quorum is 1")
    monkeypatch.setattr(in_process, "train_client", train)
    assert fedvsr("resume", RUN, "--store", store).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--workers", 0),
            "Invalid value for '--workers': '0' is not allowed; it must be 1 or more, or auto",
        ),
        (("--workers", "many"), "Invalid value for '--workers': 'many' is not allowed"),
        (("--workers", 2, "--on", "cluster"), "--workers needs clients that train on this machine"),
    ],
)
def test_wrong_workers_are_refused_with_the_options_name(fedvsr, config, store, arguments, message):
    output = fedvsr("run", config, "--store", store, *arguments)
    assert output.code == 2
    assert message in output.err
    assert not (store / "federation").exists()


def test_upscaled_frames_resemble_the_ground_truth(finished, videos):
    frames, _ = read_video(finished.store / "results" / RUN / "clip-x2.mp4")
    truth, _ = read_video(videos / "held-out" / "clip.avi")
    other, _ = read_video(videos / "ann" / "ann-0.avi")

    def distance(clip):
        return np.abs(frames.astype(int) - clip).mean()

    assert distance(truth) < 0.6 * distance(other)
