"""The S3 policies, checked by an independent evaluation of policies."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from fedvsr.access.policies import client_policy, owner_policy, site_policy, virtual_policy
from fedvsr.federation import layout

FEDERATION, OWN, OTHER = "fed", "fed-client-a", "fed-client-ab"
GET, PUT, DELETE, LIST = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
ROUND = "runs/demo/rounds/0007"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def matches(pattern, text):
    """Returns whether a text matches S3's wildcards: * is any characters and slashes; ? is one."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def applies(condition, context):
    """Returns whether all conditions of a statement hold."""
    tests = {
        "StringEquals": lambda actual, allowed: actual == allowed,
        "StringLike": lambda actual, allowed: actual is not None and any(matches(a, actual) for a in allowed),
        "DateLessThan": lambda actual, allowed: actual < datetime.fromisoformat(allowed),
    }
    return all(
        tests[operator](context.get(variable), value)
        for operator, values in condition.items()
        for variable, value in values.items()
    )


def allowed(policy, action, bucket, key=None, principal="User", prefix=None, now=NOW):
    """Returns whether a policy allows a kind of principal an action: there is an Allow and no Deny."""
    arn = f"arn:aws:s3:::{bucket}" if key is None else f"arn:aws:s3:::{bucket}/{key}"
    context = {"aws:principaltype": principal, "s3:prefix": prefix, "aws:CurrentTime": now}
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(matches(pattern, action) for pattern in statement["Action"])
        and any(matches(pattern, arn) for pattern in statement.get("Resource", ["*"]))
        and applies(statement.get("Condition", {}), context)
    }
    known = {"Effect", "Action", "Resource", "Condition"}
    assert all(set(statement) <= known for statement in policy["Statement"])
    return effects == {"Allow"}


READ = [
    (FEDERATION, layout.config("demo")),
    (FEDERATION, layout.plan("demo", 7)),
    (FEDERATION, layout.global_weights("demo", 0)),
    (FEDERATION, layout.strategy_state("demo", 7)),
]
READ_AND_WRITE = [
    (FEDERATION, layout.update("demo", 7, "a")),
    (FEDERATION, layout.strategy_tensors("demo", 7, "a")),
    (FEDERATION, layout.report("demo", 7, "a")),
    # Runs and clients may be named like folders.
    (FEDERATION, layout.report("rounds", 7, "a")),
    (FEDERATION, layout.report("updates", 7, "a")),
    (OWN, "raw/video.mp4"),
    (OWN, layout.manifest(layout.training_clips("default"), "bi-x4")),
    (OWN, layout.client_state("demo", "identity", 7)),
]
NOTHING = [
    (FEDERATION, layout.update("demo", 7, "ab")),
    (FEDERATION, layout.strategy_tensors("demo", 7, "ab")),
    (FEDERATION, layout.strategy_tensors("rounds", 7, "ab")),
    (FEDERATION, layout.strategy_tensors("demo", 7, "rounds")),
    (FEDERATION, layout.report("other-run", 7, "ab")),
    (FEDERATION, f"{ROUND}/updates/b/report.json"),
    (FEDERATION, f"{ROUND}/updates/a"),
    (FEDERATION, f"{ROUND}/updates/a/anything.else"),
    (FEDERATION, f"{ROUND}/updates/aa/report.json"),
    (FEDERATION, layout.outcomes("demo", 7)),
    # Holds other clients' losses and reasons.
    (FEDERATION, layout.round_record("demo", 7)),
    (FEDERATION, layout.server_state("demo", 7)),
    (FEDERATION, layout.averaged_weights("demo", 7)),
    (FEDERATION, layout.evaluation("demo", 7)),
    (FEDERATION, layout.details_picture("demo", 7)),
    (FEDERATION, layout.registration("demo")),
    (FEDERATION, layout.experiment("demo")),
    (FEDERATION, layout.client("a")),
    (FEDERATION, f"{layout.HELD_OUT_VIDEOS}clip.mp4"),
    (FEDERATION, layout.manifest(layout.held_out_clips("default"), "frames")),
    (FEDERATION, "config.json"),
    (OTHER, "raw/video.mp4"),
    (OTHER, layout.manifest(layout.training_clips("default"), "frames")),
    ("fed-client-b", "raw/video.mp4"),
    ("mlflow", "1/run/artifacts/model"),
]


