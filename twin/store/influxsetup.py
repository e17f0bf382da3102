"""Making an InfluxDB 2 server ready: first set-up, the bucket with its retention, a token that reaches nothing else."""

from __future__ import annotations

import urllib3
from influxdb_client import (
    BucketRetentionRules,
    InfluxDBClient,
    OnboardingRequest,
    Permission,
    PermissionResource,
    SetupService,
)
from influxdb_client.rest import ApiException

from twin.errors import StoreBroken, StoreDown
from twin.store.influxdb import reason_of


def initialise(
    url: str, org: str, bucket: str, *, token: str = "", user: str = "citywhistle", password: str = "",
    retention_days: float = 0.0, timeout_s: float = 30.0,
) -> str:  # fmt: skip
    """Make a server ready: first set-up where it has none, the bucket with its retention, a token for it alone.

    `token` is the operator's where the server is set up already. Returns the new token. Raises StoreDown, StoreBroken.
    """
    seconds = int(retention_days * 86_400)
    try:
        with InfluxDBClient(url=url, token=token, org=org, timeout=int(timeout_s * 1000), retries=False) as client:
            return _initialise(client, org, bucket, token, (user, password), seconds)
    except ApiException as error:
        raise StoreBroken(f"InfluxDB refuses the set-up ({error.status}): {reason_of(error)}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreDown(f"InfluxDB cannot be reached: {error}") from error


def _initialise(client: InfluxDBClient, org: str, bucket: str, token: str, login: tuple[str, str], seconds: int) -> str:

    if not token:
        allowed = SetupService(client.api_client).get_setup().allowed
        if not allowed:
            raise StoreBroken("InfluxDB is set up already: give the operator's token (--token-file)")
        request = OnboardingRequest(
            username=login[0], password=login[1], org=org, bucket=bucket, retention_period_seconds=seconds
        )
        made = SetupService(client.api_client).post_setup(request)
        client.api_client.configuration.api_key["Authorization"] = f"Token {made.auth.token}"
        client.api_client.set_default_header("Authorization", f"Token {made.auth.token}")
    organisation = next((o for o in client.organizations_api().find_organizations() if o.name == org), None)
    if organisation is None:
        raise StoreBroken(f"InfluxDB has no organisation {org!r}: make it, or name another by [store] org")
    buckets = client.buckets_api()
    found = buckets.find_bucket_by_name(bucket)
    rules = BucketRetentionRules(type="expire", every_seconds=seconds)
    if found is None:
        found = buckets.create_bucket(bucket_name=bucket, org=organisation, retention_rules=rules)
    else:
        found.retention_rules = [rules]
        buckets.update_bucket(found)
    resource = PermissionResource(type="buckets", id=found.id, org_id=organisation.id)
    may = [Permission(action=action, resource=resource) for action in ("read", "write")]
    return str(client.authorizations_api().create_authorization(organisation.id, may).token)
