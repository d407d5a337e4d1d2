"""Which commands only read the project, and which change it: each is in one of these, once.

A command that reads works where nothing can be written: on a disk that is full or mounted
read-only, and for a user who may only read. `tests/cli/test_reading_commands.py` runs each of them
that way. By the function of the command, as in the table of commands.
"""

from __future__ import annotations

READS = frozenset(
    {
        "ab:status",
        "adapters.active:history",
        "adapters.diff:diff",
        "adapters.remote:list_remote",
        "adapters.remote:registry",
        "adapters.remote:show_remote",
        "adapters.show:list_adapters",
        "adapters.show:show_adapter",
        "adapters.verify:verify",
        "audit:export",
        "audit:head",
        "audit:verify",
        "backup_overview:diff",
        "backup_overview:list_snapshots",
        "backup_overview:show_snapshot",
        "backup_verify:verify",
        "base:list_bases",
        "base:show_base",
        "base_check:check_bases",
        "budgets:budgets",
        "compare:compare",
        "config:diff",
        "config:explain",
        "config:schema",
        "config_review:review",
        "config_show:show",
        "deployments:deployments",
        "doctor:doctor",
        "feedback_list:list_feedback",
        "index:index_status",
        "keys:list_keys",
        "mcp:mcp",
        "monitor:monitor",
        "prices:check",
        "providers:check",
        "providers_compare:compare",
        "report:report",
        "route:explain_route",
        "schedule:show",
        "search:search",
        "validate_config:validate_config",
    }
)
ANSWERS = frozenset(
    {
        "ask:ask",
        "evaluate:evaluate",
        "generate:generate",
        "performance_test:performance_test",
    }
)
"""They read, and keep what they measured; where nothing can be written they say so, and answer."""
CHANGES = frozenset(
    {
        "ab:stop",
        "adapters.active:promote",
        "adapters.active:rollback",
        "adapters.export:export",
        "adapters.gc:gc",
        "adapters.gc:pin",
        "adapters.gc:unpin",
        "adapters.import_:import_adapter",
        "adapters.registry:pull",
        "adapters.registry:push",
        "adapters.remote:tag_remote",
        "adapters.remote:untag_remote",
        "adapters.remote_upkeep:delete_remote",
        "adapters.remote_upkeep:prune_remote",
        "backup:backup",
        "backup_upkeep:copy",
        "backup_upkeep:prune",
        "backup_verify:drill",
        "base:pull_base",
        "config_import:import_config",
        "config_remove:remove",
        "deploy_config:deploy_config",
        "feedback:add_feedback",
        "feedback_list:withdraw",
        "fine_tune:fine_tune",
        "init:init",
        "keys:create",
        "keys:revoke",
        "keys:rotate",
        "org:forget",
        "prepare_data:prepare_data",
        "restore:restore",
        "sharing:sharing",
        "schedule:install",
        "schedule:remove",
        "serve:serve",
        "switch_config:switch_config",
        "update_embeddings:update_embeddings",
    }
)
"""With `--dry-run` they only read as well."""
