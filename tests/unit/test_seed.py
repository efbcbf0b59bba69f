"""Seeded customers are plausible and the same every time."""

import pytest

from runtime.dev.seed import make_customers


def test_the_same_seed_makes_the_same_people() -> None:
    assert list(make_customers(50, seed=7)) == list(make_customers(50, seed=7))
    assert list(make_customers(50, seed=7)) != list(make_customers(50, seed=8))


def test_more_customers_begin_with_the_same_ones() -> None:
    assert list(make_customers(100))[:40] == list(make_customers(40))


def test_every_customer_has_an_id_of_its_own_and_an_address() -> None:
    made = list(make_customers(2_000))

    assert len({customer["external_id"] for customer in made}) == 2_000
    assert all("@example.com" in str(customer["email"]) for customer in made)


@pytest.mark.parametrize("field", ["phone", "companyName"])
def test_optional_fields_are_sometimes_absent(field: str) -> None:
    given = sum(field in customer for customer in make_customers(500))

    assert 0 < given < 500
