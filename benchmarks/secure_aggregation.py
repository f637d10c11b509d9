"""Compares secure aggregation in fedvsr and Flower (SecAgg+): CPU time, bytes and peak memory.

    python benchmarks/secure_aggregation.py [--clients 40] [--parameters 6 30] [--bits 10]

Both sides aggregate the same vectors of integers below 16, as 4-bit updates are, with the same threshold (two
thirds of the clients). All clients are neighbours of each other. Quantisation is left out on both sides.

- fedvsr: the functions that its clients and its server call; the opened sum is compared with the plain sum.
- Flower: the primitives of SecAgg+ that its workflow and its mod call, in their order, with the workflow's
  default modulus 2^32. One client's vector is masked, and the server adds it as often as there are clients:
  the time of an addition does not depend on the values, and masking all vectors would take an hour.

A client's times are those of one client. The server's are of all clients together, once when all stay to the
end and once when a third drops out after sharing. Flower's server only forwards lists, which costs nothing
here. Bytes are those of the protocol, without the global weights.

Flower is not a dependency. FLOWER_PYTHON names a Python in which it is installed:

    uv venv flower && uv pip install --python flower/bin/python flwr
    FLOWER_PYTHON=flower/bin/python python benchmarks/secure_aggregation.py

Every side and size runs in a separate process, and its imports do not count.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

MAX_VALUE = 15
FLOWER_MODULUS = 1 << 32
MILLION = 1_000_000
CLIENT_PHASES = ("advertise", "share", "mask", "unmask")
SERVER_PHASES = ("lists", "sum", "open, all stay", "open, a third dropped")


class Costs:
    """CPU seconds by phase, and bytes by direction, seen from one client and from the server."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.bytes: dict[str, int] = defaultdict(int)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the CPU time of a block to a phase."""
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start


def make_vector(client: int, length: int) -> np.ndarray:
    """Returns a client's vector, the same on both sides; uint8."""
    return np.random.default_rng(client).integers(0, MAX_VALUE, length, np.uint8, endpoint=True)


