"""The S3 policies, checked by an independent evaluation of policies."""

import re

import pytest

from fedvsr.access.policies import client_policy, owner_policy
from fedvsr.federation import layout

FEDERATION, OWN, OTHER = "fed", "fed-client-a", "fed-client-ab"
GET, PUT, DELETE, LIST = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
ROUND = "runs/demo/rounds/0007"


def matches(pattern, text):
    """Returns whether a text matches S3's wildcards: * is any characters and slashes; ? is one."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def allowed(policy, action, bucket, key=None, principal="User"):
    """Returns whether a policy allows a kind of principal an action: there is an Allow and no Deny."""
    arn = f"arn:aws:s3:::{bucket}" if key is None else f"arn:aws:s3:::{bucket}/{key}"
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(matches(pattern, action) for pattern in statement["Action"])
        and any(matches(pattern, arn) for pattern in statement.get("Resource", ["*"]))
        and statement.get("Condition", {"StringEquals": {"aws:principaltype": principal}})
        == {"StringEquals": {"aws:principaltype": principal}}
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
