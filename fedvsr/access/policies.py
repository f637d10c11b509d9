"""Who may do what in the object stores: S3's policies, written with the keys of `layout`.

The keys that a policy names hold wildcards, of which ``*`` matches slashes too. So a round is
``????`` here: with ``*`` in its place, ``rounds/*/strategy.safetensors`` would also be what another
client sent (``rounds/0001/updates/bob/strategy.safetensors``).
"""

from typing import Any

from fedvsr.federation import layout

Policy = dict[str, Any]

_ANY_RUN = "*"
_ANY_ROUND = "????"

_LIST = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
_READ = ["s3:GetObject"]
# A large object is put in parts; whoever may not delete may still drop the parts of its own broken upload.
_WRITE = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_DELETE = ["s3:DeleteObject"]
# A user of MinIO may make access keys for itself unless that is denied; they would outlive a new secret.
_NO_KEYS_OF_ITS_OWN: Policy = {"Effect": "Deny", "Action": ["admin:*"]}


def client_policy(name: str, federation_bucket: str, client_bucket: str) -> Policy:
    """What a client may do: exactly what `fedvsr.federation.client.train` does, for any run and round.

    It reads and writes its own bucket, reads the runs' configurations, plans and global weights, and
    writes and reads back its own updates. It deletes nothing and lists nothing of the federation's;
    MinIO says all the same that an object does not exist to whoever might read it (Amazon's S3 says so
    only to whoever may list the bucket).

    Args:
        name: The client's name.
        federation_bucket: The federation's bucket.
        client_bucket: The client's own bucket.
    """
    reads = [
        layout.config(_ANY_RUN),
        _of_any_round(layout.plan(_ANY_RUN, 0)),
        _of_any_round(layout.global_weights(_ANY_RUN, 0)),
        _of_any_round(layout.strategy_state(_ANY_RUN, 0)),
    ]
    writes = [
        _of_any_round(layout.update(_ANY_RUN, 0, name)),
        _of_any_round(layout.strategy_tensors(_ANY_RUN, 0, name)),
        _of_any_round(layout.report(_ANY_RUN, 0, name)),
    ]
    return _policy(
        _allow(_LIST, client_bucket),
        _allow(_READ + _WRITE, client_bucket, ["*"]),
        _allow(_READ, federation_bucket, reads),
        _allow(_READ + _WRITE, federation_bucket, writes),
    )


def owner_policy(bucket: str) -> Policy:
    """What the federation and MLflow may do: everything with the objects of their one bucket."""
    return _policy(_allow(_LIST, bucket), _allow(_READ + _WRITE + _DELETE, bucket, ["*"]))


def _of_any_round(key: str) -> str:
    folder = layout.round_folder(_ANY_RUN, 0)
    return folder.replace("/0000/", f"/{_ANY_ROUND}/") + key.removeprefix(folder)


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": [*statements, _NO_KEYS_OF_ITS_OWN]}


def _allow(actions: list[str], bucket: str, keys: list[str] | None = None) -> Policy:
    arn = f"arn:aws:s3:::{bucket}"
    resources = [arn] if keys is None else [f"{arn}/{key}" for key in keys]
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resources}
