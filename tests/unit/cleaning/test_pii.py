import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.cleaning.pii import (
    PLACEHOLDERS,
    is_id_number,
    is_old_id_number,
    mask_pii,
    passes_luhn,
)
from openseek.config.masking import SECRET_KINDS, PiiConfig

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
        ("bot 123456789:AA" + "b" * 33, "bot <SERVICE_TOKEN>"),
        ("call +86 138-1234-5678 now", "call <PHONE> now"),
        ("身份证11010519491231002X号", "身份证<ID_NUMBER>号"),
        ("身份证 110105 19491231 002X", "身份证 <ID_NUMBER>"),
        ("身份证号：110105491231002，", "身份证号：<ID_NUMBER>，"),
        ("公民身份号码\n110105491231002", "公民身份号码\n<ID_NUMBER>"),
        (
            "身份證字號 340524800101001 與 ID No. 650102990228123",
            "身份證字號 <ID_NUMBER> 與 ID No. <ID_NUMBER>",
        ),
        ("card 4111 1111 1111 1111", "card <BANK_CARD>"),
        ("卡号6222021234567890128，", "卡号<BANK_CARD>，"),
        ("amex 3782 822463 10005", "amex <BANK_CARD>"),
        ("邮箱zhang@example.com谢谢", "邮箱<EMAIL>谢谢"),
        ("QQ邮箱12345678@qq.com", "QQ邮箱<EMAIL>"),
        ("13812345678@163.com 13812345678", "<EMAIL> <PHONE>"),
        ("地址8.8.8.8是", "地址<IP>是"),
        ("电话010-12345678，传真0755-8123456-12", "电话010-12345678，传真<PHONE>"),
        ("电话010-62345678。+86-010-62345678", "电话<PHONE>。<PHONE>"),
        ("86-13812345678 008613812345678", "<PHONE> <PHONE>"),
        ("Fax: +49 (89) 926 99 170. Tel +1 212-555-0123", "Fax: <PHONE>. Tel <PHONE>"),
        (
            "call (212) 555-0123 or 1-212-555-0123, 212-555-0199.",
            "call <PHONE> or <PHONE>, <PHONE>.",
        ),
        ("key AKIAIOSFODNN7EXAMPLE!", "key <AWS_KEY>!"),
        ("token ghp_" + "a1B2" * 9, "token <GITHUB_TOKEN>"),
        (
            "x\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\ny",
            "x\n<PRIVATE_KEY>\ny",
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
        "订单110105491231002 order 340524800101001",
        "身份证：160105491231002 身份证：110105491331002 身份证：110105990229002",
        "身份证1101054912310021 身份证号\n\n110105491231002",
        "GRID number 110105491231002 and valid 340524800101001",
        "4111 1111 1111 1112",
        "std::vector<a::b> at 12:30:45:00:00:00:00, fe80::1, ::1, 2001:db8::1 and cafe::",
        "pi is 3.1415926535897932384626",
        "0.13812345678 and 2138123456789",
        "task-based-risk-assessment and sk-learn",
        "<div class='sk-toggleable__label-arrow sk-estimator-doc-link-fitted2'>",
        "logo@2x.png and icon@3x.min.js",
        "version 8.8.8.8, 版本：2.34.1.5, v9.9.9.9",
        "a = b +1 000 000 000 000 and x+12345678901",
        "page 212-555-01234 and 1212-555-0123, ISBN 978-0-306-40615-7",
        "2026-11-22 2026-1122 192.168.1.20:8080",
        "password = os.environ['DB_PASSWORD_FOR_STAGE_01']",
        'api_key = "YOUR_API_KEY_HERE_1234" token: "${{ secrets.GITHUB_TOKEN_2024 }}"',
        'eos_token = "<|endoftext|>", pad_token_id=50256, "tokenizer_class": "GPT2TokenizerFast"',
        "token == 'a8f5f167f44f4964e6c998dee827110c'",
        "secret_sharing_scheme: see https://example.org/a/b/c1d2e3f4a5b6/page.html",
        "postgres://user:password@localhost postgres://user:$PASS@host http://h:80/a@b",
        "eyJhbm90aGVyIjoianNvbiJ9.eyJhbm90aGVyIjoianNvbiJ9.c2lnbmF0dXJl",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY----- is how a key file starts",
    ],
)
def test_leaves_lookalikes_alone(text: str) -> None:
    assert mask_pii(text, ALL) == (text, {})


