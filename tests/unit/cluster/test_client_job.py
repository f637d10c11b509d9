"""A ClientJob's phases and predicates, without a cluster."""

from datetime import UTC, datetime, timedelta

import pytest

from fedvsr.cluster.client_job import ClientJob, CutOff, Phase
from fedvsr.cluster.job_spec import JobSpec
from fedvsr.cluster.settings import ClientSettings
from fedvsr.cluster.states import read_job, read_pod
from fedvsr.federation.records import Outcome


def job_state(age=0, **status):
    created = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    metadata = {"name": "job", "namespace": "ann", "uid": "1", "creationTimestamp": created}
    return read_job({"metadata": metadata, "status": status})


def pod_state(phase):
    metadata = {"name": "pod", "uid": "2", "creationTimestamp": datetime.now(UTC).isoformat()}
    return read_pod({"metadata": metadata, "spec": {"containers": []}, "status": {"phase": phase}})


@pytest.fixture
def job():
    """A Job with a deadline of 100 s that runs from moment 0."""
    spec = JobSpec(
        component="train",
        client="ann",
        run="demo",
        round_number=1,
        key="",
        arguments=(),
        gpus=0,
        retries=0,
        deadline_seconds=100,
    )
    job = ClientJob(spec, ClientSettings(namespace="ann", image="image"), job_state())
    job.enter_running(0.0)
    return job


def test_a_job_is_overdue_a_minute_after_its_deadline(job):
    assert not job.is_overdue(159)
    assert job.is_overdue(160)
    assert job.phase is Phase.RUNNING, "asking changes nothing"
    job.is_adopted, job.state = True, job_state(age=90)
    job.enter_running(0.0)
    assert job.is_overdue(71)


def test_the_reason_of_a_refusal_is_read_until_the_job_has_a_pod(job):
    assert not job.is_refusal_look_due(2)
    assert job.is_refusal_look_due(3)
    assert job.next_due == 3
    job.postpone_refusal_look(3)
    assert job.next_due == 33
    job.observe_attempt(pod_state("Pending"))
    assert not job.is_refusal_look_due(33)
    assert job.next_due == 160


def test_a_job_that_ends_by_itself_drains_its_logs_and_is_settled(job):
    assert not job.is_draining_due(1)
    job.observe_attempt(pod_state("Succeeded"))
    assert job.succeeded
    assert job.has_ended
    assert job.is_draining_due(1)
    job.enter_draining(1)
    assert not job.is_draining_due(2)
    assert job.next_due == 16
    job.enter_settled()
    assert not job.is_open


def test_a_job_that_is_cut_off_drains_when_it_has_ended_or_its_time_is_over(job):
    job.enter_ending(CutOff(Outcome.CUT_OFF, "enough"), 10)
    assert job.is_open
    assert not job.is_overdue(1000)
    assert not job.is_draining_due(39)
    assert job.is_draining_due(40)
    job.observe_missing()
    assert job.is_draining_due(10)
    assert not job.succeeded
