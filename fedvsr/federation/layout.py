"""The keys of all objects in the stores.

Federation's store::

    clients/<client>.json                             a client of the federation
    evaluation-videos/…                               the held-out videos
    evaluation-clips/<dataset>/<kind>/                the held-out clips, like a client's; kind: frames, bi-x4
    training-videos/…                                 the videos that are divided among virtual clients
    runs/<run>/experiment.json                        the experiment, for `fedvsr resume`
    runs/<run>/config.json                            the run's record
    runs/<run>/division.json                          which videos each virtual client has
    runs/<run>/rounds/0000/global.safetensors         the initial weights
    runs/<run>/rounds/<r>/plan.json                   clients, base weights, quorum, deadline
    runs/<run>/rounds/<r>/sent.safetensors            the global weights as the clients get them, if encoded
    runs/<run>/rounds/<r>/updates/<client>/           update.safetensors, strategy.safetensors, report.json
    runs/<run>/rounds/<r>/updates/<client>/           trained.json, and a message of each phase
    runs/<run>/rounds/<r>/secure/                     the server's lists between the phases
    runs/<run>/rounds/<r>/outcomes.json               each client's outcome
    runs/<run>/rounds/<r>/lease.json                  rewritten while the round's step waits for sites
    runs/<run>/rounds/<r>/global.safetensors          the aggregated weights
    runs/<run>/rounds/<r>/strategy.safetensors        the strategy state
    runs/<run>/rounds/<r>/server.safetensors          the server optimiser's state; not for clients
    runs/<run>/rounds/<r>/averaged.safetensors        the average of several rounds; not for clients
    runs/<run>/rounds/<r>/round.json                  the round's record: written last
    runs/<run>/evaluation/<r>/evaluation.json         the scores
    runs/<run>/evaluation/<r>/crops.png               details of the held-out clips, as a picture
    runs/<run>/registration.json                      the registered model version
    keys/<client>.json                                a client's public key: the client writes it
    checks/<id>                                       what `fedvsr check` writes and deletes
    federation.json                                   the federation's name and version, for its sites
    sites/<site>/site.json                            a site: the operator writes it
    sites/<site>/heartbeat.json                       what the site's agent does: the site writes it
    sites/<site>/assignments/<run>/<r>.json           what the site is asked to do; round 0: make shards
    sites/<site>/answers/<run>/<r>.json               how far the site is with it: the site writes it

Client's store::

    raw/…                                             its videos
    shards/<dataset>/<kind>/manifest.json             its videos and clips
    shards/<dataset>/<kind>/videos/<id>/              a video's shards, and video.json, which names them
    runs/<run>/state/<identity>/<r>.safetensors       the client state
    secure/identity.key                               its long-term secret
    secure/known-keys.json                            the other clients' public keys, as it approved them
    secure/<run>/<identity>/<r>/                      its update and its answers in secure aggregation

In each folder, the record is written last, so if it exists, the rest is complete: the report is written
after the update, the round's record after the weights, a video's record after its shards, the manifest last.
"""

# The initial weights are those "after round 0". Training rounds count from 1.
INITIAL_ROUND = 0

RAW_VIDEOS = "raw/"
HELD_OUT_VIDEOS = "evaluation-videos/"
TRAINING_VIDEOS = "training-videos/"
CLIENTS = "clients/"
SITES = "sites/"
CLIENT_KEYS = "keys/"
FEDERATION = "federation.json"
SECURE_PHASES = ("advertise", "shares", "unmask")
LAST_SECURE_PHASE = SECURE_PHASES[-1]
LONG_TERM_SECRET = "secure/identity.key"  # noqa: S105  a key in a store, no secret
KNOWN_KEYS = "secure/known-keys.json"

_SHARD = ".safetensors"

HELD_OUT = "held-out"
"""What messages and tables call the owner of the held-out videos."""


def client(name: str) -> str:
    return f"{CLIENTS}{name}.json"


def experiment(run: str) -> str:
    return f"runs/{run}/experiment.json"


def config(run: str) -> str:
    return f"runs/{run}/config.json"


def division(run: str) -> str:
    return f"runs/{run}/division.json"


def round_folder(run: str, round_number: int) -> str:
    return f"runs/{run}/rounds/{round_number:04d}/"


