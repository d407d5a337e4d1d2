"""Tokens of providers, made when asked for, so that none stands in a file."""

from __future__ import annotations

import random
import string

DIGITS, HEX = string.digits, string.digits + "abcdef"
UPPER, LETTERS = string.ascii_uppercase, string.ascii_letters
ALL = LETTERS + DIGITS
URL = ALL + "-_"
BASE64 = ALL + "+/"

TOKENS: dict[str, list[str | tuple[str, int]]] = {
    "Airtable": ["pat", (ALL, 14), ".", (HEX, 64)],
    "Anthropic": ["sk-", "ant-api03-", (URL, 93), "AA"],
    "Atlassian": ["ATATT3", "xFfGF0", (URL, 180)],
    "AWS": ["AKIA", (UPPER + "234567", 16)],
    "Azure storage": ["AccountKey=", (BASE64, 86), "=="],
    "Bitbucket": ["AT", "BB", (ALL, 32)],
    "Contentful": ["CF", "PAT-", (URL, 43)],
    "Databricks": ["dapi", (HEX, 32)],
    "Databricks, of a workspace": ["dapi", (HEX, 32), "-2"],
    "DigitalOcean": ["dop_", "v1_", (HEX, 64)],
    "Discord": ["M", (ALL, 23), ".", (URL, 6), ".", (ALL, 38)],
    "Discord webhook": ["https://discord.com/api/", "webhooks/", (DIGITS, 18), "/", (URL, 68)],
    "Docker Hub": ["dckr_", "pat_", (URL, 27)],
    "Docker organisation": ["dckr_", "oat_", (URL, 32)],
    "Firecrawl": ["fc", "-", (HEX, 32)],
    "Fireworks": ["fw", "_", (ALL, 24)],
    "Fly.io": ["fm", "2_", (BASE64, 100)],
    "GitHub": ["ghp", "_", (ALL, 36)],
    "GitHub, fine-grained": ["github_", "pat_", (ALL, 22), "_", (ALL, 59)],
    "GitLab": ["glpat", "-", (URL, 20)],
    "GitLab, routable": ["glpat", "-", (URL, 27), ".01.", (HEX, 9)],
    "GitLab, of a pipeline": ["glptt", "-", (HEX, 40)],
    "GoCardless": ["li", "ve_", (URL, 40)],
    "Google": ["AI", "za", (URL, 35)],
    "Google OAuth": ["GOCSPX", "-", (URL, 28)],
    "Grafana": ["glsa", "_", (ALL, 32), "_", (HEX, 8)],
    "Groq": ["gsk", "_", (ALL, 52)],
    "Hugging Face": ["hf", "_", (LETTERS, 34)],
    "Jina": ["ji", "na_", (HEX, 32), (ALL, 28)],
    "JWT": ["eyJhbGciOiJIUzI1NiJ9", ".eyJ", (URL, 60), ".", (URL, 43)],
    "LangSmith": ["lsv2_", "pt_", (HEX, 32), "_", (HEX, 10)],
    "Mailchimp": [(HEX, 32), "-us21"],
    "Mailgun": ["key", "-", (HEX, 32)],
    "New Relic": ["NR", "AK-", (UPPER + DIGITS, 27)],
    "npm": ["npm", "_", (ALL, 36)],
    "OpenAI": ["sk-", (ALL, 20), "T3Blbk", "FJ", (ALL, 20)],
    "OpenAI, of a project": ["sk-", "proj-", (URL, 74), "T3Blbk", "FJ", (URL, 74)],
    "OpenRouter": ["sk-", "or-v1-", (HEX, 64)],
    "Postman": ["PMAK", "-", (HEX, 24), "-", (HEX, 34)],
    "private key": ["-----BEGIN ", "PRIVATE KEY-----\n", (BASE64, 64),
                    "\n-----END PRIVATE KEY-----"],
    "Pulumi": ["pul", "-", (HEX, 40)],
    "PyPI": ["pypi-", "AgEIcHlwaS5vcmc", (URL, 150)],
    "Replicate": ["r8", "_", (ALL, 37)],
    "Resend": ["re", "_", (ALL, 8), "_", (ALL, 24)],
    "SendGrid": ["SG", ".", (URL, 22), ".", (URL, 43)],
    "Sentry": ["sn", "trys_", (BASE64, 100)],
    "Shopify": ["shpat", "_", (HEX, 32)],
    "Slack": ["xox", "b-", (DIGITS, 12), "-", (DIGITS, 13), "-", (ALL, 24)],
    "Slack app": ["xapp", "-1-A", (UPPER, 10), "-", (DIGITS, 13), "-", (HEX, 64)],
    "Slack webhook": ["https://hooks.slack.com/", "services/T", (UPPER, 8), "/B", (UPPER, 10), "/",
                      (ALL, 24)],
    "Square": ["EA", "AA", (URL, 60)],
    "Square secret": ["sq0", "csp-", (URL, 43)],
    "Stripe": ["sk", "_live_", (ALL, 24)],
    "Stripe, long": ["sk", "_live_51", (ALL, 97)],
    "Stripe, restricted": ["rk", "_live_", (ALL, 24)],
    "Stripe, test": ["sk", "_test_", (ALL, 24)],
    "Stripe, of a webhook": ["wh", "sec_", (BASE64, 32)],
    "Supabase": ["sb_", "secret_", (URL, 22), "_", (URL, 8)],
    "Tailscale": ["ts", "key-auth-", (ALL, 12), "CNTRL-", (ALL, 32)],
    "Telegram": ["123", (DIGITS, 6), ":AA", (URL, 33)],
    "Terraform": [(ALL, 14), ".atlas", "v1.", (URL, 64)],
    "Twilio": ["SK", (HEX, 32)],
    "Typeform": ["tf", "p_", (URL, 44), "_", (ALL, 14)],
    "Vault": ["hv", "s.", (URL, 90)],
    "Vault, short": ["hv", "s.", (ALL, 24)],
}  # fmt: skip


def made(provider: str, seed: int = 0) -> str:
    """A token of a provider's form."""
    draw = random.Random(f"{provider} {seed}")
    return "".join(
        part if isinstance(part, str) else "".join(draw.choices(part[0], k=part[1]))
        for part in TOKENS[provider]
    )
