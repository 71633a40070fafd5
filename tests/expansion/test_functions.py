"""Which functions an atomic cluster expansion has."""

from __future__ import annotations

import pytest

from elmlff_core.errors import ElmlffError
from elmlff_core.expansion.functions import HIGHEST, LOWER, groups_of_functions, largest_degree


def test_the_functions_of_a_low_degree_are_these():
    # Of order one n = 1, 2, 3; of order two n + n' <= 3 with l = 0.
    found = {group.degrees: (group.n + 1).T.tolist() for group in groups_of_functions(1, 3)}
    assert found == {(0,): [[1], [2], [3]], (0, 0): [[1, 1], [1, 2]]}


def test_every_function_is_an_invariant_of_no_more_than_its_degree_and_there_is_none_twice():
    for n_elements, degree in ((1, 10), (2, 7)):
        seen = set()
        for group in groups_of_functions(n_elements, degree):
            order, l_sum = len(group.degrees), sum(group.degrees)
            assert max(group.degrees) <= HIGHEST
            assert l_sum % 2 == 0
            if order == 3:
                assert group.degrees[2] <= group.degrees[0] + group.degrees[1]
            largest = degree - (LOWER if order == 3 else 0)
            assert int((group.n + 1).sum(dim=0).max()) + l_sum <= largest
            assert int(group.elements.max()) == n_elements - 1
            for n, elements in zip(group.n.T.tolist(), group.elements.T.tolist(), strict=True):
                factors = tuple(sorted(zip(group.degrees, n, elements, strict=True)))
                assert factors not in seen
                seen.add(factors)


def test_the_largest_degree_keeps_to_the_limits():
    def size(n_elements: int, degree: int) -> int:
        return sum(map(len, groups_of_functions(n_elements, degree)))

    for n_elements in (1, 2, 4):
        degree = largest_degree(n_elements, 500, 1200)
        assert size(n_elements, degree) <= min(500, 1200 // n_elements) < size(n_elements, degree + 1)
    with pytest.raises(ElmlffError, match="for 40 elements has too many functions: take another meta-model"):
        largest_degree(40, 500, 1200)
