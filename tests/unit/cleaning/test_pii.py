import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.cleaning.pii import PLACEHOLDERS, is_id_number, mask_pii, passes_luhn

ALL = tuple(PLACEHOLDERS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to joe.doe+x@mail.example.org.", "write to <EMAIL>."),
        ("(a@b.cn)<c@d.com>", "(<EMAIL>)<<EMAIL>>"),
        ("邮箱：zhang@example.com，谢谢", "邮箱：<EMAIL>，谢谢"),
        ("server 8.8.8.8:53 up", "server <IP>:53 up"),
        ("电话13812345678。", "电话<PHONE>。"),
        ("host 2606:4700:4700::1111 and 2001:4860:4860:0:0:0:0:8888.", "host <IP> and <IP>."),
        ("bot 123456789:AA" + "b" * 33, "bot <SECRET>"),
        ("call +86 138-1234-5678 now", "call <PHONE> now"),
        ("身份证11010519491231002X号", "身份证<ID_NUMBER>号"),
        ("card 4111 1111 1111 1111", "card <BANK_CARD>"),
        ("key AKIAIOSFODNN7EXAMPLE!", "key <SECRET>!"),
        ("token ghp_" + "a1B2" * 9, "token <SECRET>"),
        (
            "x\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\ny",
            "x\n<SECRET>\ny",
        ),
    ],
)
def test_masks_by_type(text: str, expected: str) -> None:
    assert mask_pii(text, ALL)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "@decorator\ndef f(): x @ y",
        "user@localhost",
        "version 1.2.3.4.5 at 192.168.0.1, 10.0.0.1, 127.0.0.1, 999.1.1.1",
        "11010519491231002Y 110105194913310021 110105194912310021",
        "4111 1111 1111 1112",
        "std::vector<a::b> at 12:30:45:00:00:00:00, fe80::1, ::1, 2001:db8::1 and cafe::",
        "pi is 3.1415926535897932384626",
        "0.13812345678 and 2138123456789",
        "task-based-risk-assessment and sk-learn",
    ],
)
def test_leaves_lookalikes_alone(text: str) -> None:
    assert mask_pii(text, ALL) == (text, {})


def test_counts_and_kinds() -> None:
    text, found = mask_pii("a@b.com c@d.com 8.8.8.8", ("email",))
    assert (text, found) == ("<EMAIL> <EMAIL> 8.8.8.8", {"email": 2})


@given(st.text(st.sampled_from("0123456789"), min_size=12, max_size=18))
def test_luhn_finds_exactly_one_check_digit(digits: str) -> None:
    passing = [c for c in "0123456789" if passes_luhn(digits + c)]
    assert len(passing) == (0 if set(digits) == {"0"} else 1)


@given(st.integers(100000, 659999), st.dates(), st.integers(0, 999))
def test_id_numbers_have_exactly_one_check_digit(area, born, serial) -> None:
    head = f"{area}{born.year:04d}{born.month:02d}{born.day:02d}{serial:03d}"
    assert sum(is_id_number(head + c) for c in "0123456789X") == 1


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_taken(text: str) -> None:
    masked, found = mask_pii(text, ALL)
    assert (masked == text) == (not found)


def test_a_long_run_without_spaces_is_quick_to_refuse() -> None:
    text = "a" * 1_000_000 + "@" + "b" * 1_000_000 + "@" * 1000
    assert mask_pii(text, ALL)[1] == {}
