"""What other systems' logs look like: where their rows and records say type, time, actor, task.

Data, and nothing else. What it means is said where it is used: `drawing` for records, `rows` for
tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hansard.operations import ENV_OPERATION


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPreset:
    """Records of JSON. ``values``: by name, the paths where a value may be, in order of preference;
    ``event_type`` and ``key``: templates of such names, the first that can be filled counts.
    """

    about: str
    event_type: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    key: tuple[str, ...] = ()  # the record's own id; without one, its place in the file is its key
    lists: tuple[str, ...] = ()  # members that hold the records of a whole document
    bodies: tuple[str, ...] = ()  # paths of an object that is looked into as well
    cut: str = ""  # left out of what fills an event type
    signs: tuple[tuple[str, tuple[str, ...]], ...] = ()  # ``event`` by the members that are there
    needs_time: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePreset:
    """A table's columns by the field that they are; ``event_type`` where no column says it."""

    about: str
    columns: Mapping[str, str]
    event_type: str | None = None
    required: frozenset[str] = field(default_factory=frozenset)


# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
# A delivered file is {"Records": […]}; eventID is "a GUID to uniquely identify each event".
_CLOUDTRAIL: Final = RecordPreset(
    about="AWS CloudTrail: aws.SERVICE.ACTION, error where there is an errorCode; by eventID",
    lists=("Records",),
    event_type=("aws.{service}.{action}", "aws.{action}"),
    cut=".amazonaws.com",
    values={
        "service": ("eventSource",),
        "action": ("eventName",),
        "time": ("eventTime",),
        "actor": (
            "userIdentity.arn", "userIdentity.userName", "userIdentity.principalId",
            "userIdentity.invokedBy", "userIdentity.accountId", "userIdentity.type",
        ),
        "task": ("requestID", "sharedEventID"),
        "failure": ("errorCode",),
        "id": ("eventID",),
    },
    key=("{id}",),
)  # fmt: skip

# https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
# A request has one auditID, and an event for each of its stages.
_KUBERNETES: Final = RecordPreset(
    about="Kubernetes audit.k8s.io/v1: k8s.RESOURCE.VERB, warning from status 400, error from 500; "
    "by auditID and stage",
    lists=("items",),
    event_type=("k8s.{resource}/{subresource}.{verb}", "k8s.{resource}.{verb}", "k8s.{verb}"),
    values={
        "resource": ("objectRef.resource",),
        "subresource": ("objectRef.subresource",),
        "verb": ("verb",),
        "time": ("stageTimestamp", "requestReceivedTimestamp", "timestamp"),
        "actor": ("user.username", "user.uid"),
        "task": ("auditID",),
        "status": ("responseStatus.code",),
        "id": ("auditID",),
        "stage": ("stage",),
    },
    key=("{id}/{stage}", "{id}"),
)

