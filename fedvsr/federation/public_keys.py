"""The clients' long-term keys: each client's own secret, and the other clients' public keys as it knows them.

A client makes its secret once, keeps it in its own store and publishes the public key in the federation's. A
client that sees another's key for the first time keeps it. From then on, another key for that client is
refused until a person approves it: whoever controls the federation's store could replace a key, and then read
the messages to that client.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from fedvsr.errors import NotFoundError, RecordError
from fedvsr.federation import layout
from fedvsr.federation.records import read_record, read_untrusted_record, write_record
from fedvsr.federation.secure_records import ClientKeyRecord, KnownKeysRecord
from fedvsr.privacy.secure_aggregation.identity import Identity, fingerprint
from fedvsr.store.base import Store


def own_identity(own: Store) -> Identity:
    """Returns a client's long-term secret from its own store; makes it if there is none."""
    try:
        return Identity(own.read(layout.LONG_TERM_SECRET))
    except NotFoundError:
        identity = Identity.generate()
        own.write(layout.LONG_TERM_SECRET, identity.to_bytes())
        # Another process of the same client may have written one at the same time: the stored one counts.
        return Identity(own.read(layout.LONG_TERM_SECRET))


def publish_key(federation: Store, client: str, identity: Identity) -> None:
    """Writes a client's public key to the federation's store, unless it is there."""
    record = ClientKeyRecord(client=client, public_key=identity.public_key.hex())
    key = layout.client_key(client)
    if not federation.exists(key) or federation.read(key) != record.to_bytes():
        write_record(federation, key, record)


def published_keys(federation: Store, clients: Iterable[str]) -> dict[str, bytes]:
    """Reads the public keys that clients have published; a client without one is left out.

    Raises:
        fedvsr.errors.RecordError: A record is damaged, or names another client.
    """
    keys = {}
    for client in clients:
        try:
            record = read_untrusted_record(federation, layout.client_key(client), ClientKeyRecord)
        except NotFoundError:
            continue
        if record.client != client:
            raise RecordError(f"{layout.client_key(client)} names client {record.client!r}")
        keys[client] = bytes.fromhex(record.public_key)
    return keys


def clients_with_keys(federation: Store) -> tuple[str, ...]:
    """Returns the names of the clients that have published a key, sorted."""
    return tuple(PurePosixPath(key).stem for key in federation.keys(layout.CLIENT_KEYS))


def known_keys(own: Store) -> dict[str, bytes]:
    """Returns the public keys that a client knows, by client."""
    try:
        record = read_record(own, layout.KNOWN_KEYS, KnownKeysRecord)
    except NotFoundError:
        return {}
    return {client: bytes.fromhex(key) for client, key in record.keys.items()}


def learn_keys(own: Store, published: Mapping[str, bytes]) -> dict[str, bytes]:
    """Keeps the keys of clients that are seen for the first time.

    Args:
        own: The client's own store.
        published: The keys in the federation's store, by client.

    Returns:
        The keys of the published clients.

    Raises:
        fedvsr.errors.RecordError: A client has another key than the known one. The message has both
            fingerprints.
    """
    known = known_keys(own)
    for client, key in published.items():
        if known.get(client, key) != key:
            raise RecordError(
                f"client {client!r} has the key {fingerprint(key)}, known is {fingerprint(known[client])}; "
                "ask its owner, and if the new one is right, approve it: "
                f"`fedvsr clients approve {client}`, or at a site `fedvsr site approve-key {client}`"
            )
    if published.keys() - known.keys():
        _write_known(own, {**known, **published})
    return dict(published)


def approve_key(own: Store, client: str, key: bytes) -> None:
    """Replaces the key that a client knows for another client."""
    _write_known(own, {**known_keys(own), client: key})


def _write_known(own: Store, keys: Mapping[str, bytes]) -> None:
    record = KnownKeysRecord(keys={client: key.hex() for client, key in sorted(keys.items())})
    write_record(own, layout.KNOWN_KEYS, record)