def threshold_of(clients: int) -> int:
    """Returns two thirds of the clients, rounded up."""
    return -(-2 * clients // 3)


# fedvsr


def measure_fedvsr(clients: int, length: int, bits: int) -> Costs:
    """Goes through a session of all clients."""
    from fedvsr.privacy.secure_aggregation import client, server
    from fedvsr.privacy.secure_aggregation.client import Participant
    from fedvsr.privacy.secure_aggregation.identity import Identity
    from fedvsr.privacy.secure_aggregation.session import Session
    from fedvsr.privacy.secure_aggregation.session_record import begin_session

    costs = Costs()
    names = tuple(f"client-{number:03d}" for number in range(clients))
    session = Session(
        run="benchmark",
        round=1,
        identifier="1",
        clients=names,
        threshold=threshold_of(clients),
        bits=bits,
        length=length,
        agreement=hashlib.sha256(b"").hexdigest(),
    )
    identities = {name: Identity.generate() for name in names}
    keys = {name: identity.public_key for name, identity in identities.items()}
    records = {name: begin_session(session) for name in names}

    def participant(name: str) -> Participant:
        return Participant(name, identities[name], session, keys, records[name])

    first = names[0]
    with costs.phase("advertise"):
        advertised = {first: client.advertise(participant(first))}
    advertised |= {name: client.advertise(participant(name)) for name in names[1:]}
    with costs.phase("lists"):
        roster = server.make_roster(
            session,
            {name: server.read_advertise(session, keys, name, data) for name, data in advertised.items()},
        )
        roster_bytes = roster.to_bytes()
    with costs.phase("share"):
        records[first] = client.share(participant(first), roster_bytes)
    for name in names[1:]:
        records[name] = client.share(participant(name), roster_bytes)
    shared = {name: record.shares or b"" for name, record in records.items()}
    with costs.phase("lists"):
        table = server.make_share_table(
            session,
            roster,
            {name: server.read_shares(session, keys, roster, name, data) for name, data in shared.items()},
        )
        delivered = {name: table.deliver(name).to_bytes() for name in names}

    dropped = names[clients - clients // 3 :]
    all_stay, third_dropped = server.MaskedSum(table, keys), server.MaskedSum(table, keys)
    for number, name in enumerate(names):
        vector = make_vector(number, length)
        with costs.phase("mask" if name == first else "not counted"):
            masked, records[name] = client.mask(participant(name), roster_bytes, delivered[name], vector)
        with costs.phase("sum"):
            all_stay.add(name, masked)
        if name not in dropped:
            third_dropped.add(name, masked)

    for scenario, masked_sum in (("all stay", all_stay), ("a third dropped", third_dropped)):
        survivors = masked_sum.survivors()
        unmasked = {}
        for name in survivors.clients:
            is_counted = name == first and scenario == "all stay"
            with costs.phase("unmask" if is_counted else "not counted"):
                unmasked[name], _ = client.unmask(
                    participant(name), roster_bytes, delivered[name], survivors.to_bytes()
                )
        with costs.phase(f"open, {scenario}"):
            answers = {
                name: server.read_unmask(table, keys, survivors, name, data)
                for name, data in unmasked.items()
            }
            opened = server.open_sum(table, masked_sum, survivors, answers)
        plain = sum_vectors([names.index(name) for name in survivors.clients], length)
        assert np.array_equal(opened, plain)

    costs.bytes["up"] = sum(map(len, (advertised[first], shared[first], masked, unmasked[first])))
    costs.bytes["down"] = sum(
        map(len, (session.to_bytes(), roster_bytes, delivered[first], survivors.to_bytes()))
    )
    return costs


def sum_vectors(clients: Sequence[int], length: int) -> np.ndarray:
    """Returns the plain sum of the clients' vectors; uint16."""
    total = np.zeros(length, np.uint16)
    for client in clients:
        total += make_vector(client, length)
    return total


# Flower


def measure_flower(clients: int, length: int, bits: int) -> Costs:
    """Calls the primitives of SecAgg+ for all clients, and masks one client's vector."""
    from flwr.common import bytes_to_ndarray, ndarray_to_bytes
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import (
        decrypt,
        encrypt,
        generate_shared_key,
    )
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        parameters_addition,
        parameters_mod,
        parameters_subtraction,
    )
    from flwr.common.secure_aggregation.secaggplus_utils import (
        pseudo_rand_gen,
        share_keys_plaintext_concat,
        share_keys_plaintext_separate,
    )
    from flwr.supercore.primitives.asymmetric import (
        bytes_to_private_key,
        bytes_to_public_key,
        generate_key_pairs,
        private_key_to_bytes,
        public_key_to_bytes,
    )

    costs = Costs()
    threshold, shapes = threshold_of(clients), [(length,)]
    everyone = range(clients)

    def advertise() -> tuple[list[bytes], list[bytes]]:
        pairs = [generate_key_pairs() for _ in range(2)]
        private = [private_key_to_bytes(key) for key, _ in pairs]
        return private, [public_key_to_bytes(key) for _, key in pairs]

    with costs.phase("advertise"):
        keys = [advertise()]
    keys += [advertise() for _ in everyone[1:]]
    private, public = zip(*keys, strict=True)
    seeds = [os.urandom(32) for _ in everyone]
    shares: dict[int, tuple[list[bytes], list[bytes]]] = {}
    sealed: dict[tuple[int, int], bytes] = {}

    def shared_key(key: int, owner: int, peer: int) -> bytes:
        peer_key = bytes_to_public_key(public[peer][key])
        return generate_shared_key(bytes_to_private_key(private[owner][key]), peer_key)

    def share(owner: int) -> None:
        shares[owner] = (
            create_shares(seeds[owner], threshold, clients),
            create_shares(private[owner][0], threshold, clients),
        )
        for holder in everyone:
            if holder != owner:
                pair = (part[holder] for part in shares[owner])
                plain = share_keys_plaintext_concat(owner, holder, *pair)
                sealed[owner, holder] = encrypt(shared_key(1, owner, holder), plain)

    with costs.phase("share"):
        share(0)
    for owner in everyone[1:]:
        share(owner)

    vector = [make_vector(0, length).astype(np.int32)]
    with costs.phase("mask"):
        for peer in everyone[1:]:
            share_keys_plaintext_separate(decrypt(shared_key(1, 0, peer), sealed[peer, 0]))
        vector = parameters_addition(vector, pseudo_rand_gen(seeds[0], FLOWER_MODULUS, shapes))
        for peer in everyone[1:]:
            mask = pseudo_rand_gen(shared_key(0, 0, peer), FLOWER_MODULUS, shapes)
            vector = parameters_subtraction(vector, mask)
        vector = parameters_mod(vector, FLOWER_MODULUS)
        masked = [ndarray_to_bytes(array) for array in vector]
    del mask

    total: list[np.ndarray] = []
    for _ in everyone:
        with costs.phase("sum"):
            received = [bytes_to_ndarray(data) for data in masked]
            total = parameters_addition(total, received) if total else received
    del received
    with costs.phase("sum"):
        total = parameters_mod(total, FLOWER_MODULUS)

    for scenario, count in (("all stay", clients), ("a third dropped", clients - clients // 3)):
        survivors = everyone[:count]
        if scenario == "all stay":
            with costs.phase("unmask"):
                opened = [shares[owner][0][0] for owner in survivors]
        with costs.phase(f"open, {scenario}"):
            result = total
            for owner in everyone:
                is_dropped = owner not in survivors
                secret = combine_shares([shares[owner][is_dropped][holder] for holder in survivors])
                if not is_dropped:
                    mask = pseudo_rand_gen(secret, FLOWER_MODULUS, shapes)
                    result = parameters_subtraction(result, mask)
                    continue
                own_key = bytes_to_private_key(secret)
                # The workflow goes through all neighbours, dropped ones too.
                for peer in everyone:
                    if peer != owner:
                        key = generate_shared_key(own_key, bytes_to_public_key(public[peer][0]))
                        mask = pseudo_rand_gen(key, FLOWER_MODULUS, shapes)
                        combine = parameters_addition if owner > peer else parameters_subtraction
                        result = combine(result, mask)
            result = parameters_mod(result, FLOWER_MODULUS)
        del result, mask

    sent = [sealed[0, holder] for holder in everyone[1:]]
    received_shares = [sealed[owner, 0] for owner in everyone[1:]]
    costs.bytes["up"] = sum(map(len, (*public[0], *sent, *masked, *opened)))
    costs.bytes["down"] = sum(len(key) for pair in public for key in pair) + sum(map(len, received_shares))
    return costs


IMPLEMENTATIONS = {"fedvsr": measure_fedvsr, "Flower": measure_flower}


def measure(name: str, clients: int, length: int, bits: int) -> None:
    """Prints the costs of one side as JSON."""
    costs = IMPLEMENTATIONS[name](clients, length, bits)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": costs.seconds, "bytes": costs.bytes, "memory": memory}))


def compare(clients: int, length: int, bits: int, names: Sequence[str]) -> None:
    """Measures every side in a separate process, and prints a row of times and a row of bytes for each."""
    for name in names:
        python = sys.executable if name == "fedvsr" else os.environ["FLOWER_PYTHON"]
        command = [python, __file__, "measure", name, str(clients), str(length), str(bits)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603
        result = json.loads(output.stdout)
        seconds, size = result["seconds"], result["bytes"]
        client = " | ".join(f"{seconds[phase]:.3f}" for phase in CLIENT_PHASES)
        server = " | ".join(f"{seconds.get(phase, 0):.2f}" for phase in SERVER_PHASES)
        traffic = f"{size['up'] / MILLION:.2f} | {size['down'] / MILLION:.3f}"
        at_server = f"{clients * size['up'] / MILLION:.0f} | {clients * size['down'] / MILLION:.1f}"
        print(
            f"| {name} | {length / MILLION:g} | {client} | {server} | {traffic} | {at_server} "
            f"| {size['up'] / length:.2f} | {result['memory']:.0f} |",
            flush=True,
        )


def main() -> None:
    """Prints a table of both sides for every number of parameters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--parameters", type=float, nargs="+", default=[6, 30], help="in millions")
    parser.add_argument("--bits", type=int, default=0, help="k of fedvsr's modulus 2^k; 0: the least")
    arguments = parser.parse_args()
    bits = arguments.bits or max(8, (MAX_VALUE * arguments.clients).bit_length())
    names = list(IMPLEMENTATIONS) if os.environ.get("FLOWER_PYTHON") else ["fedvsr"]
    if len(names) == 1:
        print("Flower is left out: set FLOWER_PYTHON to a Python in which it is installed.")
    print(f"{arguments.clients} clients, {bits} bits in fedvsr and 32 in Flower; CPU seconds, megabytes\n")
    phases = [f"client: {phase}" for phase in CLIENT_PHASES] + [f"server: {phase}" for phase in SERVER_PHASES]
    traffic = ["MB up", "MB down", "server: MB in", "server: MB out", "B/parameter up", "peak MB"]
    columns = ["", "10^6 parameters", *phases, *traffic]
    print(f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}")
    for millions in arguments.parameters:
        compare(arguments.clients, int(millions * MILLION), bits, names)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
