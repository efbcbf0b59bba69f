"""What each field takes and refuses, from raw JSON."""

import msgspec
import pytest
from msgspec import UNSET, Raw

from command_side.fields import Reading, read_changes


def read(text: str) -> Reading:
    """Read a request's members."""
    return read_changes(msgspec.json.decode(text.encode(), type=dict[str, Raw]))


def code_of(text: str) -> list[tuple[str, str, str | None]]:
    """Field, code and pointer of every error."""
    return [(error.field, error.code, error.pointer) for error in read(text).errors]


@pytest.mark.parametrize(
    "email",
    [
        "jane@example.com",
        "jane@shop.test",
        "Jane.Doe+tag@Example.COM",
        "jöhn@exämple.com",
        "a" * 64 + "@example.com",
        "o'neil@example.com",
        "o'neil@shop.test",
        "jöhn@shop.local",
        "john@shop。test",
    ],
)
def test_an_email_is_kept_as_sent(email: str) -> None:
    assert read(msgspec.json.encode({"email": email}).decode()).changes.email == email


@pytest.mark.parametrize(
    "email",
    [
        "x",
        "a@b",
        "@example.com",
        "a b@example.com",
        "a@example..com",
        "a@-x.com",
        "a@127.0.0.1",
        "a@x.123",
    ],
)
def test_a_malformed_email_is_refused(email: str) -> None:
    text = msgspec.json.encode({"email": email}).decode()
    assert code_of(text) == [("email", "invalid_email", "/email")]


def test_an_email_has_at_most_254_characters() -> None:
    domain = ".".join(["d" * 60] * 3)
    assert read(f'{{"email":"{"a" * 60}@{domain}.example"}}').errors == ()
    long = f"{'a' * 64}@{domain}.{'e' * 30}"
    assert code_of(f'{{"email":"{long}"}}') == [("email", "too_long", "/email")]


@pytest.mark.parametrize("phone", ["+15550001234", "+4930123456", "+12", "+123456789012345"])
def test_a_phone_is_e164_by_shape(phone: str) -> None:
    assert read(f'{{"phone":"{phone}"}}').changes.phone == phone


@pytest.mark.parametrize(
    "phone",
    [
        "15550001234",
        "+05550001234",
        "+1",
        "+1234567890123456",
        "+1 555",
        "+1555\u0660",
        "+15550001234 ",
    ],
)
def test_any_other_phone_is_refused(phone: str) -> None:
    assert code_of(f'{{"phone":"{phone}"}}') == [("phone", "invalid_phone", "/phone")]


@pytest.mark.parametrize("blank", ['""', '"  "', "null"])
def test_a_blank_email_or_phone_counts_as_absent(blank: str) -> None:
    changes = read(f'{{"email":{blank},"phone":{blank}}}').changes
    assert (changes.email, changes.phone) == (None, None)


def test_both_spellings_are_taken_and_must_not_differ() -> None:
    assert read('{"firstName":"A","last_name":"B"}').changes.first_name == "A"
    assert read('{"firstName":"A","first_name":"A"}').errors == ()
    assert code_of('{"firstName":"A","first_name":"B"}') == [
        ("first_name", "two_spellings", "/first_name")
    ]


@pytest.mark.parametrize(
    ("field", "limit"),
    [("firstName", 300), ("last_name", 300), ("companyName", 500), ("external_id", 255)],
)
def test_texts_have_a_longest_length(field: str, limit: int) -> None:
    assert read(f'{{"{field}":"{"é" * limit}"}}').errors == ()
    assert code_of(f'{{"{field}":"{"é" * (limit + 1)}"}}') == [(field, "too_long", f"/{field}")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"external_id":3}', "wrong_type"),
        ('{"external_id":""}', "too_short"),
        ('{"external_id":"a\\u0007"}', "control_character"),
        ('{"firstName":"a\\nb"}', "control_character"),
        ('{"email":true}', "wrong_type"),
        ('{"tags":"vip"}', "wrong_type"),
        ('{"custom_fields":[]}', "wrong_type"),
        ('{"custom_fields":"x"}', "wrong_type"),
        ('{"communication_preferences":true}', "wrong_type"),
    ],
)
def test_values_are_never_coerced(text: str, code: str) -> None:
    assert [error.code for error in read(text).errors] == [code]


def test_tags_are_trimmed_and_doubles_dropped_keeping_the_first() -> None:
    assert read('{"tags":[" VIP ","gold","vip","Gold"]}').changes.tags == ("VIP", "gold")
    wide = '{"tags":["\\u00a0vip","VIP\\u3000","\\u2003gold\\u2028"]}'
    assert read(wide).changes.tags == ("vip", "gold")


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ('["a","  "]', "too_short"),
        ('["a","b,c"]', "forbidden_comma"),
        ('["a","\\tb"]', "control_character"),
        ('["a",1]', "wrong_type"),
        ('["a","' + "x" * 101 + '"]', "too_long"),
    ],
)
def test_a_bad_tag_is_pointed_at(tags: str, code: str) -> None:
    assert code_of(f'{{"tags":{tags}}}') == [("tags", code, "/tags/1")]


def test_at_most_100_tags() -> None:
    tags = [f"t{n}" for n in range(101)]
    assert code_of(msgspec.json.encode({"tags": tags}).decode()) == [("tags", "too_many", "/tags")]


def test_custom_values_keep_their_text_and_order() -> None:
    sent = '{"z":1.10,"a":{"y":[1, 2e5],"b":12345678901234567890123}}'
    fields = read(f'{{"custom_fields":{sent}}}').changes.custom_fields
    assert fields is not None
    assert fields is not UNSET
    assert (
        msgspec.json.encode(fields) == b'{"z":1.10,"a":{"y":[1,2e5],"b":12345678901234567890123}}'
    )


def test_a_custom_value_is_the_same_however_its_strings_are_escaped() -> None:
    spellings = (r'{"d":["\u00e9\/","\"\\\t"]}', '{"d":["é/", "\\u0022\\u005c\\u0009"]}')
    plain = {
        msgspec.json.encode(read(f'{{"custom_fields":{{"c":{sent}}}}}').changes)
        for sent in spellings
    }
    assert plain == {r'{"custom_fields":{"c":{"d":["é/","\"\\\t"]}}}'.encode()}


def test_preferences_are_booleans_of_known_channels() -> None:
    sent = '{"communication_preferences":{"sms":true,"do_not_disturb":null}}'
    assert read(sent).changes.communication_preferences == {"sms": True, "do_not_disturb": None}
    assert code_of('{"communication_preferences":{"fax":true}}') == [
        ("communication_preferences", "unknown_key", "/communication_preferences/fax")
    ]
    assert code_of('{"communication_preferences":{"sms":"true"}}') == [
        ("communication_preferences", "wrong_type", "/communication_preferences/sms")
    ]


def test_unknown_members_are_named_and_server_owned_ones_cannot_be_set() -> None:
    reading = read('{"email":"a@b.test","id":"x","created_at":"y","vatId":"z"}')
    assert reading.unknown == ("id", "created_at", "vatId")
    assert reading.changes == read('{"email":"a@b.test"}').changes


def test_all_errors_come_at_once() -> None:
    sent = (
        '{"email":"x","phone":"y","external_id":3,"tags":["","a,b",5],'
        '"communication_preferences":{"fax":true,"sms":"yes"}}'
    )
    assert [pointer for _, _, pointer in code_of(sent)] == [
        "/email",
        "/phone",
        "/external_id",
        "/tags/0",
        "/tags/1",
        "/tags/2",
        "/communication_preferences/fax",
        "/communication_preferences/sms",
    ]