def plan(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "plan.json"


def outcomes(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "outcomes.json"


def global_weights(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "global.safetensors"


def sent_weights(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "sent.safetensors"


def strategy_state(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "strategy.safetensors"


def server_state(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "server.safetensors"


def averaged_weights(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "averaged.safetensors"


def round_record(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "round.json"


def updates_folder(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "updates/"


def update(run: str, round_number: int, client: str) -> str:
    return f"{updates_folder(run, round_number)}{client}/update.safetensors"


def strategy_tensors(run: str, round_number: int, client: str) -> str:
    return f"{updates_folder(run, round_number)}{client}/strategy.safetensors"


def report(run: str, round_number: int, client: str) -> str:
    return f"{updates_folder(run, round_number)}{client}/report.json"


def trained(run: str, round_number: int, client: str) -> str:
    """Returns the key of what a client says about its training before it masks its update."""
    return f"{updates_folder(run, round_number)}{client}/trained.json"


def secure_message(run: str, round_number: int, client: str, phase: str) -> str:
    """Returns the key of a client's message in a phase of secure aggregation."""
    return f"{updates_folder(run, round_number)}{client}/{phase}.json"


def secure_lists(run: str, round_number: int) -> str:
    """Returns the folder of the lists that the server publishes in secure aggregation."""
    return f"{round_folder(run, round_number)}secure/"


def secure_list(run: str, round_number: int, name: str) -> str:
    """Returns the key of what the server publishes between two phases of secure aggregation."""
    return f"{secure_lists(run, round_number)}{name}.json"


def client_key(client: str) -> str:
    return f"{CLIENT_KEYS}{client}.json"


def secure_folder(run: str, identity: str, round_number: int) -> str:
    """Returns the folder in a client's own store for one round of secure aggregation."""
    return f"secure/{run}/{identity}/{round_number:04d}/"


def evaluation(run: str, round_number: int) -> str:
    return f"runs/{run}/evaluation/{round_number:04d}/evaluation.json"


def details_picture(run: str, round_number: int) -> str:
    return f"runs/{run}/evaluation/{round_number:04d}/crops.png"


def registration(run: str) -> str:
    return f"runs/{run}/registration.json"


def check(name: str) -> str:
    return f"checks/{name}"


def lease(run: str, round_number: int) -> str:
    return round_folder(run, round_number) + "lease.json"


def site_folder(site: str) -> str:
    return f"{SITES}{site}/"


def site(name: str) -> str:
    return f"{site_folder(name)}site.json"


def heartbeat(site: str) -> str:
    return f"{site_folder(site)}heartbeat.json"


def assignments(site: str) -> str:
    return f"{site_folder(site)}assignments/"


def assignment(site: str, run: str, round_number: int) -> str:
    """Returns the key of what a site is asked to do in a round; in round 0 it makes the run's shards."""
    return f"{assignments(site)}{run}/{round_number:04d}.json"


def answer(site: str, run: str, round_number: int) -> str:
    return f"{site_folder(site)}answers/{run}/{round_number:04d}.json"


def client_state_folder(run: str, identity: str) -> str:
    """Returns the folder of a client's states in a run. Runs of one name with other settings differ in it."""
    return f"runs/{run}/state/{identity}/"


def client_state(run: str, identity: str, round_number: int) -> str:
    return f"{client_state_folder(run, identity)}{round_number:04d}.safetensors"


def training_clips(dataset: str) -> str:
    return f"shards/{dataset}/"


def held_out_clips(dataset: str) -> str:
    return f"evaluation-clips/{dataset}/"


def manifest(clips: str, kind: str) -> str:
    """Returns the key of the manifest of one kind of shards (``frames``, ``bi-x4``) in a clips folder."""
    return f"{shards(clips, kind)}manifest.json"


def shards(clips: str, kind: str) -> str:
    """Returns the folder of one kind of shards."""
    return f"{clips}{kind}/"


def is_shard(clips: str, kind: str, key: str) -> bool:
    """Returns whether a key is that of an older shard of one kind, with clips of several videos."""
    name = key.removeprefix(shards(clips, kind))
    return key.startswith(shards(clips, kind)) and "/" not in name and name.endswith(_SHARD)


def shard(clips: str, kind: str, digest: str) -> str:
    """Returns the key of an older shard, with clips of several videos."""
    return f"{shards(clips, kind)}{digest}{_SHARD}"


def sharded_videos(clips: str, kind: str) -> str:
    """Returns the folder of the videos of one kind of shards."""
    return f"{shards(clips, kind)}videos/"


def sharded_video(clips: str, kind: str, identity: str) -> str:
    """Returns the folder of the shards of one video."""
    return f"{sharded_videos(clips, kind)}{identity}/"


def video_record(clips: str, kind: str, identity: str) -> str:
    return f"{sharded_video(clips, kind, identity)}video.json"


def video_shard(clips: str, kind: str, identity: str, digest: str, suffix: str) -> str:
    return f"{sharded_video(clips, kind, identity)}{digest}{suffix}"
