"""The query string of a request: parameters by name, or a refusal."""

import pytest

from runtime.web.problems import ApiError
from runtime.web.query_string import read_parameters


def test_parameters_keep_their_order_and_their_blanks() -> None:
    assert read_parameters(b"a=1&b=&a=%2B+x&c") == {"a": ["1", "+ x"], "b": [""], "c": [""]}


@pytest.mark.parametrize("raw", [b"\xff=1", b"a=%ff", b"a=%C3%28", b"a=%ED%A0%80"])
def test_what_is_not_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_parameters(raw)
    assert caught.value.status == 400


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(ApiError) as caught:
        read_parameters(b"&".join([b"a=1"] * 1001))
    assert caught.value.status == 400
