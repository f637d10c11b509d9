"""Starts clients' Jobs, all at once; what is at work already is taken over."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fedvsr.cluster.api import Cluster, is_passing
from fedvsr.cluster.course import Course
from fedvsr.cluster.job import job_manifest
from fedvsr.cluster.states import JobState, read_job
from fedvsr.errors import ClusterError

_TOGETHER = 16
_GONE_SECONDS, _TICK_SECONDS = 30.0, 0.2
_CONFLICT = 409


def start_jobs(cluster: Cluster, courses: Sequence[Course]) -> None:
    """Makes every Job; one that is at work already is taken over, one that has ended is made anew.

    A Job that Kubernetes refuses is that client's end, no error.

    Raises:
        fedvsr.errors.ClusterError: Kubernetes does not answer.
    """
    with ThreadPoolExecutor(_TOGETHER) as pool:
        list(pool.map(lambda course: _start(cluster, course), courses))


def find_job(cluster: Cluster, course: Course) -> JobState | None:
    """Returns a course's Job, if it is on the cluster and stays there."""
    found = cluster.find_job(course.settings.namespace, course.spec.name)
    job = read_job(found) if found else None
    return None if job is None or job.deleting else job


def _start(cluster: Cluster, course: Course) -> None:
    if course.job:
        return
    try:
        found = cluster.find_job(course.settings.namespace, course.spec.name)
        job = read_job(found) if found else None
        if job and (job.ended or job.deleting):
            _remove(cluster, job)
            job = None
        course.taken_over = job is not None
        course.job = job or read_job(cluster.create_job(job_manifest(course.spec, course.settings)))
    except ClusterError as error:
        if is_passing(error):
            raise
        course.refused, course.refusal = True, str(error)


def _remove(cluster: Cluster, job: JobState) -> None:
    """Deletes a Job that is in the way and waits until it has gone."""
    if not job.deleting:
        cluster.delete_job(job.namespace, job.name, job.uid, wait_for_pods=True)
    give_up = time.monotonic() + _GONE_SECONDS
    while (found := cluster.find_job(job.namespace, job.name)) and read_job(found).uid == job.uid:
        if time.monotonic() > give_up:
            raise ClusterError(
                f"Job {job.name} in namespace {job.namespace} was deleted and does not go; "
                "look at its pods and run this again",
                status=_CONFLICT,
            )
        time.sleep(_TICK_SECONDS)