# https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
# https://docs.github.com/en/rest/repos/webhooks#get-a-delivery-for-a-repository-webhook
# Names of headers are written in three ways by the servers that keep them.
_GITHUB: Final = RecordPreset(
    about="GitHub webhooks, as deliveries, as {headers, payload} or as payloads alone: "
    "github.EVENT.ACTION (github.webhook where nothing says which); by delivery GUID",
    event_type=(
        "github.{event}.{action}", "github.{event}", "github.webhook.{action}", "github.webhook",
    ),
    bodies=("request.payload", "payload", "body"),
    values={
        "event": (
            "event", "headers.X-GitHub-Event", "headers.X-Github-Event", "headers.x-github-event",
            "request.headers.X-GitHub-Event",
        ),
        "action": ("action",),
        "time": (
            "delivered_at", "received_at", "comment.updated_at", "review.submitted_at",
            "pull_request.updated_at", "issue.updated_at", "discussion.updated_at",
            "deployment_status.updated_at", "deployment.updated_at", "check_run.completed_at",
            "check_run.started_at", "check_suite.updated_at", "workflow_run.updated_at",
            "workflow_job.completed_at", "workflow_job.started_at", "release.published_at",
            "head_commit.timestamp", "milestone.updated_at", "rule.updated_at", "starred_at",
            "updated_at", "forkee.created_at", "repository.updated_at",
        ),
        "actor": ("sender.login", "pusher.name"),
        "task": ("repository.full_name", "organization.login"),
        "id": (
            "guid", "headers.X-GitHub-Delivery", "headers.X-Github-Delivery",
            "headers.x-github-delivery", "request.headers.X-GitHub-Delivery",
        ),
    },
    key=("{id}",),
    needs_time=False,
    signs=(  # of a payload alone: the first line that is there whole, where that leaves no doubt
        ("ping", ("zen", "hook_id")),
        ("pull_request_review_comment", ("pull_request", "comment")),
        ("pull_request_review_thread", ("pull_request", "thread")),
        ("pull_request_review", ("pull_request", "review")),
        ("issue_comment", ("issue", "comment")),
        ("discussion_comment", ("discussion", "comment")),
        ("commit_comment", ("comment",)),
        ("check_run", ("check_run",)),
        ("check_suite", ("check_suite",)),
        ("workflow_job", ("workflow_job",)),
        ("workflow_run", ("workflow_run",)),
        ("deployment_status", ("deployment_status",)),
        ("deployment", ("deployment",)),
        ("discussion", ("discussion",)),
        ("pull_request", ("pull_request",)),
        ("issues", ("issue",)),
        ("release", ("release",)),
        ("milestone", ("milestone",)),
        ("label", ("label",)),
        ("branch_protection_rule", ("rule",)),
        ("push", ("ref", "before", "after")),
        ("create", ("ref_type", "master_branch")),
        ("delete", ("ref_type",)),
        ("fork", ("forkee",)),
        ("gollum", ("pages",)),
        ("member", ("member",)),
        ("membership", ("team", "scope")),
        ("team", ("team",)),
        ("package", ("package",)),
        ("registry_package", ("registry_package",)),
        ("project_card", ("project_card",)),
        ("project_column", ("project_column",)),
        ("project", ("project",)),
        ("sponsorship", ("sponsorship",)),
        ("status", ("sha", "state", "context")),
        ("star", ("starred_at",)),
        ("repository_dispatch", ("client_payload",)),
        ("workflow_dispatch", ("workflow", "inputs")),
        ("installation", ("installation", "repositories")),
        ("installation_repositories", ("installation", "repositories_added")),
        ("marketplace_purchase", ("marketplace_purchase",)),
        ("merge_group", ("merge_group",)),
        ("org_block", ("blocked_user",)),
        ("page_build", ("build", "id")),
        ("projects_v2_item", ("projects_v2_item",)),
        ("deploy_key", ("key", "repository")),
        ("meta", ("hook_id", "hook")),
    ),
)  # fmt: skip

# https://docs.python.org/3/library/logging.html#logrecord-attributes, and the names that
# python-json-logger, structlog and the Elastic Common Schema give them.
_LOGGING: Final = RecordPreset(
    about="the JSON lines of Python's logging (python-json-logger, structlog, ECS): log.LOGGER, "
    "levels by name or number; by place in the file",
    event_type=("log.{logger}", "log"),
    values={
        "logger": ("name", "logger", "logger_name", "log.logger", r"log\.logger"),
        "time": ("timestamp", "asctime", "@timestamp", "time", "datetime", "created", "ts"),
        "level": (
            "levelname", "level", "levelno", "severity", "log_level", "log.level", r"log\.level",
        ),
        "actor": ("actor", "user", "username", "user_id"),
        "task": ("task_id", "correlation_id", "request_id", "trace_id", "taskName"),
    },
)  # fmt: skip

RECORDS: Final[Mapping[str, RecordPreset]] = {
    "python-logging": _LOGGING,
    "cloudtrail": _CLOUDTRAIL,
    "kubernetes-audit": _KUBERNETES,
    "github-webhook": _GITHUB,
}

TABLES: Final[Mapping[str, TablePreset]] = {
    "task_audits": TablePreset(
        about="audits of tasks; what its other columns say goes into the payload where it lacks it",
        columns={
            "key": "audit_id",
            "task_id": "task_id",
            "level": "level",
            "event_type": "event_type",
            "payload": "payload",
            "created_at": "created_at",
        },
        required=frozenset({"event_type", "payload", "created_at"}),
    ),
    "env_operations": TablePreset(
        about=f"operations on environments, which become {ENV_OPERATION} as those recorded here",
        columns={"key": "id", "created_at": "created_at"},
        event_type=ENV_OPERATION,
        required=frozenset({"workflow_id", "node_id", "operation", "status", "created_at"}),
    ),
}
