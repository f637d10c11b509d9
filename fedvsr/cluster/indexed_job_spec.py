"""The specification of an Indexed Job, in which each index is one virtual client's work."""

from dataclasses import dataclass, replace
from typing import Any

from fedvsr.cluster.job_spec import PERMANENT_FAILURE, JobSpec, job_manifest
from fedvsr.cluster.settings import VirtualSettings

VIRTUAL = "virtual"
"""The client's name in the name and the labels of an Indexed Job."""

_CLIENTS_OPTION = "--clients"


@dataclass(frozen=True)
class IndexedJobSpec:
    """The same piece of work for several virtual clients.

    Attributes:
        work: The work; its client is `VIRTUAL`, its arguments are without the clients, and its retries are
            those of each client.
        clients: The clients, in the order of the Job's indexes.
        needed: Number of clients that must succeed, or the others' work is for nothing; 0 if none must.
        ends_early: Whether the Job ends as soon as so many have succeeded.
        parallelism: Largest number of pods at one time.
    """

    work: JobSpec
    clients: tuple[str, ...]
    needed: int
    ends_early: bool
    parallelism: int

    @property
    def name(self) -> str:
        """The Job's name, which does not depend on the clients that are left."""
        return self.work.name

    def of_client(self, client: str) -> JobSpec:
        """Returns one client's work."""
        return replace(self.work, client=client)


def indexed_job_manifest(spec: IndexedJobSpec, settings: VirtualSettings) -> dict[str, Any]:
    """Returns the manifest of an Indexed Job for the Kubernetes API.

    Its pods are those of `job_manifest`. The option --clients maps the indexes to clients.
    """
    arguments = (*spec.work.arguments, _CLIENTS_OPTION, ",".join(spec.clients))
    manifest = job_manifest(replace(spec.work, arguments=arguments), settings)
    job, count = manifest["spec"], len(spec.clients)
    # Kubernetes counts the failures of each index, not those of the Job.
    del job["backoffLimit"]
    job |= {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": min(spec.parallelism, count),
        "backoffLimitPerIndex": spec.work.retries,
        "maxFailedIndexes": count - spec.needed,
    }
    if spec.ends_early and spec.needed:
        job["successPolicy"] = {"rules": [{"succeededCount": spec.needed}]}
    for rule in job["podFailurePolicy"]["rules"]:
        if PERMANENT_FAILURE in rule.get("onExitCodes", {}).get("values", ()):
            rule["action"] = "FailIndex"
    return manifest


def clients_of(manifest: dict[str, Any]) -> tuple[str, ...]:
    """Returns the clients of an Indexed Job in the order of its indexes."""
    command = manifest["spec"]["template"]["spec"]["containers"][0]["command"]
    return tuple(command[command.index(_CLIENTS_OPTION) + 1].split(","))
