"""Placeholders and references of other programs: refused, with the form that is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport, secret_lines
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.shape import check_shape
from modelyard.core.layout import Project
from modelyard.secrets.references import NoUsableEndpoint

MODEL = """\
description: A model behind an endpoint
provider: openai_compatible
endpoint: {endpoint}
model: {model}
api_key: {key}
context_tokens: 8k
max_output_tokens: 1k
prices: {{input_per_million: $1, output_per_million: $1}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "configs" / "language_models").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    return Project(tmp_path)


def check(
    project: Project,
    *,
    endpoint: str = "https://api.example.com/v1",
    model: str = "llama3:8b",
    key: str = "env:SOME_KEY",
) -> CheckReport:
    path = project.configs / "language_models" / "own.yaml"
    path.write_text(MODEL.format(endpoint=endpoint, model=model, key=key))
    return check_configs(ConfigCatalogue(project), [path], strict=True)


def test_what_is_written_out_is_valid(project: Project) -> None:
    assert check(project).findings == ()


@pytest.mark.parametrize(
    "model",
    [
        *("${MODEL}", "$MODEL", "os.environ/MODEL", '"{{ env.M }}"', "<YOUR_MODEL>", "env:MODEL"),
        *("x-${TAG:-latest}", "'%MODEL%'", "your-model-here", "org/<model name>", "CHANGE_ME"),
        *("'{MODEL}'", "'@MODEL@'", "'%(MODEL)s'", "'#{MODEL}#'", "$[MODEL]", "$env:MODEL"),
        *("<% MODEL %>", "__MODEL__", "((model))", "os.getenv('M')", "ENV['M']", "replace-me"),
        *("'[[MODEL]]'", "ref+vault://kv/model", "your-model-name", "org/your-model", "tbd"),
        *("your_model_here", "INSERT_MODEL", "TODO", "xxx", "gpt-...", "change-me", "TBD"),
        *("my-model-name-here", "org/model_goes_here"),
    ],
)
def test_a_placeholder_is_no_model(project: Project, model: str) -> None:
    [finding] = check(project, model=model).findings
    assert (finding.code, finding.where) == ("placeholder", "configs/language_models/own.yaml:4:1")
    assert "environments:" in (finding.hint or "")


@pytest.mark.parametrize(
    "model",
    [
        *("gpt-4.1", "meta-llama/Llama-3", "a$1", "m@sha256:0a", "envoy", "ft:gpt-4o:org::9x"),
        *("bring-your-own", "org/yourmodel", "tbd2-chat"),
        *("hf.co/a/b:Q4_K_M", "todo-model", "my__model__v2", "accounts/x/models/y", "xx-large"),
    ],
)
def test_odd_names_of_models_are_no_placeholders(project: Project, model: str) -> None:
    assert check(project, model=model).findings == ()


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        ("https://${HOST}/v1", "placeholder"),
        ("https://<host>/v1", "placeholder"),
        ('"{{ env.URL }}"', "placeholder"),
        ("https://your-resource.openai.azure.com/openai/v1", "placeholder"),
        ("https://api.example.com:99999/v1", "wrong-form"),
        ("https://api.example.com:0/v1", "wrong-form"),
        ("https://api.example.com:http/v1", "wrong-form"),
    ],
)
def test_an_endpoint_that_leads_nowhere_is_refused(
    project: Project, endpoint: str, code: str
) -> None:
    [finding] = check(project, endpoint=endpoint).findings
    assert finding.code == code


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("https://h/v1/models/", "https://h/v1"),
        ("https://h/v1/embeddings", "https://h/v1"),
        ("https://h/api/chat", "https://h/v1"),
        ("https://h.azure.com/models", None),
        ("https://h/messages/v1", None),
    ],
)
def test_the_url_of_one_call_is_no_endpoint(
    project: Project, monkeypatch: pytest.MonkeyPatch, endpoint: str, base: str | None
) -> None:
    found = check(project, endpoint=endpoint).findings
    assert [finding.hint for finding in found] == ([f"write the base URL, {base}"] if base else [])
    monkeypatch.setenv("LLM_URL", endpoint)
    shown = next(secret_lines(check(project, endpoint="env:LLM_URL")))
    assert ("no usable URL" in shown) is bool(base)


