"""Builds S3 policies for the object stores from the keys of `fedvsr.federation.layout`.

The keys in a policy contain wildcards, and ``*`` matches slashes too. So a round is ``????``: the key
``rounds/*/strategy.safetensors`` would also match another client's update
(``rounds/0001/updates/bob/strategy.safetensors``).
"""

from datetime import UTC, datetime
from typing import Any

from fedvsr.federation import layout

Policy = dict[str, Any]

_ANY_RUN = "*"
_ANY_ROUND = "????"

VIRTUAL_PREFIX = "client-"
"""How the name of every virtual client begins."""

_LIST = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
_READ = ["s3:GetObject"]
# Large objects are uploaded in parts. A client may abort its own upload, but not delete objects.
_WRITE = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_DELETE = ["s3:DeleteObject"]
# By default, a MinIO user may make access keys, which would stay valid after its secret key is replaced.
_DENY_ADMIN: Policy = {"Effect": "Deny", "Action": ["admin:*"]}
# A MinIO user may also get temporary keys (AssumeRole), which no policy can forbid. They would stay valid for
# up to seven days after its secret key is replaced, even if the user is removed and made again.
_DENY_TEMPORARY_KEYS: Policy = {
    "Effect": "Deny",
    "Action": ["s3:*"],
    "Resource": ["arn:aws:s3:::*"],
    "Condition": {"StringEquals": {"aws:principaltype": "AssumedRole"}},
}


def client_policy(name: str, federation_bucket: str, client_bucket: str) -> Policy:
    """Returns a client's policy: what `fedvsr.federation.client.train` needs, for any run and round.

    The client reads and writes its own bucket. In the federation's bucket it reads the runs'
    configurations, plans and global weights, and reads and writes its own updates. It deletes nothing and
    does not list the federation's bucket. If an object that the client may read does not exist, MinIO says
    so. Amazon S3 says so only to users who may list the bucket.

    Args:
        name: The client's name.
        federation_bucket: The federation's bucket.
        client_bucket: The client's own bucket.
    """
    return _policy(
        _allow(_LIST, client_bucket),
        _allow(_READ + _WRITE, client_bucket, ["*"]),
        _allow(_READ, federation_bucket, _run_reads()),
        _allow(_READ + _WRITE, federation_bucket, _deliveries(name)),
    )


def virtual_policy(federation_bucket: str, bucket: str) -> Policy:
    """Returns the policy of the one user that all virtual clients of a deployment share.

    It has what a client has, for every client whose name begins with ``client-``. It also reads the videos
    that are divided among them, and which of them are whose.

    Args:
        federation_bucket: The federation's bucket.
        bucket: The bucket with the virtual clients' shards.
    """
    listing = _allow(["s3:ListBucket"], federation_bucket)
    listing["Condition"] = {"StringLike": {"s3:prefix": [f"{layout.TRAINING_VIDEOS}*"]}}
    reads = [*_run_reads(), layout.division(_ANY_RUN), f"{layout.TRAINING_VIDEOS}*"]
    return _policy(
        _allow(_LIST, bucket),
        _allow(_READ + _WRITE, bucket, ["*"]),
        listing,
        _allow(["s3:GetBucketLocation"], federation_bucket),
        _allow(_READ, federation_bucket, reads),
        _allow(_READ + _WRITE, federation_bucket, _deliveries(f"{VIRTUAL_PREFIX}*")),
    )


def site_policy(name: str, federation_bucket: str, expires: datetime | None = None) -> Policy:
    """Returns a site's policy: what a client needs for its training, and what its agent needs.

    The site lists only its own folder, where the federation writes its assignments. It deletes nothing, and
    has no bucket of its own. After ``expires``, the server refuses every request.

    Args:
        name: The site's name.
        federation_bucket: The federation's bucket.
        expires: When the rights end; None for never.
    """
    own = layout.site_folder(name)
    reads = [
        layout.FEDERATION,
        layout.site(name),
        f"{layout.assignments(name)}*",
        *_run_reads(),
        _of_any_round(layout.lease(_ANY_RUN, 0)),
    ]
    writes = [
        layout.heartbeat(name),
        layout.answer(name, _ANY_RUN, 0).replace("/0000.json", f"/{_ANY_ROUND}.json"),
        *_deliveries(name),
    ]
    listing = _allow(["s3:ListBucket"], federation_bucket)
    listing["Condition"] = {"StringLike": {"s3:prefix": [f"{own}*"]}}
    statements = [
        listing,
        _allow(["s3:GetBucketLocation"], federation_bucket),
        _allow(_READ, federation_bucket, reads),
        _allow(_READ + _WRITE, federation_bucket, writes),
    ]
    if expires:
        moment = expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for statement in statements:
            statement.setdefault("Condition", {})["DateLessThan"] = {"aws:CurrentTime": moment}
    return _policy(*statements)


def owner_policy(bucket: str) -> Policy:
    """Returns the policy of the federation or of MLflow: all rights on the objects of one bucket."""
    return _policy(_allow(_LIST, bucket), _allow(_READ + _WRITE + _DELETE, bucket, ["*"]))


def _run_reads() -> list[str]:
    """Returns what every client reads of a run."""
    return [
        layout.config(_ANY_RUN),
        _of_any_round(layout.plan(_ANY_RUN, 0)),
        _of_any_round(layout.global_weights(_ANY_RUN, 0)),
        _of_any_round(layout.sent_weights(_ANY_RUN, 0)),
        _of_any_round(layout.strategy_state(_ANY_RUN, 0)),
        _of_any_round(layout.secure_list(_ANY_RUN, 0, "*")),
        layout.client_key("*"),
    ]


def _deliveries(client: str) -> list[str]:
    """Returns what a client writes for a round."""
    return [
        _of_any_round(layout.update(_ANY_RUN, 0, client)),
        _of_any_round(layout.strategy_tensors(_ANY_RUN, 0, client)),
        _of_any_round(layout.report(_ANY_RUN, 0, client)),
        _of_any_round(layout.trained(_ANY_RUN, 0, client)),
        *(_of_any_round(layout.secure_message(_ANY_RUN, 0, client, phase)) for phase in layout.SECURE_PHASES),
        layout.client_key(client),
    ]


def _of_any_round(key: str) -> str:
    folder = layout.round_folder(_ANY_RUN, 0)
    return folder.replace("/0000/", f"/{_ANY_ROUND}/") + key.removeprefix(folder)


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": [*statements, _DENY_ADMIN, _DENY_TEMPORARY_KEYS]}


def _allow(actions: list[str], bucket: str, keys: list[str] | None = None) -> Policy:
    arn = f"arn:aws:s3:::{bucket}"
    resources = [arn] if keys is None else [f"{arn}/{key}" for key in keys]
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resources}
