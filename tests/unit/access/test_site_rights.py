"""A site's keys, tried against everything on a real S3 server. Skipped without a MinIO program."""

import io
import json

import pytest
import urllib3
from minio import MinioAdmin
from minio.commonconfig import CopySource
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.deleteobjects import DeleteObject
from minio.error import MinioAdminException, S3Error

from fedvsr.errors import AccessDeniedError, NotFoundError
from fedvsr.federation import layout
from fedvsr.store.s3_connection import client_of
from tests.unit.access.real_federation import BUCKET, OTHER_BUCKET, invite, opened

pytestmark = pytest.mark.minio

REFUSALS = {"AccessDenied", "XMinioAdminInvalidAccessKey"}

OWN = {
    "update": layout.update("demo", 1, "ann"),
    "strategy tensors": layout.strategy_tensors("demo", 1, "ann"),
    "report": layout.report("demo", 1, "ann"),
    "heartbeat": layout.heartbeat("ann"),
    "answer": layout.answer("ann", "demo", 1),
    "answer with shards": layout.answer("ann", "demo", 0),
}
SHARED = {
    "federation": layout.FEDERATION,
    "own site record": layout.site("ann"),
    "own assignment": layout.assignment("ann", "demo", 1),
    "run": layout.config("demo"),
    "plan": layout.plan("demo", 1),
    "initial weights": layout.global_weights("demo", 0),
    "global weights": layout.global_weights("demo", 1),
    "strategy state": layout.strategy_state("demo", 1),
    "lease": layout.lease("demo", 1),
}
CLOSED = {
    "another's site record": layout.site("bob"),
    "another's assignment": layout.assignment("bob", "demo", 1),
    "another's heartbeat": layout.heartbeat("bob"),
    "another's answer": layout.answer("bob", "demo", 1),
    "another's update": layout.update("demo", 1, "bob"),
    "another's strategy tensors": layout.strategy_tensors("demo", 1, "bob"),
    "another's report": layout.report("demo", 1, "bob"),
    "another's, whose name begins the same": layout.heartbeat("anna"),
    "update of such a one": layout.update("demo", 1, "anna"),
    "update of one in another run": layout.update("other", 1, "bob"),
    "anything in the own folder": layout.site_folder("ann") + "notes.json",
    "outcomes": layout.outcomes("demo", 1),
    "round's record": layout.round_record("demo", 1),
    "server state": layout.server_state("demo", 1),
    "averaged weights": layout.averaged_weights("demo", 1),
    "experiment": layout.experiment("demo"),
    "evaluation": layout.evaluation("demo", 1),
    "picture": layout.details_picture("demo", 1),
    "registration": layout.registration("demo"),
    "hosted client": layout.client("carl"),
    "held-out video": layout.HELD_OUT_VIDEOS + "clip.mp4",
    "held-out clips": layout.manifest(layout.held_out_clips("default"), "frames"),
    "check": layout.check("last"),
    "an object of the root": "anything.json",
}


class Attempts:
    """What was tried with some keys, and what the server said."""

    def __init__(self):
        self.rows = []

    def allowed(self, what, action):
        self._try(what, "allowed", action)

    def refused(self, what, action):
        self._try(what, "refused", action)

    def _try(self, what, expected, action):
        try:
            result = action()
        except S3Error as error:
            # HEAD has the reason in a header.
            code = error.response.headers.get("x-minio-error-code") or error.code
            actual, answer = ("refused" if code in REFUSALS else "failed"), code
        except MinioAdminException as error:
            body = json.loads(str(error).partition("Body: ")[2] or "{}")
            actual, answer = ("refused" if body.get("Code") in REFUSALS else "failed"), body.get("Code")
        else:
            actual, answer = "allowed", str(result)[:40].replace("\n", " ")
        self.rows.append((what, expected, actual, answer))

    def check(self):
        wrong = [row for row in self.rows if row[1] != row[2]]
        table = "\n".join(
            f"{what:55} {expected:8} {actual:8} {answer}" for what, expected, actual, answer in wrong
        )
        print(f"{len(self.rows)} attempts\n{self}")
        assert not wrong, f"\n{table}\n\nall:\n{self}"

    def __str__(self):
        return "\n".join(f"{what:55} {actual:8} {answer}" for what, _, actual, answer in self.rows)


@pytest.fixture(scope="module")
def objects(s3):
    """One object of every kind."""
    store = s3.store(BUCKET)
    for key in (*OWN.values(), *SHARED.values(), *CLOSED.values()):
        store.write(key, b"{}")
    s3.store(OTHER_BUCKET).write("raw/video.mp4", b"a video")


@pytest.fixture
def site(s3, objects):
    """The connection of the site ann, and its invitation."""
    invitation = invite(s3, "ann")
    return client_of(invitation.connection()), invitation


