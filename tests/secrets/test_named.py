"""Secrets are recognised by what names them, in every form of file; ordinary words stay."""

from __future__ import annotations

import pytest

from modelyard.secrets.detection import redact_secrets
from modelyard.secrets.named import is_named_secret

SECRETS = ("Zq7Xw2Kp9Vn4", "hunter2#blue", "x9Kd-20fq!Lm", "8fj2kd93lsq0")

GIVEN = {
    "a YAML block": "password: |\n  {0}\nafter: 1\n",
    "a folded block": "  apiKey: >-\n    {0}\n  after: 1\n",
    "a block in a list": "- password: |-\n    {0}\n- other: 1\n",
    "the next line": "db:\n  password:\n    {0}\n  user: bob\n",
    "a quoted next line": 'password:\n  "{0}"\n',
    "a YAML list": "passwords:\n  - other-one\n  - {0}\n",
    "a YAML list at the same depth": "passwords:\n- '{0}'\n- x\n",
    "an inline list": "passwords: [{0}, other]\n",
    "a JSON list": '{{"passwords": ["{0}"], "n": 1}}\n',
    "a JSON list of many lines": '{{"passwords": [\n  "first",\n  "{0}"\n]}}\n',
    "a TOML list": 'passwords = ["{0}"]\n',
    "a pair of a manifest": "env:\n  - name: DB_PASSWORD\n    value: {0}\n",
    "a quoted pair": '- name: "API_TOKEN"\n  value: "{0}"\n',
    "a JSON pair": '{{"name": "DB_PASSWORD", "value": "{0}"}}\n',
    "a pair of attributes": '<add key="DbPassword" value="{0}"/>\n',
    "an element": "<password>{0}</password>\n",
    "an element with a prefix": '<db:user-password type="x">\n  {0}\n</db:user-password>\n',
    "a short name": "DB_PASS={0}\n",
    "a shorter name": "pwd={0}\n",
    "a connection": "Server=db;Uid=app;Pwd={0};Database=x\n",
    "an option": "tool --password {0} --now\n",
    "an option with =": "tool --db-password={0}\n",
    "a quoted option": "tool --password '{0}'\n",
    "mysql": "mysql -u root -p{0} shop\n",
    "sshpass": "sshpass -p {0} ssh host\n",
    "curl": "curl -s -u bob:{0} https://api.example.com\n",
    "curl with a long option": "curl --user 'bob:{0}' https://api.example.com\n",
    "a sentence": "My password is {0}.\n",
    "a longer sentence": "The password for the staging database is `{0}`, as ever.\n",
    "a sentence with a colon": "Log in (password: {0}) and go on.\n",
    "a table": "| user | password |\n|---|---|\n| bob | {0} |\n",
    "a table without edges": "user | DB password | note\n--- | :---: | ---\nbob | `{0}` | old\n",
    "a table of values": "user,password\nbob,{0}\n",
}


@pytest.mark.parametrize("form", GIVEN)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_secret_is_replaced_in_every_form(form: str, ends: str) -> None:
    for secret in SECRETS:
        text = GIVEN[form].format(secret).replace("\n", ends)
        shown = redact_secrets(text)
        assert secret[:5] not in shown and secret[-5:] not in shown
        assert "****" in shown
        assert shown.count("\n") == text.count("\n")
        assert shown.split("\n")[0] == text.split("\n")[0] or "****" in shown.split("\n")[0]


KEY = "kQ3v8Zp1Xt6Lw0Rb9Ym4"

KEYS = (
    "AccountName=x;AccountKey={0}aB3/dE5+fG7/hJ9+kL1mN2pQ==;EndpointSuffix=y\n",
    "glpat-{0}a\n",
    "npm_{0}{0}\n",
    "tokens:\n  - {0}\n",
    '{{"tokens": ["{0}"]}}\n',
    "token for the deploy is {0}\n",
    "passwd {0}\n",
    "tool -p{0}\n",
    "tool --api-key {0}\n",
    "| name | API key |\n|---|---|\n| ops | {0} |\n",
    "apiKey: |\n  {0}\n  {0}\n",
)


