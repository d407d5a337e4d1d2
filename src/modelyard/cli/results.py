"""What each command prints with `--json`: its result classes, and the JSON Schema of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import GenericAlias
from typing import Any, Union

from modelyard.results.schema import build_result_schema
from modelyard.settings.json_schema import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """One form of what a command prints."""

    place: str
    """The result class, as `module:class` below modelyard."""
    is_list: bool
    """Whether a list of such results is printed."""
    when: str
    """The options with which it is printed, where they decide it."""

    def load(self) -> Any:
        """The type that is printed."""
        module, name = self.place.split(":")
        result = getattr(import_module(f"modelyard.{module}"), name)
        return GenericAlias(tuple, (result, ...)) if self.is_list else result


def _one(place: str, when: str = "") -> Printed:
    return Printed(place=place, is_list=False, when=when)


def _list(place: str, when: str = "") -> Printed:
    return Printed(place=place, is_list=True, when=when)


# By the function of the command, as in the table of commands.
RESULTS: Mapping[str, tuple[Printed, ...]] = {
    "restore:restore": (
        _one("backup.restore:Restored"),
        _one("backup.in_place:RestoredInPlace", "--in-place or --undo"),
        _one("cli.restore:ReplacedDiscarded", "--discard-replaced"),
    ),
    "backup:backup": (_one("backup.snapshot:SnapshotResult"),),
    "backup_overview:list_snapshots": (_one("backup.overview:RepositoryShown"),),
    "backup_overview:show_snapshot": (_one("backup.overview:SnapshotShown"),),
    "backup_overview:diff": (_one("backup.overview:SnapshotsDiff"),),
    "backup_verify:verify": (_one("backup.verify:VerifiedRepository"),),
    "backup_verify:drill": (_one("backup.drill:DrillResult"),),
    "backup_upkeep:prune": (_one("backup.prune:PruneResult"),),
    "backup_upkeep:copy": (_one("backup.copying:CopyResult"),),
    "keys:create": (_one("cli.keys:KeyMade"),),
    "keys:list_keys": (_list("answering.money.key_report:KeyReport"),),
    "keys:revoke": (_one("cli.keys:KeyRevoked"),),
    "keys:rotate": (_one("cli.keys:KeyMade"),),
    "audit:verify": (_one("cli.audit:AuditVerified"),),
    "config_import:import_config": (_one("cli.config_import:ConfigImported"),),
    "base:list_bases": (_list("cli.base:BaseRow"),),
    "base:show_base": (_one("cli.base:BaseShown"),),
    "base_check:check_bases": (_list("weights.newer:BaseRevision"),),
    "base:pull_base": (_one("cli.base:BasePulled"),),
    "adapters.show:list_adapters": (_one("adapters.overview:Overview"),),
    "adapters.show:show_adapter": (_one("cli.adapters.show:VersionShown"),),
    "adapters.active:promote": (_one("cli.adapters.active:ActiveVersionChange"),),
    "adapters.active:rollback": (_one("cli.adapters.active:RolledBack"),),
    "adapters.active:history": (_list("cli.adapters.active:PastChange"),),
    "adapters.gc:pin": (_one("cli.adapters.gc:PinChange"),),
    "adapters.gc:unpin": (_one("cli.adapters.gc:PinChange"),),
    "adapters.gc:gc": (_one("cli.adapters.gc:Collected"),),
    "adapters.registry:push": (_one("cli.adapters.registry:Pushed"),),
    "adapters.registry:pull": (_one("cli.adapters.registry:Pulled"),),
    "adapters.remote:list_remote": (_list("adapters.registry.listing:RemoteAdapter"),),
    "adapters.remote:show_remote": (_one("cli.adapters.remote:RemoteVersionShown"),),
    "adapters.remote:tag_remote": (_one("cli.adapters.remote:TagMoved"),),
    "adapters.remote:untag_remote": (_one("cli.adapters.remote:TagMoved"),),
    "adapters.remote_upkeep:delete_remote": (_one("adapters.registry.prune:VersionDeletion"),),
    "adapters.remote_upkeep:prune_remote": (_one("adapters.registry.prune:RegistryPrune"),),
    "adapters.verify:verify": (_list("cli.adapters.verify:Verified"),),
    "adapters.diff:diff": (_one("adapters.diff:VersionDiff"),),
    "adapters.import_:import_adapter": (_one("cli.adapters.import_:Imported"),),
    "adapters.export:export": (_one("cli.adapters.export:ExportResult"),),
    "doctor:doctor": (_one("setup.doctor:DoctorResult"),),
    "sharing:sharing": (_one("setup.share:SharingChange"),),
    "init:init": (_one("cli.init:InitResult"),),
    "prepare_data:prepare_data": (_one("chatdata.prepared_result:PreparedResult"),),
    "evaluate:evaluate": (
        _one("evaluation.datasets:EvaluateResult"),
        _list("evaluation.datasets:EvaluateResult", "with several --dataset"),
        _one("training.hosted.evaluation:HostedEvaluation", "of a model that its provider tuned"),
        _list("training.hosted.evaluation:HostedEvaluation", "of one, with several --dataset"),
    ),
    "generate:generate": (
        _one("cli.generate:GenerateResult", "without --chat"),
        _one("cli.speaker:ChatAnswer", "with --chat, a line for each answer"),
    ),
    "ask:ask": (_one("answering.request:Answer"),),
    "feedback:add_feedback": (_one("cli.feedback:FeedbackResult"),),
    "feedback_list:list_feedback": (_list("cli.feedback_list:ListedFeedback"),),
    "feedback_list:withdraw": (_one("cli.feedback_list:Withdrawn"),),
    "org:forget": (_one("answering.forget_organisation:Forgotten"),),
    "validate_config:validate_config": (_one("configs.checking.report:CheckResult"),),
    "deploy_config:deploy_config": (_one("cli.deployment_needs:ShownDeployment"),),
    "config_remove:remove": (_one("cli.deployment_needs:ShownDeployment"),),
    "switch_config:switch_config": (_one("cli.deployment_needs:ShownDeployment"),),
    "deployments:deployments": (
        _list("deployments.history:PastDeployment", "without --drift"),
        _list("deployments.drift:Drift", "with --drift"),
    ),
    "fine_tune:fine_tune": (
        _one("training.results:FinishedRun"),
        _one("training.results:PreviewResult", "with --check or --dry-run"),
        _one("training.hosted.results:HostedJob", "of a hosted model"),
        _one("training.hosted.results:HostedPreview", "of one, with --check or --dry-run"),
    ),
    "search:search": (
        _one("retrieval.results:SearchResults"),
        _one("retrieval.nearby:NearChunks", "with --related"),
        _one("retrieval.evaluate:SearchEvaluations", "with --eval"),
        _one("retrieval.tuning:WeightTuning", "with --eval and --tune"),
    ),
    "providers_compare:compare": (_one("cli.providers_compare:ProvidersCompared"),),
    "providers:check": (_one("cli.providers:ProvidersChecked"),),
    "index:index_status": (_one("retrieval.status:IndexStatuses"),),
    "update_embeddings:update_embeddings": (_one("retrieval.updating.job:IndexUpdates"),),
    "route:explain_route": (_one("answering.route_explained:RouteExplained"),),
    "budgets:budgets": (_one("answering.money.budget_report:BudgetReport"),),
    "ab:status": (_one("cli.ab:RunningTest"),),
    "ab:stop": (_one("cli.ab:EndedTest"),),
    "compare:compare": (_one("performance.compare:Compared"),),
    "monitor:monitor": (_one("monitoring.monitor:MonitorReport"),),
    "schedule:show": (_one("schedule.overview:ScheduleShown"),),
    "performance_test:performance_test": (_one("cli.performance_test:PerformanceTested"),),
    "report:report": (
        _one("cli.performance_test:PerformanceTested", "of a run of a test suite"),
        _one("cli.report:ExperimentShown", "of an experiment"),
    ),
    "prices:check": (_one("answering.money.price_check:PriceCheck"),),
    "config_show:show": (_one("cli.config_show:ShownConfig"),),
    "config:explain": (_one("deployments.explain:ExplainedConfig"),),
    "config_review:review": (_one("answering.config_review:ConfigReview"),),
    "config:diff": (_one("deployments.diff:ConfigsDiff"),),
}


def command_schema(function: str, command: str) -> Schema:
    """The schema of what a command prints with `--json`, in any of its forms."""
    forms = tuple(printed.load() for printed in RESULTS[function])
    return build_result_schema(
        Union[forms],  # noqa: UP007
        title=f"What `{command} --json` prints",
        identity=command.removeprefix("models ").replace(" ", "-"),
    )
