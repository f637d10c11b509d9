"""The random choice of a round's clients."""

from hypothesis import given
from hypothesis import strategies as st

from fedvsr.federation.sampling import derived_seed, select_clients

CLIENTS = tuple(f"client-{index}" for index in range(10))
NAMES = st.lists(st.text("abc-09", min_size=1, max_size=5), min_size=1, max_size=12, unique=True)


@given(
    names=NAMES,
    count=st.integers(0, 15),
    seed=st.integers(0, 99),
    round_number=st.integers(1, 99),
    data=st.data(),
)
def test_a_selection_is_a_function_of_the_set_of_clients_the_run_the_seed_and_the_round(
    names, count, seed, round_number, data
):
    selected = select_clients(tuple(names), count, "run", seed, round_number)
    order = data.draw(st.permutations(names))
    assert select_clients(tuple(order), count, "run", seed, round_number) == selected
    assert list(selected) == sorted(set(selected))
    assert set(selected) <= set(names)
    assert len(selected) == (min(count, len(names)) if count else len(names))


def selections(run: str = "run", seed: int = 0) -> list[tuple[str, ...]]:
    return [select_clients(CLIENTS, 3, run, seed, round_number) for round_number in range(1, 41)]


def test_all_clients_are_drawn_about_equally_often():
    drawn = [client for selection in selections() for client in selection]
    counts = [drawn.count(client) for client in CLIENTS]
    # 120 places for 10 clients, so 12 each on average with a standard deviation of 2.9.
    assert min(counts) >= 3
    assert max(counts) <= 21


def test_another_run_or_seed_draws_other_clients():
    assert len({tuple(drawn) for drawn in (selections(), selections("other"), selections(seed=1))}) == 3


def test_the_same_clients_are_drawn_on_every_machine_and_version():
    # A run must draw the same clients after an upgrade. These are the first eight digits of
    # printf demo/0/1/ann | sha256sum, and the choice of NumPy's generator with such a seed.
    assert derived_seed("demo", 0, 1, "ann") == 0xB4C8BDC1
    assert select_clients(CLIENTS, 3, "demo", 0, 1) == ("client-3", "client-5", "client-9")


def test_clients_and_rounds_have_different_seeds():
    seeds = {
        derived_seed("run", 0, round_number, client)
        for round_number in range(1, 30)
        for client in ("", *CLIENTS)
    }
    assert len(seeds) == 29 * 11
