"""A federation in a folder whose clients are sites, with agents in threads of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedvsr.config.run import RunConfig
from fedvsr.federation import layout
from fedvsr.federation.records import RunRecord, write_record
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.site_records import AssignmentRecord, SiteRecord
from fedvsr.site.agent import Agent
from fedvsr.site.audit import AuditedStore, AuditLog
from fedvsr.site.folder import SiteFolder
from fedvsr.site.settings import SiteSettings
from fedvsr.site.work import run_work
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace

# Workers in one process share PyTorch's random state; in processes of their own they do not.
_ONE_AT_A_TIME = threading.Lock()
POLL_SECONDS = 0.02


class ThreadLauncher:
    """Runs the worker in a thread. A worker in a thread cannot be stopped: `stop` waits for its end."""

    def __init__(self, site: "Site") -> None:
        self.site = site
        self.starts = 0
        self._thread: threading.Thread | None = None
        self._code: int | None = 0

    def start(self, assignment: AssignmentRecord) -> None:
        self.starts += 1
        self._code = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        code = 1
        try:
            with _ONE_AT_A_TIME:
                code = run_work(self.site.folder, self.site.settings, self.site.store)
        finally:
            self._code = code

    def poll(self) -> int | None:
        return self._code

    def stop(self) -> None:
        if self._thread:
            self._thread.join()

    def describe_wait(self) -> str | None:
        return None


class Site:
    """A site with its folder, settings and view of the federation's store.

    Attributes:
        log: The lines of its agent.
    """

    def __init__(self, root: Path, name: str, videos: Path, federation: Store, **policy: Any) -> None:
        self.name = name
        self.root = root
        self.folder = SiteFolder(root)
        self.folder.make()
        self.settings = SiteSettings.parse(
            {"videos": str(videos), "policy": policy, "resources": {"minimum_free_disk": 0}}
        )
        self.audit = AuditLog(self.folder.audit)
        self.store = AuditedStore(federation, self.audit, self.folder.downloads)
        self.launcher = ThreadLauncher(self)
        self.log: list[str] = []

    def agent(self) -> Agent:
        return Agent(
            self.folder,
            self.settings,
            self.name,
            self.store,
            self.launcher,
            log=self.log.append,
            poll_seconds=POLL_SECONDS,
            busy_poll_seconds=POLL_SECONDS,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs the agent while the block runs, and re-raises its error."""
        stop, errors = threading.Event(), []

        def run() -> None:
            try:
                self.agent().run(stop)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if errors:
            raise errors[0]


class Federation:
    """A federation in a folder.

    Attributes:
        workspace: Its stores. The clients' stores are used by runs in one process only.
        store: The federation's store.
    """

    def __init__(self, root: Path, videos: Path) -> None:
        self.root, self.videos = root, videos
        self.workspace = Workspace.under(str(root / "stores"))
        self.store = self.workspace.federation()

    def invite(self, name: str, **policy: Any) -> Site:
        """Adds a site that has the videos of the client with its name."""
        self.write_site(name)
        return Site(self.root / "sites" / name, name, self.videos / name, self.store, **policy)

    def write_site(self, name: str, **changes: Any) -> None:
        record = SiteRecord(site=name, invited=datetime(2026, 1, 1, tzinfo=UTC)).model_copy(update=changes)
        write_record(self.store, layout.site(name), record)

    def start_run(self, config: RunConfig) -> RunRecord:
        return prepare_run(self.store, config)


@pytest.fixture
def federation(tmp_path: Path, videos: Path) -> Federation:
    return Federation(tmp_path, videos)


@pytest.fixture
def site_config(make_config: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """Makes a run's configuration whose shards can be made from the tests' videos."""

    def make(**overrides: Any) -> RunConfig:
        return make_config(**{"data__split_shots": False, "federation__rounds": 1, **overrides})

    return make
