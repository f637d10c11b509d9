"""The folder in which a site keeps everything of its own."""

import fcntl
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from fedvsr.config.run import Name
from fedvsr.errors import ConfigError, NotFoundError, SiteError
from fedvsr.federation.records import AnyRecord, Digest, Record, read_record, write_record
from fedvsr.federation.site_records import AssignmentRecord, Text
from fedvsr.store.local import LocalStore

# Days for which it is remembered which rounds began.
_REMEMBERED_DAYS = 3


class AgentRecord(Record):
    """agent.json: the agent's identity, and what it did last.

    Attributes:
        agent: Identifies this folder at the federation.
        process: The process of the agent that started last.
        activity: What it does, or did when it ended.
        last_contact: When the federation answered last, in seconds since 1970; 0 for never.
        trouble: Why the federation cannot be reached or refuses; empty if it answers.
    """

    what: ClassVar[str] = "agent record"

    agent: str = Field(default_factory=lambda: uuid.uuid4().hex, max_length=64)
    process: int = 0
    activity: Text = "never started"
    last_contact: float = 0.0
    trouble: Text = ""


class SiteNameRecord(Record):
    """site.json: which site the folder belongs to."""

    what: ClassVar[str] = "name of a site"

    site: Name


class ApprovalsRecord(Record):
    """approvals.json: the identities of the runs that a person approved, by the run's name."""

    what: ClassVar[str] = "record of approvals"

    runs: dict[str, Digest] = Field(default_factory=dict)


class BegunRoundsRecord(Record):
    """rounds.json: the rounds of training that began on each of the last days."""

    what: ClassVar[str] = "record of rounds"

    days: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class WorkResultRecord(Record):
    """result.json: why the worker failed, for the agent.

    Attributes:
        reason: The reason. It may name videos, so it stays at the site.
        told: The reason that the federation is told.
    """

    what: ClassVar[str] = "work result"

    reason: str
    told: Text