@pytest.mark.parametrize("written", ["http://llm.example.com/v1", "env:LLM_URL"])
def test_a_key_over_http_is_warned_of_wherever_the_url_comes_from(
    project: Project, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("LLM_URL", "http://llm.example.com/v1")
    (finding,) = check(project, endpoint=written).findings
    assert (finding.code, finding.level) == ("plain-http", "warning")


def test_an_endpoint_without_its_scheme_is_shown_with_one(project: Project) -> None:
    [finding] = check(project, endpoint="localhost:8000/v1").findings
    assert finding.hint == "write http://localhost:8000/v1, or https://localhost:8000/v1"


@pytest.mark.parametrize(
    ("text", "unseen"),
    [
        ('"llama3 "', "a space at its end"),
        ('" llama3"', "a space at its beginning"),
        (r'"lla\x07ma"', "U+0007"),
        (r'"lla\u202ema"', "U+202E, right-to-left override"),
        (r'"lla\u200bma"', "U+200B, zero width space"),
        (r'"lla\u00ADma"', "U+00AD, soft hyphen"),
    ],
)
def test_what_nobody_sees_is_no_part_of_a_model(project: Project, text: str, unseen: str) -> None:
    [finding] = check(project, model=text).findings
    assert finding.code == "wrong-form"
    assert unseen in (finding.hint or "")


@pytest.mark.parametrize("host", ["h:65535", "[::1]:8000", "localhost", "10.0.0.1:1"])
def test_other_hosts_and_ports_are_taken(project: Project, host: str) -> None:
    assert check(project, endpoint=f"https://{host}/v1").findings == ()


def own_model(project: Project) -> LanguageModel:
    catalogue = ConfigCatalogue(project)
    [path] = catalogue.paths("language_models")
    model: LanguageModel = check_shape(catalogue.read(path)).settings["production"]
    return model


def test_an_endpoint_of_the_environment_is_shown_and_used(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_URL", "https://llm.example.com/v1")
    monkeypatch.setenv("SOME_KEY", "never shown")
    report = check(project, endpoint="env:LLM_URL")
    assert report.findings == ()
    place = "configs/language_models/own.yaml"
    assert list(secret_lines(report)) == [
        f"env:LLM_URL: https://llm.example.com/v1 (named in {place}:3:1)",
        f"env:SOME_KEY: set (named in {place}:5:1)",
    ]
    model = own_model(project)
    assert model.url == "https://llm.example.com/v1"
    assert model.needs_network


@pytest.mark.parametrize(
    "url",
    [
        *("", "api.example.com", "https://me:pass@host/v1", "sk-secret", "not a url", "ftp://x"),
        *("https://x/v1?key=abc", "https://${HOST}/v1", "https://h:99999/v1"),
    ],
)
def test_an_environment_without_a_url_is_said_and_not_repeated(
    project: Project, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LLM_URL", url)
    report = check(project, endpoint="env:LLM_URL")
    lines = list(secret_lines(report))
    said = "set, and no usable URL" if url else "not set"
    assert lines[0].startswith(f"env:LLM_URL: {said} ")
    warnings = [each for each in report.findings if "env:LLM_URL" in each.message]
    assert [each.level for each in warnings] == (["warning"] if url else [])
    assert not url or url not in warnings[0].message
    with pytest.raises(NoUsableEndpoint) as refused:
        _ = own_model(project).url
    assert not url or url not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("MY_KEY", "env:MY_KEY"),
        ("${MY_KEY}", "env:MY_KEY"),
        ("$MY_KEY", "env:MY_KEY"),
        ("os.environ/MY_KEY", "env:MY_KEY"),
        ("env.MY_KEY", "env:MY_KEY"),
        ("ENV:MY_KEY", "env:MY_KEY"),
        ('"{{ env.MY_KEY }}"', "env:MY_KEY"),
        ("op://vault/item/key", "env:MY_KEY"),
        ("vault:secret/data/llm#key", "env:MY_KEY"),
        ("arn:aws:secretsmanager:us-east-1:123:secret:llm", "env:MY_KEY"),
        ("'{env:MY_KEY}'", "env:MY_KEY"),
        ("env://MY_KEY", "env:MY_KEY"),
        ("$env:MY_KEY", "env:MY_KEY"),
        ("os.getenv('MY_KEY')", "env:MY_KEY"),
        ("os.environ.get('MY_KEY')", "env:MY_KEY"),
        ("System.getenv('MY_KEY')", "env:MY_KEY"),
        ("ENV['MY_KEY']", "env:MY_KEY"),
        ("${{ secrets.MY_KEY }}", "env:MY_KEY"),
        ("((MY_KEY))", "env:MY_KEY"),
        ("${MY_KEY:-none}", "env:MY_KEY"),
        ("my_api_key", "env:MY_API_KEY"),
        ("YOUR_API_KEY", "env:MY_KEY"),
        ("'{{resolve:secretsmanager:x}}'", "env:MY_KEY"),
        ("'${sops:path.key}'", "env:MY_KEY"),
        ("ref+awsssm://path/key", "env:MY_KEY"),
        ("bao:kv/llm", "env:MY_KEY"),
        ("doppler:MY_KEY", "env:MY_KEY"),
        ("'@Microsoft.KeyVault(SecretUri=https://x/y)'", "env:MY_KEY"),
        ("'$ANSIBLE_VAULT;1.1;AES256'", "env:MY_KEY"),
        ("aws-sm:llm", "env:MY_KEY"),
        ("pass:openai/key", "env:MY_KEY"),
        ("secret:openai", "env:MY_KEY"),
        ("cmd:cat key", "env:MY_KEY"),
        ("envvar:MY_KEY", "env:MY_KEY"),
        ("EMPTY", "env:MY_KEY, or leave it out where the server wants no key"),
        ("not-needed", "env:MY_KEY, or leave it out where the server wants no key"),
        ("sk-no-key-required", "env:MY_KEY, or leave it out where the server wants no key"),
        ("/run/secrets/llm", "file:/run/secrets/llm"),
        ("'@/run/secrets/llm'", "file:/run/secrets/llm"),
        ("$(cat /run/secrets/llm)", "file:/run/secrets/llm"),
        ("'{{ lookup(env,MY_KEY) }}'", "env:MY_KEY"),
        ("""\"{{ lookup('env', 'MY_KEY') | default('') }}\"""", "env:MY_KEY"),
        ("""\"{{ lookup('file', '/run/secrets/llm') }}\"""", "env:MY_KEY"),
        ("""\"{{ env_var('MY_KEY') }}\"""", "env:MY_KEY"),
        ("{env: MY_KEY}", "env:MY_KEY"),
        ("{valueFrom: {secretKeyRef: {name: llm, key: api-key}}}", "env:MY_KEY"),
        ("{from_env: MY_KEY}", "env:MY_KEY"),
        ("{file: /run/secrets/llm}", "file:/run/secrets/llm"),
        ("ENC[AES256_GCM,data:Tr7oa9x8Kq2LmZpR4vBn,iv:1A=,tag:g=,type:str]", "env:MY_KEY"),
    ],
)
def test_another_programs_reference_is_no_secret(project: Project, key: str, wanted: str) -> None:
    [finding] = check(project, key=key).findings
    assert finding.code in ("wrong-form", "wrong-type")
    assert finding.hint == f"write {wanted}"


def test_a_placeholder_is_shown_whole(project: Project) -> None:
    for model in ("${{ vars.MODEL }}", "os.environ/MODEL"):
        [finding] = check(project, model=model).findings
        assert f"is a placeholder, {model}, and" in finding.message


def test_a_file_in_the_home_folder_is_a_reference(project: Project) -> None:
    assert check(project, key="file:~/no-such-key").findings == ()


@pytest.mark.parametrize("prefix", ["", "vault:", "op://"])
def test_a_secret_is_still_one(project: Project, prefix: str) -> None:
    secret = "sk-ant-" + "api03-Zq8" * 6
    report = check(project, key=f"{prefix}{secret}")
    assert "inline-secret" in {finding.code for finding in report.findings}
