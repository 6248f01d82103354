"""The rows of tenants, their credentials, their quota and the audit."""

from tenants.models.audit import AuditChain, AuditEvent, AuditSeal
from tenants.models.credentials import ApiToken, EnrolmentKey
from tenants.models.enrolment import Enrolment, EnrolmentGroup, Nonce
from tenants.models.limits import LimitWindow
from tenants.models.netpolicy import NetworkPolicy, Peering, PolicyVersion
from tenants.models.tenant import Membership, Plan, Quota, Tenant
from tenants.models.trust import IssuerKeys, SpentToken, TrustPolicy

__all__ = [
    "ApiToken",
    "AuditChain",
    "AuditEvent",
    "AuditSeal",
    "Enrolment",
    "EnrolmentGroup",
    "EnrolmentKey",
    "IssuerKeys",
    "LimitWindow",
    "Membership",
    "NetworkPolicy",
    "Nonce",
    "Peering",
    "Plan",
    "PolicyVersion",
    "Quota",
    "SpentToken",
    "Tenant",
    "TrustPolicy",
]
