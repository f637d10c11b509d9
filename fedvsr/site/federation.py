"""Opens the federation's store as a site may use it."""

from fedvsr.access.invitation import Invitation, read_invitation
from fedvsr.site.audit import AuditedStore, AuditLog
from fedvsr.site.folder import SiteFolder
from fedvsr.site.settings import SiteSettings
from fedvsr.store.s3 import S3Store


def open_federation(
    folder: SiteFolder, settings: SiteSettings, patience_seconds: float = 0.0
) -> tuple[Invitation, AuditedStore]:
    """Opens the federation's store with the keys of the site's invitation.

    Args:
        folder: The site's folder.
        settings: The site's settings, which limit the bandwidth.
        patience_seconds: How long a request is tried again while the federation does not answer.

    Raises:
        fedvsr.errors.FedVSRError: The invitation cannot be read, or is for another fedvsr.
    """
    invitation = read_invitation(folder.invitation)
    store = S3Store.connect(
        invitation.connection(),
        invitation.bucket,
        patience_seconds=patience_seconds,
        bytes_per_second=settings.resources.bandwidth,
        resume_folder=folder.downloads,
    )
    return invitation, AuditedStore(store, AuditLog(folder.audit), folder.downloads)