def put(client, bucket, key, data=b"{}"):
    return client.put_object(bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data))


def get(client, bucket, key):
    answer = client.get_object(bucket_name=bucket, object_name=key)
    answer.close()
    answer.release_conn()


def names(client, prefix, bucket=BUCKET, **options):
    return [item.object_name for item in client.list_objects(bucket_name=bucket, prefix=prefix, **options)]


def delete_many(client, keys):
    errors = list(
        client.remove_objects(bucket_name=BUCKET, delete_object_list=[DeleteObject(key) for key in keys])
    )
    return errors or "deleted"


def test_objects(site):
    client, _ = site
    attempts = Attempts()
    for what, key in OWN.items():
        attempts.allowed(f"read {what}", lambda key=key: get(client, BUCKET, key))
        attempts.allowed(f"write {what}", lambda key=key: put(client, BUCKET, key))
        attempts.allowed(
            f"look at {what}", lambda key=key: client.stat_object(bucket_name=BUCKET, object_name=key)
        )
    for what, key in SHARED.items():
        attempts.allowed(f"read {what}", lambda key=key: get(client, BUCKET, key))
        attempts.refused(f"write {what}", lambda key=key: put(client, BUCKET, key))
    for what, key in CLOSED.items():
        attempts.refused(f"read {what}", lambda key=key: get(client, BUCKET, key))
        attempts.refused(
            f"look at {what}", lambda key=key: client.stat_object(bucket_name=BUCKET, object_name=key)
        )
        attempts.refused(f"write {what}", lambda key=key: put(client, BUCKET, key))
    for what, key in {**OWN, **SHARED, **CLOSED}.items():
        attempts.refused(
            f"delete {what}", lambda key=key: client.remove_object(bucket_name=BUCKET, object_name=key)
        )
    attempts.check()


def test_what_does_not_exist_is_told_apart_from_what_is_refused(site):
    store = opened(site[1])
    with pytest.raises(NotFoundError):
        store.read(layout.assignment("ann", "no-run", 1))
    with pytest.raises(NotFoundError):
        store.age(layout.lease("no-run", 1))
    for key in (layout.assignment("bob", "no-run", 1), layout.site_folder("ann") + "no.json"):
        with pytest.raises(AccessDeniedError):
            store.read(key)
        with pytest.raises(AccessDeniedError):
            store.size(key)


def test_lists(site):
    client, _ = site
    attempts = Attempts()
    for prefix in (layout.site_folder("ann"), layout.assignments("ann")):
        attempts.allowed(f"list {prefix}", lambda prefix=prefix: names(client, prefix, recursive=True))
    for prefix in (
        "",
        "sites",
        "sites/",
        "sites/ann",
        "sites/anna/",
        "sites/bob/",
        "runs/",
        "runs/demo/",
        "clients/",
    ):
        for options in ({}, {"recursive": True}, {"use_api_v1": True}, {"include_version": True}):
            attempts.refused(
                f"list {prefix!r} {options}",
                lambda prefix=prefix, options=options: names(client, prefix, **options),
            )
    attempts.refused("list another bucket", lambda: names(client, "", OTHER_BUCKET))
    attempts.refused("list own folder of another bucket", lambda: names(client, "sites/ann/", OTHER_BUCKET))
    attempts.refused("list uploads", lambda: client._list_multipart_uploads(BUCKET, prefix="sites/ann/"))
    attempts.refused(
        "list own folder from another's on",
        lambda: names(client, "sites/", start_after="sites/bob/", recursive=True),
    )
    attempts.check()
    assert {key.split("/")[1] for key in names(client, "sites/ann/", recursive=True)} == {"ann"}
    assert {bucket.name for bucket in client.list_buckets()} <= {BUCKET}