@pytest.fixture(scope="module")
def policy():
    return client_policy("a", FEDERATION, OWN)


@pytest.mark.parametrize(("bucket", "key"), READ)
def test_a_client_reads_what_a_round_needs(policy, bucket, key):
    assert allowed(policy, GET, bucket, key)
    assert not allowed(policy, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), READ_AND_WRITE)
def test_a_client_reads_and_writes_its_own_objects(policy, bucket, key):
    assert allowed(policy, GET, bucket, key)
    assert allowed(policy, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), NOTHING)
def test_a_client_may_not_access_other_objects(policy, bucket, key):
    assert not allowed(policy, GET, bucket, key)
    assert not allowed(policy, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), READ + READ_AND_WRITE + NOTHING)
@pytest.mark.parametrize(
    "action", [DELETE, "s3:DeleteObjectVersion", "s3:PutObjectTagging", "s3:BypassGovernanceRetention"]
)
def test_a_client_deletes_nothing(policy, action, bucket, key):
    assert not allowed(policy, action, bucket, key)


@pytest.mark.parametrize("bucket", [FEDERATION, OTHER, "mlflow", "fed-client-"])
def test_a_client_lists_only_its_own_bucket(policy, bucket):
    assert allowed(policy, LIST, OWN)
    assert not allowed(policy, LIST, bucket)


@pytest.mark.parametrize(
    "action", ["admin:CreateServiceAccount", "admin:CreateUser", "admin:AttachUserOrGroupPolicy"]
)
def test_no_user_may_administer(policy, action):
    assert not allowed(policy, action, "*")
    assert not allowed(owner_policy(FEDERATION), action, "*")


@pytest.mark.parametrize("action", [GET, PUT])
def test_temporary_keys_of_a_user_have_no_rights(policy, action):
    assert allowed(policy, action, OWN, "raw/video.mp4")
    assert not allowed(policy, action, OWN, "raw/video.mp4", principal="AssumedRole")
    assert not allowed(owner_policy(FEDERATION), action, FEDERATION, "any/key", principal="AssumedRole")


@pytest.mark.parametrize(
    "action", ["s3:PutBucketPolicy", "s3:DeleteBucket", "s3:CreateBucket", "s3:PutLifecycleConfiguration"]
)
def test_no_user_may_change_a_bucket(policy, action):
    assert not allowed(policy, action, OWN)
    assert not allowed(owner_policy(FEDERATION), action, FEDERATION)


def test_an_owner_may_access_only_its_bucket():
    policy = owner_policy(FEDERATION)
    for action in (GET, PUT, DELETE):
        assert allowed(policy, action, FEDERATION, "any/key")
        assert not allowed(policy, action, OWN, "raw/video.mp4")
    assert allowed(policy, LIST, FEDERATION)
    assert not allowed(policy, LIST, OWN)


def test_a_clients_rights_do_not_extend_to_a_name_that_is_its_prefix():
    longer = client_policy("ab", FEDERATION, OTHER)
    assert not allowed(longer, GET, FEDERATION, layout.update("demo", 7, "a"))
    assert not allowed(longer, LIST, OWN)
    assert not allowed(longer, GET, OWN, "raw/video.mp4")


@pytest.mark.parametrize("client", ["a", "ab"])
def test_no_client_may_write_what_a_wildcard_lets_others_read(client):
    """runs/*/config.json also matches deeper keys. No client may write such a key for another client."""
    writer = client_policy(client, FEDERATION, f"fed-client-{client}")
    for key in (f"{ROUND}/updates/{client}/config.json", f"{ROUND}/updates/{client}/rounds/0001/plan.json"):
        assert allowed(writer, GET, FEDERATION, key)
        assert not allowed(writer, PUT, FEDERATION, key)


SITE_READ = [
    *[(FEDERATION, key) for _, key in READ],
    (FEDERATION, layout.FEDERATION),
    (FEDERATION, layout.site("a")),
    (FEDERATION, layout.assignment("a", "demo", 7)),
    (FEDERATION, layout.lease("demo", 7)),
]
SITE_READ_AND_WRITE = [
    (FEDERATION, layout.heartbeat("a")),
    (FEDERATION, layout.answer("a", "demo", 0)),
    (FEDERATION, layout.answer("a", "demo", 7)),
    *[(bucket, key) for bucket, key in READ_AND_WRITE if bucket == FEDERATION],
]
SITE_NOTHING = [
    *NOTHING,
    *[(bucket, key) for bucket, key in READ_AND_WRITE if bucket == OWN],
    (FEDERATION, layout.site("ab")),
    (FEDERATION, layout.heartbeat("ab")),
    (FEDERATION, layout.assignment("ab", "demo", 7)),
    (FEDERATION, layout.answer("ab", "demo", 7)),
    (FEDERATION, f"{layout.site_folder('a')}anything.else"),
]