R = "x7Kq2mVb9TzLw4Rj8NcYp3HdFs6GaE5uQ1oWiXyMkBvZ0tUeJnRhPlDgSf"  # nobody's


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        ("AKIAIOSFODNN7EXAMPLE", "aws_key"),
        ("LTAI5tKq2mVb9TzLw4Rj8Nc1", "alibaba_key"),
        ("ghp_" + R[:36], "github_token"),
        ("github_pat_" + R[:22] + "_" + R[:58], "github_token"),
        ("glpat-" + R[:20], "gitlab_token"),
        ("xoxb-123456789012-123456789012-" + R[:24], "slack_token"),
        ("hooks.slack.com/services/T0AB1CD2E/B0AB1CD2E/" + R[:24], "slack_token"),
        ("AIza" + R[:35], "google_key"),
        ("GOCSPX-" + R[:28], "google_key"),
        ("sk-proj-" + R[:40] + "-_" + R[:30], "model_key"),
        ("sk-ant-api03-" + R[:50], "model_key"),
        ("sk-" + "0a1b2c3d4e5f67" * 2 + "89ab", "model_key"),
        ("hf_" + R[:34], "huggingface_token"),
        ("sk_live_" + R[:24], "stripe_key"),
        ("npm_" + R[:36], "package_token"),
        ("pypi-" + R + R, "package_token"),
        ("SG." + R[:22] + "." + R[:43], "service_token"),
        (
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0."
            "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
            "jwt",
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\n" + (R + "\n") * 3
            + "-----END OPENSSH PRIVATE KEY-----",
            "private_key",
        ),
        ("-----BEGIN PRIVATE KEY-----\\n" + (R + "\\n") * 3 + R[:40], "private_key"),
    ],
)  # fmt: skip
def test_secrets_of_known_issuers_get_their_own_placeholder(secret: str, kind: str) -> None:
    placeholder = PLACEHOLDERS[kind]
    for before, after in (("", ""), ("密钥", "。"), ('key = "', '"'), ("(", ")"), ("é ", " é")):
        masked, found = mask_pii(before + secret + after, ("email", "secret"))
        assert (masked, found) == (before + placeholder + after, {kind: 1})
        assert mask_pii(before + secret + after, (kind,))[1] == {kind: 1}
    others = tuple(k for k in SECRET_KINDS if k not in (kind, "credential"))
    assert mask_pii(secret, others)[1] == {}
    if kind != "private_key":
        assert kind not in mask_pii("X" + secret, ALL)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'api_key = "{R[:32]}"', 'api_key = "<CREDENTIAL>"'),
        (f"export OPENAI_API_KEY={R[:40]}\nnext", "export OPENAI_API_KEY=<CREDENTIAL>\nnext"),
        (f'"client_secret": "{R[:24]}",', '"client_secret": "<CREDENTIAL>",'),
        (f"aws_secret_access_key = {R[:38]}/+", "aws_secret_access_key = <CREDENTIAL>"),
        (f"config['password'] = '{R[:20]}!'", "config['password'] = '<CREDENTIAL>'"),
        (f"Authorization: Bearer {R}", "Authorization: Bearer <CREDENTIAL>"),
        (f"accessToken: '{'0a1b2c3d4e5f6789' * 2}'", "accessToken: '<CREDENTIAL>'"),
        ("postgres://user:s3cr3tpw@db.example.com/x", "postgres://user:<PASSWORD>@db.example.com/x"),
        ("redis://:p%40ss1@10.0.0.1:6379", "redis://:<PASSWORD>@10.0.0.1:6379"),
        (f"API_KEY='ghp_{R[:36]}'", "API_KEY='<GITHUB_TOKEN>'"),
    ],
)  # fmt: skip
def test_only_the_value_of_a_credential_is_masked(text: str, expected: str) -> None:
    assert mask_pii(text, ALL)[0] == expected


def test_secrets_are_chosen_by_kind() -> None:
    config = PiiConfig(kinds={"code": ("jwt",), "foundation": ("secret",)})
    text = f"ghp_{R[:36]} a@b.com"
    assert mask_pii(text, config.of("code")) == (text, {})
    assert mask_pii(text, config.of("foundation"))[0] == "<GITHUB_TOKEN> a@b.com"


PIECES = ["AKIAIOSFODNN7EXAMPLE", "臺", "a", "@", "-", " ", "é", "😀", "1", "x@y.io",
          "://u:pw99@h", "+1 212-555-0123"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_what_is_not_masked_stays_as_it_was(pieces: list[str]) -> None:
    text = "".join(pieces)
    masked, found = mask_pii(text, ALL)
    pattern = "(.*)".join(map(re.escape, re.split("<[A-Z_]+>", masked)))
    assert re.fullmatch(pattern, text, re.DOTALL)
    assert len(re.findall("<[A-Z_]+>", masked)) == sum(found.values())


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


@given(st.text(st.sampled_from("0123456789"), min_size=15, max_size=15))
def test_numbers_without_check_digit_need_a_word_before_them(digits: str) -> None:
    assert mask_pii(f"no. {digits} of", ["id_number"]) == (f"no. {digits} of", {})
    masked = mask_pii(f"身份证：{digits}", ["id_number"])[1] == {"id_number": 1}
    assert masked == is_old_id_number(digits, "身份证：")


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_taken(text: str) -> None:
    masked, found = mask_pii(text, ALL)
    assert (masked == text) == (not found)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000 + "@" + "b" * 1_000_000 + "@" * 1000,
        "-----BEGIN RSA PRIVATE KEY-----\n" * 20_000,
        "1-" * 500_000,
        "+1" * 500_000,
        "token" * 200_000,
        "http://" + "a:" * 300_000 + "@" * 1000,
        "eyJ" * 300_000,
        "::" * 500_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_long_run_is_quick_to_refuse(text: str) -> None:
    assert mask_pii(text, ALL)[1] == {}