def test_detours(site, s3):
    client, invitation = site
    attempts = Attempts()
    own, bobs = OWN["update"], CLOSED["another's update"]
    for bucket, key in ((BUCKET, bobs), (OTHER_BUCKET, "raw/video.mp4")):
        attempts.refused(
            f"copy {bucket}/{key} to the own update",
            lambda bucket=bucket, key=key: client.copy_object(
                bucket_name=BUCKET, object_name=own, source=CopySource(bucket_name=bucket, object_name=key)
            ),
        )
    attempts.refused("write another bucket", lambda: put(client, OTHER_BUCKET, own))
    attempts.refused("read another bucket", lambda: get(client, OTHER_BUCKET, "raw/video.mp4"))
    attempts.refused("start an upload", lambda: client._create_multipart_upload(BUCKET, bobs, {}))
    attempts.refused(
        "tags of the own update", lambda: client.get_object_tags(bucket_name=BUCKET, object_name=own)
    )
    attempts.refused(
        "delete the own tags", lambda: client.delete_object_tags(bucket_name=BUCKET, object_name=own)
    )
    attempts.refused("make a bucket", lambda: client.make_bucket(bucket_name="of-ann"))
    attempts.refused("remove the bucket", lambda: client.remove_bucket(bucket_name=BUCKET))
    attempts.refused("bucket's policy", lambda: client.get_bucket_policy(bucket_name=BUCKET))
    attempts.refused("open the bucket", lambda: client.set_bucket_policy(bucket_name=BUCKET, policy="{}"))
    attempts.refused("no policy", lambda: client.delete_bucket_policy(bucket_name=BUCKET))
    attempts.refused("lifecycle", lambda: client.get_bucket_lifecycle(bucket_name=BUCKET))
    attempts.refused("notifications", lambda: client.get_bucket_notification(bucket_name=BUCKET))
    attempts.refused("versioning", lambda: client.get_bucket_versioning(bucket_name=BUCKET))
    attempts.refused("encryption", lambda: client.get_bucket_encryption(bucket_name=BUCKET))
    attempts.refused("replication", lambda: client.get_bucket_replication(bucket_name=BUCKET))
    attempts.check()
    assert len(delete_many(client, [own, bobs])) == 2
    signed = client.presigned_get_object(bucket_name=BUCKET, object_name=bobs)
    pool = urllib3.PoolManager(ca_cert_data=s3.server.ca_certificate)
    assert pool.request("GET", signed).status == 403
    assert pool.request("GET", f"{s3.server.endpoint}/{BUCKET}/{layout.FEDERATION}").status == 403
    store = s3.store(BUCKET)
    assert all(store.exists(key) for key in (*OWN.values(), *SHARED.values(), *CLOSED.values()))
    assert store.read(own) == store.read(bobs) == b"{}"
    assert opened(invitation).read(layout.FEDERATION)


def test_administration(site, s3):
    _, invitation = site
    connection = invitation.connection()
    admin = MinioAdmin(
        endpoint=s3.server.endpoint.removeprefix("https://"),
        credentials=StaticProvider(connection.access_key, connection.secret_key),
        http_client=urllib3.PoolManager(ca_cert_data=s3.server.ca_certificate),
    )
    attempts = Attempts()
    calls = {
        "info": (),
        "user_list": (),
        "user_info": ("site-bob",),
        "user_add": ("site-eve", "secret-of-eve"),
        "user_disable": ("site-ann",),
        "user_remove": ("site-bob",),
        "group_list": (),
        "group_add": ("admins", "site-ann"),
        "policy_list": (),
        "policy_info": ("readwrite",),
        "policy_set": ("consoleAdmin", "site-ann"),
        "policy_unset": ("site-ann", "site-ann"),
        "service_restart": (),
        "config_reset": ("api",),
        "bucket_quota_get": (BUCKET,),
        "bucket_quota_set": (BUCKET, 1),
        "get_data_usage_info": (),
        "kms_key_status": (),
        "get_site_replication_info": (),
        "list_service_account": ("site-bob",),
    }
    for name, arguments in calls.items():
        attempts.refused(
            f"admin {name}", lambda name=name, arguments=arguments: getattr(admin, name)(*arguments)
        )
    attempts.refused(
        "admin policy_add",
        lambda: admin.policy_add("site-ann", policy={"Version": "2012-10-17", "Statement": []}),
    )
    attempts.refused(
        "make a service account",
        lambda: admin.add_service_account(access_key="of-ann", secret_key="secret-of-ann", name="of-ann"),
    )
    # What the server says to every user about itself; the console asks for it.
    attempts.allowed("list the own service accounts", lambda: admin.list_service_account("site-ann"))
    attempts.allowed("the own account", admin.account_info)
    attempts.check()
    assert not json.loads(admin.list_service_account("site-ann"))["accounts"]
    assert {bucket["name"] for bucket in json.loads(admin.account_info())["Buckets"] or ()} <= {BUCKET}


def test_temporary_keys_open_nothing(site, s3):
    """MinIO gives them to every user, so they must have no rights: they would outlive a revocation."""
    _, invitation = site
    connection = invitation.connection()
    pool = urllib3.PoolManager(ca_cert_data=s3.server.ca_certificate)
    provider = AssumeRoleProvider(
        sts_endpoint=s3.server.endpoint,
        access_key=connection.access_key,
        secret_key=connection.secret_key,
        http_client=pool,
    )
    client = client_of(connection)
    client._provider = provider
    attempts = Attempts()
    for what, key in {**OWN, **SHARED}.items():
        attempts.refused(f"read {what}", lambda key=key: get(client, BUCKET, key))
    attempts.refused("write the own update", lambda: put(client, BUCKET, OWN["update"]))
    attempts.refused("list the own folder", lambda: names(client, "sites/ann/"))
    attempts.check()