@pytest.fixture(scope="module")
def rights():
    return site_policy("a", FEDERATION)


@pytest.mark.parametrize(("bucket", "key"), SITE_READ)
def test_a_site_reads_what_a_round_and_its_agent_need(rights, bucket, key):
    assert allowed(rights, GET, bucket, key)
    assert not allowed(rights, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), SITE_READ_AND_WRITE)
@pytest.mark.parametrize("action", [GET, PUT, "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"])
def test_a_site_reads_and_writes_its_answers_and_updates(rights, action, bucket, key):
    assert allowed(rights, action, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), SITE_NOTHING)
def test_a_site_may_not_access_other_objects(rights, bucket, key):
    assert not allowed(rights, GET, bucket, key)
    assert not allowed(rights, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), SITE_READ + SITE_READ_AND_WRITE + SITE_NOTHING)
def test_a_site_deletes_nothing(rights, bucket, key):
    assert not allowed(rights, DELETE, bucket, key)


def test_a_site_lists_its_own_folder_only(rights):
    for prefix in (layout.site_folder("a"), layout.assignments("a")):
        assert allowed(rights, LIST, FEDERATION, prefix=prefix)
    for prefix in (None, "", "sites/", "sites/a", layout.site_folder("ab"), "runs/", "runs/demo/"):
        assert not allowed(rights, LIST, FEDERATION, prefix=prefix)
    for bucket in (OWN, OTHER, "mlflow"):
        assert not allowed(rights, LIST, bucket, prefix=layout.site_folder("a"))


def test_a_sites_rights_end_at_a_moment():
    rights = site_policy("a", FEDERATION, NOW)
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    for action, keys in ((GET, SITE_READ + SITE_READ_AND_WRITE), (PUT, SITE_READ_AND_WRITE)):
        for bucket, key in keys:
            assert allowed(rights, action, bucket, key, now=before)
            assert not allowed(rights, action, bucket, key, now=after)
    prefix = layout.site_folder("a")
    assert allowed(rights, LIST, FEDERATION, prefix=prefix, now=before)
    assert not allowed(rights, LIST, FEDERATION, prefix=prefix, now=after)


def test_a_site_may_not_administer_or_use_temporary_keys(rights):
    assert not allowed(rights, "admin:CreateServiceAccount", "*")
    bucket, key = SITE_READ[0]
    assert not allowed(rights, GET, bucket, key, principal="AssumedRole")


def test_virtual_clients_share_what_each_of_them_needs_and_nothing_of_others():
    policy, bucket = virtual_policy(FEDERATION, "fed-virtual"), "fed-virtual"
    videos = layout.TRAINING_VIDEOS
    for found, key in READ:
        assert allowed(policy, GET, found, key)
        assert not allowed(policy, PUT, found, key)
    for key in (layout.division("demo"), f"{videos}town/a.mp4"):
        assert allowed(policy, GET, FEDERATION, key)
        assert not allowed(policy, PUT, FEDERATION, key)
    assert allowed(policy, LIST, FEDERATION, prefix=videos)
    assert not allowed(policy, LIST, FEDERATION, prefix="runs/")
    for client in ("client-1", "client-240"):
        for action in (GET, PUT):
            assert allowed(policy, action, FEDERATION, layout.update("demo", 7, client))
            assert allowed(policy, action, FEDERATION, layout.report("demo", 7, client))
            assert allowed(policy, action, bucket, f"clients/{client}/shards/default/frames/manifest.json")
    for found, key in NOTHING:
        assert not allowed(policy, PUT, found, key), key
    for action in (GET, PUT, DELETE, LIST):
        assert not allowed(policy, action, OTHER, None if action == LIST else "raw/video.mp4")
        assert not allowed(policy, DELETE, bucket, "clients/client-1/raw/a.mp4")