class SiteFolder:
    """The files of a site::

        site.yaml              its settings
        invitation.json        the federation's address and the site's keys; only its owner may read it
        site.json              the site's name
        agent.json             the agent's identity and state
        approvals.json         the approved runs
        rounds.json            the rounds of the last days
        paused                 exists while the site is paused
        agent.lock             locked by the running agent
        work/                  the assignment that the worker has, and its result
        store/                 the client's store: shards and client state
        spool/                 what has been trained and not been delivered
        delivered/             the last delivery, to look at
        downloads/             parts of objects that are being read
        fingerprints.json      the digests of the videos, so that they are not read again
        audit/                 the log of all objects that were sent and read

    Args:
        root: The folder.
        settings: The settings' file; None for ``site.yaml`` in the folder.
        invitation: The invitation's file; None for ``invitation.json`` in the folder.
    """

    def __init__(self, root: Path, settings: Path | None = None, invitation: Path | None = None) -> None:
        self.root = root.absolute()
        self.settings = (settings or self.root / "site.yaml").absolute()
        self.invitation = (invitation or self.root / "invitation.json").absolute()
        self.audit = self.root / "audit"
        self.downloads = self.root / "downloads"
        self.delivered = self.root / "delivered"
        self.fingerprints = self.root / "fingerprints.json"
        self._records = LocalStore(self.root)

    def check_site(self, site: str) -> None:
        """Raises `fedvsr.errors.SiteError` if the folder is that of another site.

        Args:
            site: The name of the site that would use the folder.
        """
        name = self._find("site.json", SiteNameRecord)
        if name is None:
            write_record(self._records, "site.json", SiteNameRecord(site=site))
        elif name.site != site:
            raise SiteError(
                f"{self.root} is the folder of site {name.site!r}, and the invitation is for {site!r}; name "
                "another folder with --folder"
            )

    def check_joined(self) -> None:
        """Raises `fedvsr.errors.SiteError` if the site has not joined a federation."""
        for path in (self.settings, self.invitation):
            if not path.is_file():
                raise SiteError(
                    f"{path} does not exist; `fedvsr site join INVITATION --videos FOLDER "
                    f"--folder {self.root}` makes it"
                )

    @property
    def store(self) -> LocalStore:
        """The client's store: its shards and client state."""
        return LocalStore(self.root / "store")

    def spool(self, identity: str) -> LocalStore:
        """The store of what a run's work has not delivered yet."""
        return LocalStore(self.root / "spool" / identity)

    def clear_spool(self, keep: str = "") -> None:
        """Deletes what other runs than ``keep`` left in the spool."""
        spool = self.root / "spool"
        for folder in spool.iterdir() if spool.is_dir() else ():
            if folder.name != keep:
                shutil.rmtree(folder)

    @property
    def free_disk_bytes(self) -> int:
        """Free space where the folder lies."""
        return shutil.disk_usage(self.root).free

    @property
    def agent(self) -> AgentRecord:
        return self._find("agent.json", AgentRecord) or AgentRecord()

    @agent.setter
    def agent(self, record: AgentRecord) -> None:
        write_record(self._records, "agent.json", record)

    @property
    def approvals(self) -> Mapping[str, str]:
        """The identities of the approved runs, by the run's name."""
        return (self._find("approvals.json", ApprovalsRecord) or ApprovalsRecord()).runs

    def approve(self, run: str, identity: str) -> None:
        """Approves a run with exactly these settings."""
        write_record(self._records, "approvals.json", ApprovalsRecord(runs={**self.approvals, run: identity}))

    def rounds_of(self, day: date) -> tuple[str, ...]:
        """Returns the rounds (``demo/3``) of training that began on a day."""
        record = self._find("rounds.json", BegunRoundsRecord) or BegunRoundsRecord()
        return record.days.get(day.isoformat(), ())

    def begin_round(self, day: date, name: str) -> None:
        """Remembers that a round of training began. A round that begins again counts once."""
        record = self._find("rounds.json", BegunRoundsRecord) or BegunRoundsRecord()
        rounds = (*record.days.get(day.isoformat(), ()), name)
        days = {**record.days, day.isoformat(): tuple(dict.fromkeys(rounds))}
        newest = sorted(days)[-_REMEMBERED_DAYS:]
        write_record(
            self._records, "rounds.json", BegunRoundsRecord(days={name: days[name] for name in newest})
        )

    @property
    def is_paused(self) -> bool:
        """Whether `fedvsr site pause` paused the site."""
        return (self.root / "paused").exists()

    @is_paused.setter
    def is_paused(self, paused: bool) -> None:
        if paused:
            (self.root / "paused").touch()
        else:
            (self.root / "paused").unlink(missing_ok=True)

    @property
    def assignment(self) -> AssignmentRecord:
        """The worker's assignment; raises `fedvsr.errors.NotFoundError` if there is none."""
        return read_record(self._records, "work/assignment.json", AssignmentRecord)

    @assignment.setter
    def assignment(self, record: AssignmentRecord) -> None:
        write_record(self._records, "work/assignment.json", record)

    @property
    def result(self) -> WorkResultRecord | None:
        """Why the last worker failed; None if it did not say."""
        return self._find("work/result.json", WorkResultRecord)

    @result.setter
    def result(self, record: WorkResultRecord | None) -> None:
        if record is None:
            self._records.delete("work/result.json")
        else:
            write_record(self._records, "work/result.json", record)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the agent's lock in the block.

        Raises:
            fedvsr.errors.SiteError: Another agent runs in this folder.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "agent.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SiteError(
                    f"an agent already runs in {self.root} (process {self.agent.process}); stop it first"
                ) from None
            yield

    @property
    def is_running(self) -> bool:
        """Whether an agent runs in this folder on this machine."""
        try:
            with (self.root / "agent.lock").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def delete(self, keep_data: bool) -> None:
        """Deletes all but the settings and the audit log; ``keep_data`` keeps shards and client state too."""
        self.invitation.unlink(missing_ok=True)
        for name in ("work", "spool", "delivered", "downloads", *(() if keep_data else ("store",))):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in ("agent.json", "approvals.json", "rounds.json", "paused", "site.json"):
            (self.root / name).unlink(missing_ok=True)

    def make(self) -> None:
        """Creates the folder. Only its owner may look into it: shards are videos.

        Raises:
            fedvsr.errors.ConfigError: It cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError("--folder", str(self.root), f"it cannot be made ({error.strerror})") from None

    def _find(self, key: str, record: type[AnyRecord]) -> AnyRecord | None:
        try:
            return read_record(self._records, key, record)
        except NotFoundError:
            return None
