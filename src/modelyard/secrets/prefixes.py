"""Tokens whose prefix belongs to one provider, whatever letters follow it.

providers.py finds most of them too, but its rules also want a token to look random, which one in
ten random tokens does not.
"""

from __future__ import annotations

_APART = r"(?<![0-9A-Za-z])"
_ALONE = r"(?<![\w-])"
"""Before short prefixes, which also end other words: `live_` in `is_live_...`."""
_TWO_KINDS = r"(?=[a-z_-]{0,99}[0-9A-Z])(?=[A-Z_-]{0,99}[0-9a-z])"
"""Not only lowercase, nor only uppercase: words joined by `_` are names in programs."""

PREFIX_FORMS = (
    ("Azure storage key", "AccountKey=", r"AccountKey=[0-9A-Za-z+/]{86}=="),
    ("Bitbucket app password", "ATBB", rf"{_APART}ATBB{_TWO_KINDS}[0-9A-Za-z]{{28,}}"),
    ("Contentful token", "CFPAT-", rf"{_APART}CFPAT-[\w-]{{40,}}"),
    ("Databricks token", "dapi", rf"{_APART}dapi[0-9a-f]{{32}}(?:-[0-9]+)?(?![0-9A-Za-z])"),
    ("Docker token", "dckr_", rf"{_APART}dckr_[op]at_[\w-]{{20,}}"),
    ("Firecrawl key", "fc-", rf"{_ALONE}fc-[0-9a-f]{{32}}(?![\w-])"),
    ("Fireworks key", "fw_", rf"{_ALONE}fw_{_TWO_KINDS}[0-9A-Za-z]{{22,24}}(?![\w-])"),
    ("Fly.io token", "fm2_", rf"{_ALONE}fm2_[0-9A-Za-z+/]{{60,}}=*"),
    ("GoCardless token", "live_", rf"{_ALONE}live_{_TWO_KINDS}[\w-]{{40}}(?![\w-])"),
    ("Jina key", "jina_", rf"{_ALONE}jina_{_TWO_KINDS}[\w-]{{48,}}"),
    ("New Relic key", "NRAK-", rf"{_APART}NRAK-[0-9A-Z]{{27,}}"),
    ("Postman key", "PMAK-", rf"{_APART}PMAK-[0-9a-f]{{24}}-[0-9a-f]{{34}}"),
    ("Replicate token", "r8_", rf"{_ALONE}r8_{_TWO_KINDS}[0-9A-Za-z]{{37}}(?![\w-])"),
    ("Resend key", "re_", rf"{_ALONE}re_[0-9A-Za-z]{{8}}_{_TWO_KINDS}[0-9A-Za-z]{{24}}(?![\w-])"),
    ("SendGrid key", "SG.", rf"{_APART}SG\.[\w-]{{22}}\.[\w-]{{43}}"),
    ("Sentry token", "sntrys_", rf"{_APART}sntrys_[0-9A-Za-z+/_=-]{{60,}}"),
    ("Slack webhook", "hooks.slack", r"hooks\.slack\.com/services/T\w{8,}/B\w{8,}/[0-9A-Za-z]{24}"),
    ("Stripe test key", "k_test_", rf"{_APART}[rs]k_test_{_TWO_KINDS}[0-9A-Za-z]{{20,}}"),
    ("Supabase key", "sb_secret_", rf"{_APART}sb_secret_{_TWO_KINDS}[\w-]{{28,}}"),
    ("Tailscale key", "tskey-", rf"{_APART}tskey-[a-z]+-[0-9A-Za-z]{{8,}}-[0-9A-Za-z]{{20,}}"),
    ("Typeform token", "tfp_", rf"{_ALONE}tfp_{_TWO_KINDS}[\w-]{{44,}}"),
    ("Vault token", "hv", rf"{_ALONE}hv[bsr]\.{_TWO_KINDS}[\w-]{{24,}}"),
    ("webhook secret", "whsec_", rf"{_APART}whsec_[0-9A-Za-z+/]{{32,}}=*"),
)
"""What each is, a text that it always contains, and its form, as in forms.SECRET_FORMS."""
