"""The worker: makes a site's shards, trains and delivers, for one assignment."""

import time
from contextlib import suppress

from fedvsr.cluster.job_spec import PERMANENT_FAILURE
from fedvsr.errors import (
    PERMANENT_ERRORS,
    FedVSRError,
    NonFiniteLossError,
    NotFoundError,
    RecordError,
    ShardError,
    VideoError,
)
from fedvsr.federation import layout
from fedvsr.federation.client.allowed_code import check_code_allowed
from fedvsr.federation.owner.clips import tell_small_videos
from fedvsr.federation.owner.fingerprint_cache import FingerprintCache
from fedvsr.federation.owner.manifests import read_manifests
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import local_videos
from fedvsr.federation.records import PlanRecord, RunRecord, read_record
from fedvsr.federation.runs import load_run
from fedvsr.federation.shard_records import Manifests, ShardSummary
from fedvsr.federation.site_records import AssignmentRecord, SiteState
from fedvsr.progress import LogProgress, Progress
from fedvsr.site.answers import AnsweringProgress, Answers
from fedvsr.site.folder import SiteFolder, WorkResultRecord
from fedvsr.site.settings import SiteSettings
from fedvsr.site.spool import SpooledStore
from fedvsr.store.base import Store

# Parts of downloads, and the spool of other runs, are kept for this long.
_KEPT_SECONDS = 7 * 86_400


def run_work(folder: SiteFolder, settings: SiteSettings, federation: Store) -> int:
    """Does what the assignment in a site's folder says, and tells the federation how far it is.

    A worker that died is started again: finished shards are kept, and a finished training is delivered.

    Args:
        folder: The site's folder.
        settings: The site's settings.
        federation: The federation's store, as the site may use it.

    Returns:
        0 if the work is done; 65 if another attempt would fail for the same reason; 1 if another attempt may
        succeed.
    """
    folder.result = None
    log = LogProgress()
    try:
        _Work(folder, settings, federation, log).run()
    except FedVSRError as error:
        folder.result = WorkResultRecord(reason=str(error), told=_told(error, folder, settings))
        log.message(f"error: {error}")
        return PERMANENT_FAILURE if isinstance(error, PERMANENT_ERRORS) else 1
    except Exception as error:
        # The traceback reaches the site's log. The federation is told no text that may hold anything.
        folder.result = WorkResultRecord(
            reason=f"{type(error).__name__}: {error}",
            told=f"{type(error).__name__}; the site's log has more",
        )
        raise
    return 0


class _Work:
    """The work for one assignment. The arguments are those of `run_work`, and the log."""

    def __init__(self, folder: SiteFolder, settings: SiteSettings, federation: Store, log: Progress) -> None:
        self._folder, self._settings, self._federation, self._log = folder, settings, federation, log
        self._assignment = folder.assignment
        self._answers = Answers(federation, self._assignment)

    def run(self) -> None:
        assignment = self._assignment
        record = load_run(self._federation, assignment.run)
        _check_identity(record, assignment)
        check_code_allowed(record.config, self._settings.policy.allow_models)
        self._tidy(record.identity)
        with self._answers.sending():
            if assignment.round:
                summary = None
                self._train(record)
            else:
                summary = ShardSummary.of(self._make_shards(record), record.config.training.patch_size)
        self._answers.finish(summary)

    def _make_shards(self, record: RunRecord) -> Manifests:
        config, site = record.config, self._assignment.site
        progress = AnsweringProgress(self._answers, SiteState.SHARDING, "decode", self._log)
        fingerprints = FingerprintCache(self._folder.fingerprints)
        videos = local_videos(self._settings.videos, self._settings.pattern, fingerprints)
        self._answers.tell(SiteState.SHARDING, 0, len(videos))
        folder = layout.training_clips(config.data.dataset)
        manifests = shard_videos(self._folder.store, folder, videos, config.data, site, progress)
        fingerprints.save()
        tell_small_videos(manifests, config.training.patch_size, "training.patch_size", site, self._log)
        return manifests

    def _train(self, record: RunRecord) -> None:
        """Trains, unless a finished training waits in the spool, and delivers."""
        # Imported here, because a worker that only makes shards needs no PyTorch.
        from fedvsr.federation.client.train import train_client

        assignment, own = self._assignment, self._folder.store
        if record.config.privacy.secure_aggregation:
            # Each phase answers what the server has published, so nothing can wait in a spool.
            self._ensure_shards(record)
            progress = AnsweringProgress(self._answers, SiteState.TRAINING, "train", self._log)
            train_client(self._federation, own, record, assignment.round, assignment.site, progress)
            self._log.message(f"delivered a masked update: {assignment.run} round {assignment.round}")
            return
        plan = read_record(self._federation, layout.plan(assignment.run, assignment.round), PlanRecord)
        spooled = SpooledStore(
            self._federation,
            self._folder.spool(record.identity),
            plan,
            assignment.site,
            self._folder.delivered,
        )
        if spooled.find_spooled() is None:
            self._ensure_shards(record)
            progress = AnsweringProgress(self._answers, SiteState.TRAINING, "train", self._log)
            report = train_client(spooled, own, record, assignment.round, assignment.site, progress)
            if spooled.find_spooled() is None:
                self._log.message("nothing to train: it had delivered before")
                return
            self._log.message(f"trained: {report.describe()}")
        self._answers.tell(SiteState.UPLOADING)
        spooled.push(lambda done, total: self._answers.tell(SiteState.UPLOADING, done, total))
        self._log.message(f"delivered: {assignment.run} round {assignment.round}")

    def _ensure_shards(self, record: RunRecord) -> None:
        """Makes the shards if there are none: the site was away when the run asked for them."""
        data = record.config.data
        try:
            read_manifests(self._folder.store, layout.training_clips(data.dataset), data)
        except (NotFoundError, RecordError):
            self._make_shards(record)

    def _tidy(self, identity: str) -> None:
        """Deletes what earlier work left and no later work needs."""
        self._folder.clear_spool(keep=identity)
        oldest = time.time() - _KEPT_SECONDS
        for path in self._folder.downloads.glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _check_identity(record: RunRecord, assignment: AssignmentRecord) -> None:
    if record.identity != assignment.identity:
        raise RecordError(
            f"the settings of run {assignment.run!r} are not those that the federation asked for; "
            "they were changed after the run began, so start it again under another name"
        )


def _told(error: FedVSRError, folder: SiteFolder, settings: SiteSettings) -> str:
    """Returns an error's message for the federation: without names of videos and clips, and without paths."""
    if isinstance(error, NonFiniteLossError):
        return f"the loss is {error.loss} at step {error.step}; lower training.learning_rate"
    if isinstance(error, VideoError):
        return "its videos cannot be used for this run; the site's log says which and why"
    if isinstance(error, ShardError):
        return "its shards are damaged or do not fit the run; the site's log says which"
    text = str(error)
    for path, name in ((settings.videos, "its videos' folder"), (folder.root, "its folder")):
        text = text.replace(str(path), name)
    return text