@pytest.mark.parametrize("text", KEYS)
def test_a_key_is_replaced_where_a_word_would_stay(text: str) -> None:
    shown = redact_secrets(text.format(KEY))
    assert KEY[2:-2] not in shown
    assert shown.count("\n") == text.count("\n")


KEPT = (
    "password = get_password()",
    "password: str = os.environ[name]",
    "token: str",
    "token: string",
    "max_tokens: 256",
    "tokens_per_batch: 2048",
    "tokens: 4k",
    "the password is required",
    "The password is base64-encoded, the token is SHA-256-hashed.",
    "Your password is case-sensitive; a token is valid for 12-hours.",
    "tokens for all-minilm-l6-v2 are counted",
    "tool --password-file secrets/db.txt",
    "tool --password-stdin < file",
    "tool --password PASSWORD --token NAME",
    "tool --token to pass it on",
    "api_key: env:OPENAI_API_KEY",
    "api_key: file:/run/secrets/openai",
    "password: ${DB_PASSWORD}",
    "password: <your password>",
    "mysql -p shop",
    "mkdir -p deep/folder/2026",
    "ssh -p2222 host",
    "docker run -p8080:80 image",
    "secrets:\n  - db_password\n  - tls-cert-2",
    'tokens = ["the", "cat", "##ing", "sat"]',
    '"eos_token": "<|im_end|>"',
    "- name: MAX_TOKENS\n  value: '4096'",
    "- name: password\n  in: query\n  required: true",
    "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db}",
    "token:\n  type: string\n  description: what opens the door",
    "token: |\n  What the service gives to whoever logs in.",
    "<password>${db.password}</password>",
    "mysql -u <user> -p <password>",
    "curl -u user:$TOKEN https://api",
    "| token | meaning |\n|---|---|\n| eos_token | the end |",
    "| key | password |\n|---|---|\n| bob | required |\n| eve | - |",
    "PWD=/home/bob",
    "bypass: cache-2-hot8",
    "pass header=0, verbosity=1 or id2label/label2id",
    "first pass: decided_mask==0",
    "variance = -pi*sigma**2/2",
    "[, passphrase: &lt;string&gt;]",
    "password=********, and more",
    "a token from 19:00 to 20:15",
)


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_secrets(text) == text


CODE = (
    "password = get_password()\n",
    "connect(password=settings.db_password, token=token)\n",
    "def call(token: str, password: str | None = None) -> None: ...\n",
    'parser.add_argument("--password", "-p", help="what opens it")\n',
    'SECRET_KEYS = ["password", "passwd", "api_key2"]\n',
    'name = f"password={word}"\n',
    "db_pass = read_pass(1)\n",
)


@pytest.mark.parametrize("text", CODE)
def test_code_that_handles_secrets_stays(text: str) -> None:
    assert redact_secrets(text, quoted_only=True) == text


@pytest.mark.parametrize(
    "text",
    [
        'DB_PASS = "{0}"\n',
        'PASSWORDS = ["{0}"]\n',
        'connect("Server=db;Pwd={0};")\n',
        'run(["tool", "--password", "{0}"])\n',
        "# the password is {0}\n",
    ],
)
def test_a_secret_in_code_is_replaced(text: str) -> None:
    assert KEY not in redact_secrets(text.format(KEY), quoted_only=True)


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("docs/password-Zq7Xw2Kp9Vn4.txt", True),
        ("docs/api_key=8fj2kd93lsq0/a.md", True),
        ("docs/password-reset-2026.md", False),
        ("docs/token-counting.md", False),
        ("src/secrets_v2/tokens_per_second.py", False),
        ("docs/compass-Zq7Xw2Kp9Vn4.txt", False),
    ],
)
def test_a_path_is_told_when_it_holds_a_secret(path: str, secret: bool) -> None:
    assert is_named_secret(path) is secret
