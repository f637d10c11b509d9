"""Who may do what in the object stores, judged by a reader of policies that knows nothing of ours."""

import re

import pytest

from fedvsr.access.policies import client_policy, owner_policy
from fedvsr.federation import layout

FEDERATION, OWN, OTHER = "fed", "fed-client-a", "fed-client-ab"
GET, PUT, DELETE, LIST = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
ROUND = "runs/demo/rounds/0007"


def matches(pattern, text):
    """S3's wildcards: * is any characters, slashes too; ? is any one."""
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def allowed(policy, action, bucket, key=None):
    """An explicit Deny wins, then an Allow, else no: a policy is a list of permissions."""
    arn = f"arn:aws:s3:::{bucket}" if key is None else f"arn:aws:s3:::{bucket}/{key}"
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(matches(each, action) for each in statement["Action"])
        and any(matches(each, arn) for each in statement.get("Resource", ["*"]))
    }
    assert all(set(each) <= {"Effect", "Action", "Resource"} for each in policy["Statement"])
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
    # Runs and clients may have the names of folders.
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
    # It has the others' losses, and why they were refused.
    (FEDERATION, layout.round_record("demo", 7)),
    (FEDERATION, layout.evaluation("demo", 7)),
    (FEDERATION, layout.crops("demo", 7)),
    (FEDERATION, layout.registration("demo")),
    (FEDERATION, layout.experiment("demo")),
    (FEDERATION, layout.client("a")),
    (FEDERATION, f"{layout.EVALUATION_VIDEOS}clip.mp4"),
    (FEDERATION, layout.manifest(layout.evaluation_clips("default"), "frames")),
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
def test_a_client_writes_its_own(policy, bucket, key):
    assert allowed(policy, GET, bucket, key)
    assert allowed(policy, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), NOTHING)
def test_a_client_has_nothing_to_do_with_the_rest(policy, bucket, key):
    assert not allowed(policy, GET, bucket, key)
    assert not allowed(policy, PUT, bucket, key)


@pytest.mark.parametrize(("bucket", "key"), READ + READ_AND_WRITE + NOTHING)
@pytest.mark.parametrize(
    "action", [DELETE, "s3:DeleteObjectVersion", "s3:PutObjectTagging", "s3:BypassGovernanceRetention"]
)
def test_a_client_deletes_nothing(policy, action, bucket, key):
    assert not allowed(policy, action, bucket, key)


@pytest.mark.parametrize("bucket", [FEDERATION, OTHER, "mlflow", "fed-client-"])
def test_a_client_lists_its_own_bucket_alone(policy, bucket):
    assert allowed(policy, LIST, OWN)
    assert not allowed(policy, LIST, bucket)


@pytest.mark.parametrize(
    "action", ["admin:CreateServiceAccount", "admin:CreateUser", "admin:AttachUserOrGroupPolicy"]
)
def test_no_user_administers(policy, action):
    assert not allowed(policy, action, "*")
    assert not allowed(owner_policy(FEDERATION), action, "*")


@pytest.mark.parametrize(
    "action", ["s3:PutBucketPolicy", "s3:DeleteBucket", "s3:CreateBucket", "s3:PutLifecycleConfiguration"]
)
def test_nobody_changes_a_bucket(policy, action):
    assert not allowed(policy, action, OWN)
    assert not allowed(owner_policy(FEDERATION), action, FEDERATION)


def test_an_owner_has_its_bucket_and_no_other():
    policy = owner_policy(FEDERATION)
    for action in (GET, PUT, DELETE):
        assert allowed(policy, action, FEDERATION, "any/key")
        assert not allowed(policy, action, OWN, "raw/video.mp4")
    assert allowed(policy, LIST, FEDERATION)
    assert not allowed(policy, LIST, OWN)


def test_a_name_is_not_the_beginning_of_another():
    longer = client_policy("ab", FEDERATION, OTHER)
    assert not allowed(longer, GET, FEDERATION, layout.update("demo", 7, "a"))
    assert not allowed(longer, LIST, OWN)
    assert not allowed(longer, GET, OWN, "raw/video.mp4")


@pytest.mark.parametrize("client", ["a", "ab"])
def test_what_a_wildcard_reads_too_is_written_by_no_client(client):
    """runs/*/config.json is also any deeper config.json: no client can leave one for another."""
    writer = client_policy(client, FEDERATION, f"fed-client-{client}")
    for key in (f"{ROUND}/updates/{client}/config.json", f"{ROUND}/updates/{client}/rounds/0001/plan.json"):
        assert allowed(writer, GET, FEDERATION, key)
        assert not allowed(writer, PUT, FEDERATION, key)
