"""Results come in order, an error comes in its place, and nothing is computed far ahead."""

import threading

import pytest

from fedvsr.video.reading.lookahead import map_ahead


def test_results_come_in_order_from_another_thread():
    threads = set()

    def square(number):
        threads.add(threading.get_ident())
        return number * number

    assert list(map_ahead(square, range(50), ahead=3)) == [number * number for number in range(50)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_of_the_items_comes_after_the_results_before_it():
    def items():
        yield from (1, 2, 3)
        raise ValueError("the source broke")

    results = map_ahead(str, items(), ahead=2)
    assert [next(results) for _ in range(3)] == ["1", "2", "3"]
    with pytest.raises(ValueError, match="the source broke"):
        next(results)


def test_an_error_of_the_function_comes_in_place_of_its_result():
    results = map_ahead(lambda number: 1 // number, [1, 0, 1], ahead=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_only_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    results = map_ahead(str, items(), ahead=2)
    next(results)
    assert taken == [0, 1, 2]
    results.close()
    assert taken == [0, 1, 2]
