"""A federation of sites: what their owners and the operator rely on."""

import json
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from fedvsr.config.run import RunConfig
from fedvsr.errors import StoreError
from fedvsr.federation import layout
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import local_videos
from fedvsr.federation.records import (
    ClientOutcome,
    Outcome,
    OutcomesRecord,
    RoundRecord,
    RunRecord,
    read_record,
)
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.mixed_runner import MixedRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.sites import SiteRunner, SiteShards, sites_among
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.progress import Progress
from fedvsr.site.work import run_work
from fedvsr.store.workspace import Workspace
from tests.unit.site.conftest import POLL_SECONDS, Federation, Site

Configure = Callable[..., RunConfig]


class Lines(Progress):
    """The lines that the round's step would log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def run_round(
    federation: Federation,
    record: RunRecord,
    sites: list[Site],
    round_number: int = 1,
    log: Lines | None = None,
) -> dict[str, ClientOutcome]:
    """Runs a round with agents that run meanwhile. Returns the outcome of every client."""
    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(site.running())
        outcomes = train_round(
            federation.workspace, record, round_number, SiteRunner(POLL_SECONDS), log or Lines()
        )
    return {outcome.client: outcome for outcome in outcomes.outcomes}


def weights_of_one_process(root: Path, videos: Path, config: RunConfig) -> list[str]:
    """Returns the digests of the global weights after each round of a run in one process."""
    workspace = Workspace.under(str(root))
    for client in config.federation.clients:
        clips = local_videos(videos / client)
        shard_videos(
            workspace.client(client), layout.training_clips(config.data.dataset), clips, config.data, client
        )
    store = workspace.federation()
    record = prepare_run(store, config)
    digests = []
    for round_number in range(1, config.federation.rounds + 1):
        train_round(workspace, record, round_number, InProcessRunner())
        digests.append(aggregate_round(store, record, round_number).global_digest)
    return digests


# The same bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["fedvsr", "scaffold"])
def test_sites_give_the_weights_of_one_process(
    federation: Federation, site_config: Configure, tmp_path: Path, strategy: str
):
    config = site_config(strategy__name=strategy, federation__rounds=2)
    sites = [federation.invite("ann"), federation.invite("bob")]
    record = federation.start_run(config)
    digests = []
    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(site.running())
        shards = SiteShards(federation.store, record, ["ann", "bob"], Lines(), POLL_SECONDS)
        shards.start()
        shards.wait()
        for round_number in (1, 2):
            train_round(federation.workspace, record, round_number, SiteRunner(POLL_SECONDS), Lines())
            digests.append(aggregate_round(federation.store, record, round_number).global_digest)
    assert shards.failures == {}
    assert {name: summary.clips for name, summary in shards.summaries.items()} == {"ann": 2, "bob": 2}
    assert digests == weights_of_one_process(tmp_path / "one-process", federation.videos, config)


def test_hosted_clients_and_sites_mix_in_one_round(
    federation: Federation, site_config: Configure, tmp_path: Path
):
    config = site_config()
    site = federation.invite("bob")
    record = federation.start_run(config)
    shard_videos(
        federation.workspace.client("ann"),
        layout.training_clips("default"),
        local_videos(federation.videos / "ann"),
        config.data,
        "ann",
    )
    runner = MixedRunner(InProcessRunner(), partial(sites_among, federation.store), SiteRunner(POLL_SECONDS))
    with site.running():
        train_round(federation.workspace, record, 1, runner, Lines())
    round_record = aggregate_round(federation.store, record, 1)
    assert [outcome.outcome for outcome in round_record.outcomes] == [Outcome.OK, Outcome.OK]


# What leaves a site --------------------------------------------------------------------------------


def test_no_pixel_and_no_name_of_a_video_leaves_a_site(federation: Federation, site_config: Configure):
    site = federation.invite("ann")
    record = federation.start_run(site_config(federation__clients=["ann"]))
    run_round(federation, record, [site])
    sent = {entry.key for entry in site.audit.entries() if entry.direction == "sent"}
    assert sent == {
        layout.heartbeat("ann"),
        layout.answer("ann", "test", 1),
        layout.update("test", 1, "ann"),
        layout.report("test", 1, "ann"),
    }
    for path in Path(federation.store.uri).rglob("*.json"):
        assert "ann-0" not in path.read_text()
        assert ".avi" not in path.read_text()


def test_the_audit_log_has_every_object_with_its_digest(federation: Federation, site_config: Configure):
    site = federation.invite("ann")
    record = federation.start_run(site_config(federation__clients=["ann"]))
    run_round(federation, record, [site])
    entries = {entry.key: entry for entry in site.audit.entries()}
    plan = entries[layout.plan("test", 1)]
    assert plan.direction == "read"
    assert plan.bytes == federation.store.size(plan.key)
    assert plan.sha256 == federation.store.fingerprint(plan.key)
    update = entries[layout.update("test", 1, "ann")]
    assert (update.direction, update.sha256) == ("sent", federation.store.fingerprint(update.key))


def test_the_federation_is_not_told_which_video_is_bad(federation: Federation, site_config: Configure):
    bad = federation.root / "bad"
    bad.mkdir()
    (bad / "secret-patient.mp4").write_bytes(b"no video")
    site = federation.invite("ann")
    site.settings = site.settings.model_copy(update={"videos": bad})
    record = federation.start_run(site_config(federation__clients=["ann"]))
    log = Lines()
    outcome = run_round(federation, record, [site], log=log)["ann"]
    assert outcome.outcome is Outcome.FAILED
    assert "the site's log says which and why" in outcome.reason
    assert "secret-patient" not in json.dumps(log.lines) + outcome.reason
    assert any("secret-patient" in line for line in site.log)


# What the operator sees ----------------------------------------------------------------------------


def test_the_rounds_log_has_the_progress_of_every_site(federation: Federation, site_config: Configure):
    sites = [federation.invite("ann"), federation.invite("bob")]
    record = federation.start_run(site_config(training__local_steps=3))
    log = Lines()
    run_round(federation, record, sites, log=log)
    for name in ("ann", "bob"):
        *_, state, result = [line for line in log.lines if line.startswith(f"{name} | ")]
        assert state == f"{name} | done"
        # As the log of a hosted client's Job says it.
        assert re.fullmatch(rf"{name} \| delivered: loss \d\.\d+, 3 steps in \d+\.\d s on cpu", result)


def test_a_site_that_never_started_is_offline(
    federation: Federation, site_config: Configure, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fedvsr.federation.run.site_follower._GRACE_SECONDS", 0.0)
    federation.invite("ann")
    outcome = run_round(federation, federation.start_run(site_config(federation__clients=["ann"])), [])["ann"]
    assert outcome.outcome is Outcome.OFFLINE
    assert "never heard of" in outcome.reason


def test_a_revoked_site_is_named_and_not_asked(federation: Federation, site_config: Configure):
    site = federation.invite("ann")
    federation.write_site("ann", revoked=datetime(2026, 2, 3, tzinfo=UTC))
    outcome = run_round(federation, federation.start_run(site_config(federation__clients=["ann"])), [site])[
        "ann"
    ]
    assert outcome.outcome is Outcome.FAILED
    assert "the operator revoked it on 2026-02-03" in outcome.reason
    assert site.launcher.starts == 0


def test_the_quorum_cuts_off_a_site_that_waits(federation: Federation, site_config: Configure):
    sites = [federation.invite("ann"), federation.invite("bob", approve=True)]
    config = site_config(federation__wait_for="quorum", federation__quorum=1)
    outcomes = run_round(federation, federation.start_run(config), sites)
    assert outcomes["ann"].outcome is Outcome.OK
    assert outcomes["bob"].outcome is Outcome.CUT_OFF
    assert not list(federation.store.keys(layout.assignments("bob")))


def test_a_site_that_is_not_ready_by_the_deadline_is_timed_out(
    federation: Federation, site_config: Configure
):
    site = federation.invite("ann", approve=True)
    config = site_config(federation__clients=["ann"], federation__deadline_seconds=1)
    outcome = run_round(federation, federation.start_run(config), [site])["ann"]
    assert outcome.outcome is Outcome.TIMED_OUT
    assert "`fedvsr site approve test`" in outcome.reason


# What the owner decides ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"runs": ["demo-*"]}, "it accepts the runs demo-* only"),
        ({"strategies": ["fedavg"]}, "it accepts strategy fedavg only, and the run has fedvsr"),
        ({"models": ["basicvsr"]}, "it accepts model basicvsr only, and the run has fastvsr"),
        ({"minimum_clients": 3}, "the round has 1 clients"),
        ({"requires": {"secure_aggregation": True}}, "it requires secure aggregation, and the run has not"),
    ],
)
def test_what_the_policy_forbids_is_declined_with_the_reason(
    federation: Federation, site_config: Configure, policy: dict[str, object], reason: str
):
    site = federation.invite("ann", **policy)
    record = federation.start_run(site_config(strategy__name="fedvsr", federation__clients=["ann"]))
    outcome = run_round(federation, record, [site])["ann"]
    assert outcome.outcome is Outcome.DECLINED
    assert reason in outcome.reason
    assert site.launcher.starts == 0


def test_a_run_waits_for_approval_and_other_settings_need_a_new_one(
    federation: Federation, site_config: Configure
):
    site = federation.invite("ann", approve=True)
    record = federation.start_run(site_config(federation__clients=["ann"]))
    site.folder.approve("test", "0" * 64)
    approve = threading.Timer(0.5, lambda: site.folder.approve("test", record.identity))
    approve.start()
    log = Lines()
    assert run_round(federation, record, [site], log=log)["ann"].outcome is Outcome.OK
    assert "ann | waiting: for its owner's approval: `fedvsr site approve test`" in log.lines


def test_rounds_a_day_are_limited(federation: Federation, site_config: Configure):
    site = federation.invite("ann", rounds_a_day=1)
    record = federation.start_run(site_config(federation__clients=["ann"], federation__rounds=2))
    assert run_round(federation, record, [site])["ann"].outcome is Outcome.OK
    aggregate_round(federation.store, record, 1)
    outcome = run_round(federation, record, [site], 2)["ann"]
    assert outcome.outcome is Outcome.DECLINED
    assert "its limit is 1" in outcome.reason


def test_a_paused_site_begins_after_it_is_resumed(federation: Federation, site_config: Configure):
    site = federation.invite("ann")
    site.folder.is_paused = True
    threading.Timer(0.3, lambda: setattr(site.folder, "is_paused", False)).start()
    log = Lines()
    record = federation.start_run(site_config(federation__clients=["ann"]))
    assert run_round(federation, record, [site], log=log)["ann"].outcome is Outcome.OK
    assert "ann | waiting: its owner paused it" in log.lines


# After a failure -----------------------------------------------------------------------------------


def test_an_update_in_the_spool_is_delivered_without_training_again(
    federation: Federation, site_config: Configure, monkeypatch: pytest.MonkeyPatch
):
    site = federation.invite("ann")
    config = site_config(federation__clients=["ann"], jobs__retries=1)
    record = federation.start_run(config)
    attempts = []
    upload = type(federation.store).upload

    def fail_once(store, key, path, on_bytes=None):
        if store.uri == federation.store.uri and key == layout.update("test", 1, "ann"):
            attempts.append(key)
            if len(attempts) == 1:
                raise StoreError("the line is down")
        upload(store, key, path, on_bytes)

    monkeypatch.setattr(type(federation.store), "upload", fail_once)
    monkeypatch.setattr("fedvsr.site.agent._MIN_RETRY_SECONDS", 0.01)
    log = Lines()
    assert run_round(federation, record, [site], log=log)["ann"].outcome is Outcome.OK
    assert site.launcher.starts == 2
    trained = [line for line in log.lines if "training" in line]
    assert len(attempts) == 2
    assert "ann | waiting: to try again after: the line is down" in log.lines or trained


def test_an_agent_does_not_hurry_while_the_federation_is_away(
    federation: Federation, site_config: Configure, monkeypatch: pytest.MonkeyPatch
):
    """Also if its worker has ended meanwhile, which it cannot tell."""
    site = federation.invite("ann")
    record = federation.start_run(site_config(federation__clients=["ann"]))
    away, looks = threading.Event(), []
    keys = type(federation.store).keys

    def fail_while_away(store, prefix):
        if away.is_set() and prefix == layout.assignments("ann"):
            looks.append(prefix)
            raise StoreError("no route to host")
        return keys(store, prefix)

    def fail_first(*arguments):
        if looks or away.is_set():
            return run_work(*arguments)
        away.set()
        threading.Timer(2.0, away.clear).start()
        return 1

    monkeypatch.setattr(type(federation.store), "keys", fail_while_away)
    monkeypatch.setattr("tests.unit.site.conftest.run_work", fail_first)
    monkeypatch.setattr("fedvsr.site.agent._MIN_BACKOFF_SECONDS", 0.5)
    monkeypatch.setattr("fedvsr.site.agent._MIN_RETRY_SECONDS", 0.01)
    assert run_round(federation, record, [site])["ann"].outcome is Outcome.OK
    assert 1 <= len(looks) <= 6


def test_a_step_that_is_run_again_asks_again(federation: Federation, site_config: Configure):
    """A site's answer to an earlier attempt of the round's step does not count."""
    site = federation.invite("ann", runs=["other"])
    record = federation.start_run(site_config(federation__clients=["ann"]))
    assert run_round(federation, record, [site])["ann"].outcome is Outcome.DECLINED
    welcome = federation.invite("ann")
    assert run_round(federation, record, [welcome])["ann"].outcome is Outcome.OK


def test_a_round_that_has_delivered_asks_nobody(federation: Federation, site_config: Configure):
    site = federation.invite("ann")
    record = federation.start_run(site_config(federation__clients=["ann"]))
    run_round(federation, record, [site])
    before = federation.store.fingerprint(layout.update("test", 1, "ann"))
    assert run_round(federation, record, [])["ann"].outcome is Outcome.OK
    assert federation.store.fingerprint(layout.update("test", 1, "ann")) == before
    read_record(federation.store, layout.outcomes("test", 1), OutcomesRecord)
    assert isinstance(aggregate_round(federation.store, record, 1), RoundRecord)


def test_work_that_an_earlier_agent_left_and_nobody_asks_for_is_stopped(federation: Federation):
    site = federation.invite("north")
    stopped = threading.Event()
    site.launcher.stop = stopped.set  # type: ignore[method-assign]
    with site.running():
        assert stopped.wait(20)
